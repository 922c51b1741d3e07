"""Static findings of a model folder or file: nothing of it is run, and torch is not imported."""

from __future__ import annotations

import sys

import nightlatch
from nightlatch import testbed


def main(source: str) -> None:
    manifest = nightlatch.check(source)
    print(f"{source}: {len(manifest.files)} files, {len(manifest.findings)} findings")
    for finding in manifest.findings:
        print(f"  {finding.severity:8}{finding.file or '(the whole)'}: {finding.sentence} {finding.remedy}")
    print("refused" if manifest.refused else "nothing refused")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(testbed.PIPELINE))
