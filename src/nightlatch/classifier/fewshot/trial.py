"""Attack against defence over many episodes: success and accuracy of every head with every defence, with the
controls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import torch

from nightlatch.classifier.fewshot.attack import SupportPoison
from nightlatch.classifier.fewshot.defence import DEFENCES, Vary, softened
from nightlatch.classifier.fewshot.episodes import Backbone, Episodes, featured
from nightlatch.classifier.fewshot.heads import HEADS
from nightlatch.records import Rate, Record


class Outcome(Record):
    """One head with one defence: success on triggered queries of other classes, accuracy on clean queries,
    with and without poison.
    """

    head: str
    defence: str
    success: Rate
    accuracy: Rate
    success_patch_alone: Rate
    accuracy_clean: Rate


@dataclass
class _Count:
    hits: int = 0
    n: int = 0

    def add(self, hit: torch.Tensor) -> None:
        self.hits += int(hit.sum())
        self.n += hit.numel()

    def rate(self) -> Rate:
        return Rate.of(self.hits, self.n)


def trial(
    backbone: Backbone,
    episodes: Iterable[Episodes],
    attack: SupportPoison,
    vary: Vary = softened,
    seed: int = 0,
) -> list[Outcome]:
    """Every head with every defence on the same ``episodes``."""
    torch.manual_seed(seed)
    pairs = list(product(HEADS.names(), DEFENCES.names()))
    counts = {(p, what): _Count() for p in pairs for what in ("success", "accuracy", "patch", "clean")}
    for batch in episodes:
        patch = attack.trigger(backbone, batch)
        poisoned = attack.poison(backbone, batch, patch)
        queries = batch.queries.flatten(1, 2)
        truth = torch.arange(batch.queries.shape[1], device=queries.device).repeat_interleave(
            batch.queries.shape[2]
        )
        plain, fired = featured(backbone, queries), featured(backbone, attack.put(queries, patch))
        others = truth != attack.target
        for defence in DEFENCES.names():
            made = {
                s: DEFENCES.create(defence)(backbone, x, vary)
                for s, x in (("bad", poisoned), ("good", batch.support))
            }
            for head in HEADS.names():
                for source, hit, right in (("bad", "success", "accuracy"), ("good", "patch", "clean")):
                    features, keep = made[source]
                    answer = HEADS.create(head).answers(features, torch.cat([plain, fired], 1), keep)
                    own, under = answer[:, : len(truth)], answer[:, len(truth) :]
                    counts[(head, defence), hit].add(under[:, others] == attack.target)
                    counts[(head, defence), right].add(own == truth)
    return [
        Outcome(
            head=head, defence=defence, success=counts[(head, defence), "success"].rate(),
            accuracy=counts[(head, defence), "accuracy"].rate(),
            success_patch_alone=counts[(head, defence), "patch"].rate(),
            accuracy_clean=counts[(head, defence), "clean"].rate(),
        )
        for head, defence in pairs
    ]  # fmt: skip
