"""A scan with a stage of one's own: the file in docs/examples is imported, and the plan names it."""

from __future__ import annotations

import sys
from pathlib import Path

from tampered import DRAWING, tampered

import nightlatch
from nightlatch import testbed

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "examples"))


def main() -> None:
    import lookalikes_stage  # noqa: F401  importing it registers it

    plan = ["suggested", "lookalikes"]
    verdict = nightlatch.scan(tampered(), base=str(testbed.PIPELINE), plan=plan, pictures=16, **DRAWING)
    print(verdict.word)
    for sentence in verdict.not_tested:
        print(f"  not tested: {sentence}")


if __name__ == "__main__":
    main()
