"""Run as a script: the bad inputs of this folder, shown to nightlatch and to three file scanners; writes a
table of what each made of them.

    PYTHONPATH=tests/intake python tests/hostile/compare_scanners.py --scanners ENVIRONMENT/bin

The environment holds picklescan, modelscan and modelaudit, apart from the project's own. "found": exit code 1
(an issue). "refused": the scanner said that it could not judge the file. "missed": exit code 0. "crashed": a
traceback, a signal or no end within ``SECONDS``. About a quarter of an hour in all; the same run folder
resumes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import bad_contents
import bad_files
from arena import CASES, Arena, BadInput
from intake_fixtures import honest_root

from nightlatch import provenance, runs
from nightlatch.intake import check, exit_code

assert bad_files
assert bad_contents
SECONDS = 60.0
COMMANDS = {
    "picklescan": (["picklescan", "-p"], {0: "missed", 1: "found", 2: "refused"}),
    "modelscan": (["modelscan", "-p"], {0: "missed", 1: "found", 2: "refused", 3: "refused"}),
    "modelaudit": (["modelaudit", "scan", "--no-cache"], {0: "missed", 1: "found", 2: "refused"}),
}
"""How each is called, and what its documented exit codes mean; modelscan's 3 is "no supported files"."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--scanners", type=Path, required=True, help="bin folder of the scanners' environment"
    )
    parser.add_argument(
        "--run", type=Path, default=Path("runs/scanner-rows"), help="run folder; the same one again resumes"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/figures/scanners.json"))
    parser.add_argument(
        "--own", type=int, default=40, help="how many of the project's own cases, beside the listed ones"
    )
    given = parser.parse_args()
    own = [c for c in CASES if c.number == "own"][: given.own]
    versions = {name: version(given.scanners, name) for name in COMMANDS}
    with tempfile.TemporaryDirectory() as scratch, runs.Run(given.run) as kept:
        built = honest_root(Path(scratch))
        for case in (*(c for c in CASES if c.number != "own"), *own):
            key = runs.key({"case": title(case), **versions})
            if not kept.has(key):
                kept.add(key, {**row(case, given.scanners, built, Path(scratch)), "versions": versions})
        rows = kept.rows()
    provenance.write_figures(given.out, rows, "python tests/hostile/compare_scanners.py", 0)
    for name in ("nightlatch", *COMMANDS):
        print(name, dict(Counter(r[name] for r in rows)), file=sys.stderr)


def title(case: BadInput) -> str:
    return f"{case.number}-{case.name}"


def row(case: BadInput, scanners: Path, built: Path, scratch: Path) -> dict[str, object]:
    """What each scanner makes of one case; each gets files of its own."""
    made: dict[str, object] = {"case": title(case), "rule": case.rule}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        arena = Arena(Path(folder), built)
        case.build(arena)
        started = time.perf_counter()
        manifest = check(arena.source, values=True)
        made["nightlatch"] = ("missed", "found", "refused")[exit_code(manifest)]
        made["nightlatch_seconds"] = round(time.perf_counter() - started, 3)
        made["nightlatch_ran_code"] = arena.marker.exists()
    with ExitStack() as stack:
        arenas = {
            name: Arena(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch))), built)
            for name in COMMANDS
        }
        for arena in arenas.values():
            case.build(arena)
        with ThreadPoolExecutor() as pool:
            ends = {
                name: pool.submit(
                    outcome, [str(scanners / command[0]), *command[1:], str(arenas[name].source)], meaning
                )
                for name, (command, meaning) in COMMANDS.items()
            }
        for name, end in ends.items():
            made[name] = end.result()
            made[f"{name}_ran_code"] = arenas[name].marker.exists()
    print(*made.values(), file=sys.stderr)
    return made


def outcome(command: Sequence[str], meaning: dict[int, str]) -> str:
    """How the scanner ended, in a word or two; a path with a zero in it can be given to no program."""
    if any("\0" in part for part in command):
        return "not called"
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return "crashed"
    crashed = done.returncode < 0 or b"Traceback (most recent call last)" in done.stderr
    return "crashed" if crashed else meaning.get(done.returncode, "crashed")


def version(scanners: Path, name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run(
        [str(scanners / "python"), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
