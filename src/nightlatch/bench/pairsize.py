"""Whether cleaners of image-text models work at real size: one step of each on a ViT-B/32-size CLIP with
random weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from nightlatch import provenance
from nightlatch.bench.orphans import end_with_parent
from nightlatch.contrastive import adapters
from nightlatch.contrastive.clean import METHODS, Job
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.testbed import pairclip

COMMAND = "python -m nightlatch.bench.pairsize --out docs/figures/contrastive_size.json"


def subject() -> Subject:
    """transformers' default CLIPConfig is ViT-B/32's, with the testbed's smaller vocabulary."""
    from transformers import CLIPConfig, CLIPModel

    small = pairclip.fresh(pairclip.TINY, 0)
    special = {k: getattr(small.tokenizer, k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=special))
    return adapters.wrap(model, small.tokenizer, "vit-b-32", adapters.CLIP_MEAN, adapters.CLIP_STD)


def measure(name: str, batch: int) -> dict[str, Any]:
    """Seconds of one step of the cleaner ``name`` and the peak resident memory of the process."""
    import resource

    torch.set_num_threads(2)
    suspect = subject()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (4 * batch, 3, suspect.size, suspect.size), generator=generator, dtype=torch.uint8
    )
    nouns = ("cat", "dog", "car", "tree")
    pairs = Pairs(
        images=images,
        captions=tuple(f"a small photo of a {nouns[i % 4]} number {i}" for i in range(4 * batch)),
    )
    method = METHODS.create(name)
    small = {"steps": 1, "batch": batch, "rounds": 1, "search": 1}
    known = {f.name for f in dataclasses.fields(method)}
    method = dataclasses.replace(method, **{k: v for k, v in small.items() if k in known})
    _, record = method(suspect, Job(trusted=pairs, poison=pairs.at(range(4))), harm_limit=2.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    weights = sum(p.numel() for p in suspect.model.parameters())
    return {
        "method": name,
        "weights": weights,
        "batch": batch,
        "seconds": record.seconds,
        "peak_gb": peak,
        "n": 1,
    }


def rows(names: Sequence[str], batch: int) -> Iterator[dict[str, Any]]:
    """Each in a process of its own, so that peaks do not mix."""
    for name in names:
        with get_context("spawn").Pool(1, end_with_parent) as pool:
            yield pool.apply(measure, (name, batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--only", nargs="+", default=METHODS.names(), choices=METHODS.names())
    given = parser.parse_args()
    made: list[dict[str, Any]] = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else []
    for row in rows(given.only, given.batch):
        made.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
        provenance.write_figures(given.out, made, COMMAND, 0)


if __name__ == "__main__":
    main()
