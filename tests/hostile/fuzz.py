"""Run as a script where atheris is installed: fuzz the readers, keep a small corpus of what reached new code,
write docs/figures/fuzz.json.

    python tests/hostile/fuzz.py --seconds 600

``corpus.json`` beside this file holds inputs that reached code which none before them had, each at most
``LARGEST`` bytes; the tests replay it, and the next fuzzing begins with it. An input that breaks a reader
ends the run with exit code 1 and is kept in the run folder.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from fuzz_header import CORPUS, corpus

from nightlatch import folder, provenance

HARNESS = Path(__file__).with_name("fuzz_header.py")
LARGEST, ROOM = 1_024, 96_000
"""Bytes of one kept input, and of all together."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument(
        "--run",
        type=Path,
        default=Path("runs/fuzz"),
        help="folder for new inputs; the same one again goes on",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/figures/fuzz.json"))
    given = parser.parse_args()
    found = given.run / "found"
    found.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(corpus()):
        (found / f"kept-{i:04d}").write_bytes(data)
    said = fuzz(
        f"-max_total_time={given.seconds}",
        "-print_final_stats=1",
        f"-artifact_prefix={given.run}/",
        str(found),
    )
    kept = pick({p.read_bytes() for p in found.iterdir()})
    folder.write_whole(
        CORPUS, json.dumps([base64.b64encode(data).decode() for data in kept], indent=0) + "\n"
    )
    last = re.findall(r"cov: (\d+) ft: (\d+)", said)[-1]
    row = {
        "seconds": given.seconds,
        "executions": int(one(r"stat::number_of_executed_units: *(\d+)", said)),
        "edges": int(last[0]),
        "features": int(last[1]),
        "peak_megabytes": int(one(r"stat::peak_rss_mb: *(\d+)", said)),
        "inputs_kept": len(kept),
        "broken": 0,
        "atheris": version("atheris"),
    }
    provenance.write_figures(given.out, [row], "python tests/hostile/fuzz.py", 1)
    print(row, file=sys.stderr)


def fuzz(*arguments: str) -> str:
    """What libFuzzer printed; its exit code ends this program when an input broke a reader."""
    done = subprocess.run(
        [sys.executable, str(HARNESS), "-seed=1", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        print(done.stderr[-4_000:], file=sys.stderr)
        raise SystemExit(1)
    return done.stderr


def pick(inputs: Iterable[bytes]) -> list[bytes]:
    """The smallest first, while there is room; libFuzzer has made them smaller already."""
    kept, used = [], 0
    for data in sorted(inputs, key=lambda d: (len(d), d)):
        used += len(data)
        if len(data) <= LARGEST and used <= ROOM:
            kept.append(data)
    return kept


def one(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "0"


if __name__ == "__main__":
    main()
