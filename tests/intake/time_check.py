"""Run as a script: how long the static rules take on a folder of Stable Diffusion's size, and how much
memory; writes docs/figures/check.json.

python tests/intake/time_check.py --merges bpe_simple_vocab_16e6.txt.gz

The merges are CLIP's own, as the wheel of open_clip_torch ships them: what a real folder has. The time with a
vocabulary that nobody knows, whose merges are followed one by one, is taken as well.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from intake_fixtures import edit_json, honest_root
from test_header import rows
from test_honest import full_size, vocabulary

from nightlatch import provenance
from nightlatch.intake import check, exit_code
from nightlatch.intake.files import header
from nightlatch.intake.tokenizer import bpe

REPEATS = 15
DEPTH = 6
"""Of the transformers, so that the folder has 2,730 tensors; with Stable Diffusion 1's own depth it has
1,130.
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("docs/figures/check.json"))
    parser.add_argument("--merges", type=Path, required=True)
    given = parser.parse_args()
    merges = (
        gzip.decompress(given.merges.read_bytes()).decode("utf-8").split("\n")[1 : bpe.STANDARD_MERGES + 1]
    )
    raw, size = rows(2600)
    with tempfile.TemporaryDirectory() as scratch:
        built = honest_root(Path(scratch))
        model = Path(shutil.copytree(built / "pipeline", Path(scratch) / "model"))
        full_size(built, model, DEPTH)
        row = {
            "tensors_in_header": 2600,
            "header_milliseconds": milliseconds(lambda: header.parse(raw, 8 + len(raw) + size)),
            "folder_gigabytes": round(
                sum(p.stat().st_size for p in model.rglob("*") if p.is_file()) / 1e9, 2
            ),
            "folder_tensors": sum(len(json.loads(head(p))) for p in model.rglob("*.safetensors")),
            "check_milliseconds_unknown_vocabulary": milliseconds(lambda: check(model)),
        }
        edit_json(model / "tokenizer/tokenizer.json", lambda v: vocabulary(v["model"], v, merges))
        assert exit_code(check(model)) == 0
        row |= {
            "check_milliseconds": milliseconds(lambda: check(model)),
            "check_peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "torch_imported": "torch" in sys.modules,
        }
        started = time.perf_counter()
        check(model, values=True)
        row["values_gigabytes_per_second"] = round(
            row["folder_gigabytes"] / (time.perf_counter() - started), 2
        )
        row["values_peak_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    provenance.write_figures(
        given.out, [row], "python tests/intake/time_check.py --merges bpe_simple_vocab_16e6.txt.gz", 0
    )
    print(row, file=sys.stderr)


def milliseconds(what: Callable[[], object]) -> float:
    """The fastest of ``REPEATS`` runs, as timeit has it: whatever else the machine does makes a run slower,
    and nothing makes it faster.
    """
    what()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        what()
        times.append(1000 * (time.perf_counter() - started))
    return round(min(times), 2)


def head(path: Path) -> bytes:
    with path.open("rb") as f:
        return f.read(int.from_bytes(f.read(8), "little"))


if __name__ == "__main__":
    main()
