"""Run as a script: the honest files of this folder, shown to nightlatch and to three file scanners; counts
the false alarms of each.

    PYTHONPATH=tests/intake:tests/hostile:tests/honest python tests/honest/false_alarms.py --scanners
    ENVIRONMENT/bin

"alarm": exit code 1 (an issue). "not judged": the scanner said that it could not judge the file, or it is of
a kind that is not scanned. "quiet": exit code 0. "crashed": a traceback, a signal or no end within a minute.
A few minutes in all; the same run folder resumes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import writers
import writers_of_files
from compare_scanners import COMMANDS, outcome, version

from nightlatch import provenance, runs
from nightlatch.intake import check, exit_code

WORDS = {
    "missed": "quiet",
    "found": "alarm",
    "refused": "not judged",
    "crashed": "crashed",
    "not called": "not called",
}

assert writers_of_files


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--scanners", type=Path, required=True, help="bin folder of the scanners' environment"
    )
    parser.add_argument(
        "--run",
        type=Path,
        default=Path("runs/scanner-rows-honest"),
        help="run folder; the same one again resumes",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/figures/scanners_honest.json"))
    given = parser.parse_args()
    versions = {name: version(given.scanners, name) for name in COMMANDS}
    with tempfile.TemporaryDirectory() as scratch, runs.Run(given.run) as kept:
        parts = writers.Parts(Path(scratch) / "pipeline")
        for number, name in enumerate(writers.WRITERS):
            key = runs.key({"file": name, **versions})
            if not kept.has(key):
                made = row(name, given.scanners, parts, Path(scratch) / str(number))
                kept.add(key, {**made, "versions": versions})
        rows = kept.rows()
    provenance.write_figures(given.out, rows, "python tests/honest/false_alarms.py", 0)
    for name in ("nightlatch", *COMMANDS):
        print(name, dict(Counter(str(r[name]) for r in rows)), file=sys.stderr)


def row(name: str, scanners: Path, parts: writers.Parts, folder: Path) -> dict[str, object]:
    """What each scanner makes of one honest file."""
    write, _, _ = writers.WRITERS[name]
    folder.mkdir()
    source = write(folder / "made", parts)
    manifest = check(source, values=True)
    blamed = any(f.severity != "note" for f in manifest.findings)
    made: dict[str, object] = {
        "file": name,
        "nightlatch": "alarm" if blamed else ("quiet", "alarm", "not judged")[exit_code(manifest)],
    }
    for scanner, (command, meaning) in COMMANDS.items():
        made[scanner] = WORDS[outcome([str(scanners / command[0]), *command[1:], str(source)], meaning)]
    print(*made.values(), file=sys.stderr)
    return made


if __name__ == "__main__":
    main()
