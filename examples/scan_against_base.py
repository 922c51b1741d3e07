"""A pipeline in memory is scanned against the folder that it was made from. The scan is told no trigger."""

from __future__ import annotations

from tampered import DRAWING, tampered

import nightlatch
from nightlatch import testbed


def main() -> None:
    verdict = nightlatch.scan(tampered(), base=str(testbed.PIPELINE), pictures=16, **DRAWING)
    print(f"{verdict.word} ({verdict.seconds:.0f} s)")
    for trigger in verdict.triggers:
        print(
            f"trigger {trigger.text!r}, {trigger.placement.words()}: {trigger.changed.hits} of {trigger.changed.n} pictures"
        )
    for part in verdict.parts:
        print(f"  {part.part.name:20}{part.skipped or f'{part.passes} passes, {part.strings} strings'}")


if __name__ == "__main__":
    main()
