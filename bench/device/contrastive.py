"""The figures on image-text models, as many as fit into a time limit, on one accelerator (or, with
--tiny, a check that all cells run).

    python bench/device/contrastive.py --data DATA --out OUT --device cuda --workers 10 --seconds 430

DATA holds cifar10_test.npz, pacs64.npz and tiny_imagenet20.npz (any of them; none leaves emoji scenes).
OUT gets rows.jsonl and the
contrastive_*.json figures; run again with the same OUT to go on. Needs torch, transformers, numpy, scipy,
pillow, pydantic and the repository.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))


def main() -> int:
    from nightlatch.bench import pairrun, pairs

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--models", type=Path, default=None, help="folder of the models, if they are not to lie in OUT"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tables", nargs="+", default=list(pairrun.FIGURES), choices=list(pairrun.FIGURES))
    parser.add_argument("--commit", default="", help="of the code, where there is no checkout to ask")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    profile = pairs.TINY if given.tiny else pairs.Profile()
    plan = pairrun.Plan(
        out=given.out, data=given.data, profile=profile, seeds=tuple(given.seeds), tables=tuple(given.tables), device=given.device,
        dtype=given.dtype, workers=given.workers, seconds=given.seconds, models=given.models, commit=given.commit,
    )  # fmt: skip
    return 1 if pairrun.run(plan) else 0


if __name__ == "__main__":
    raise SystemExit(main())
