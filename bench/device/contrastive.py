"""The figures on image-text models, as many as fit into a time limit, on one accelerator (or, with --tiny, a
check that all cells run).

    python bench/device/contrastive.py --data DATA --out OUT --jobs 5 --limit 520 [--only find clean] [--tiny]

DATA holds cifar10_test.npz, pacs64.npz and tiny_imagenet20.npz (any of them; none leaves emoji scenes). OUT
gets rows.jsonl; run again with the same OUT and --models to go on. Needs torch, transformers, numpy, scipy,
pillow, pydantic, safetensors and the repository. Figures are made of the rows by

    python -m nightlatch.bench.pairfigures OUT docs/figures
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

STARTED = time.monotonic()

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM"):
    os.environ.setdefault(name, "false" if name.startswith("TOK") else "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))


def main() -> int:
    import torch

    from nightlatch import provenance
    from nightlatch.bench import pairrun, pairs

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on = "cuda:0" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=None, help="folder of the models; a temporary one")
    parser.add_argument("--device", default=on)
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 runs all in this one")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(pairrun.TABLES), choices=pairrun.TABLES)
    parser.add_argument("--commit", default=os.environ.get("NIGHTLATCH_COMMIT", ""), help="where no git is")
    parser.add_argument("--attacks", nargs="+", default=[], help="cells of these alone")
    parser.add_argument("--cleaners", nargs="+", default=[], help="these alone, as method/setting")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--tiny", action="store_true", help="to see that all cells run")
    size.add_argument("--small", action="store_true", help="for two processor cores")
    given = parser.parse_args()
    seeds = tuple(given.seeds[:1] if given.tiny else given.seeds)
    name = torch.cuda.get_device_name(given.device) if given.device != "cpu" else "cpu"
    profile = pairs.TINY if given.tiny else pairs.SMALL if given.small else pairs.Profile()
    plan = pairrun.Plan(
        out=given.out, data=given.data, profile=profile, seeds=seeds,
        attacks=tuple(given.attacks), cleaners=tuple(given.cleaners), tables=tuple(given.only),
        device=given.device, jobs=given.jobs,
        limit=given.limit - (time.monotonic() - STARTED),
        facts={
            "commit": given.commit or provenance.commit(),
            "device": name,
            "profile": "tiny" if given.tiny else "small" if given.small else "large",
        },
        **({} if given.models is None else {"models": given.models}),
    )  # fmt: skip
    return 1 if pairrun.run(plan) else 0


if __name__ == "__main__":
    raise SystemExit(main())
