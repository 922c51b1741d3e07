"""Attack against defence over many episodes: success and accuracy of every head with every defence, with the
controls.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch

from nightlatch.classifier.fewshot.attack import SupportPoison
from nightlatch.classifier.fewshot.defence import DEFENCES
from nightlatch.classifier.fewshot.episodes import Backbone, Drawn, Form, Pools, drawn, unit
from nightlatch.classifier.fewshot.heads import HEADS
from nightlatch.classifier.fewshot.variations import varied
from nightlatch.records import Rate, Record

TOGETHER = 50
"""Episodes whose heads are learned at once."""


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


@dataclass(frozen=True, slots=True)
class Features:
    """Unit features of the pools, each picture's once.

    Args:
        support: by what was done ("clean", "target", "other"), (classes, sets, shots, d) of the
            pictures and of their variations.
        plain: (classes, q, d) of queries.
        fired: (classes, q, d) of queries with the patch.
    """

    support: dict[str, tuple[torch.Tensor, torch.Tensor]]
    plain: torch.Tensor
    fired: torch.Tensor

    def episode_support(self, some: Drawn, poisoned: bool, target: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(E, ways, shots, d) features of the support and of its variations."""
        parts = [some.support_of(f) for f in self.support["other" if poisoned else "clean"]]
        if poisoned:
            for part, drawn_to in zip(parts, self.support["target"], strict=True):
                part[:, target] = some.support_of(drawn_to)[:, target]
        return parts[0], parts[1]


def features(backbone: Backbone, pools: Pools, attack: SupportPoison) -> Features:
    """Find the patch, poison every support picture both ways, and compute all features."""
    patch = attack.trigger(backbone, pools.own)
    direction = attack.direction(backbone, pools.own, patch)
    sets = pools.support.flatten(0, 1)
    made = {
        "clean": pools.support,
        "target": attack.poison(backbone, sets, direction, True).view_as(pools.support),
        "other": attack.poison(backbone, sets, direction, False).view_as(pools.support),
    }
    return Features(
        {k: (unit(backbone, x), varied(backbone, x)) for k, x in made.items()},
        unit(backbone, pools.queries),
        unit(backbone, attack.put(pools.queries, patch)),
    )


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
    pools: Pools,
    attack: SupportPoison,
    form: Form,
    count: int = 600,
    seed: int = 0,
) -> list[Outcome]:
    """Every head with every defence on the same ``count`` episodes."""
    torch.manual_seed(seed)
    made = features(backbone, pools, attack)
    every = drawn(pools, form, count, seed)
    pairs = list(product(HEADS.names(), DEFENCES.names()))
    counts = {(p, what): _Count() for p in pairs for what in ("success", "accuracy", "patch", "clean")}
    truth = torch.arange(form.ways, device=pools.support.device).repeat_interleave(form.queries)
    others = truth != attack.target
    for start in range(0, count, TOGETHER):
        some = every.part(slice(start, start + TOGETHER))
        asked = torch.cat([some.queries_of(q).flatten(1, 2) for q in (made.plain, made.fired)], 1)
        for poisoned, hit, right in ((True, "success", "accuracy"), (False, "patch", "clean")):
            own, varieties = made.episode_support(some, poisoned, attack.target)
            defended = {d: DEFENCES.create(d)(own, varieties) for d in DEFENCES.names()}
            for head, defence in pairs:
                learned, keep = defended[defence]
                answer = HEADS.create(head).answers(learned, asked, keep)
                plain, fired = answer[:, : len(truth)], answer[:, len(truth) :]
                counts[(head, defence), hit].add(fired[:, others] == attack.target)
                counts[(head, defence), right].add(plain == truth)
    return [
        Outcome(
            head=head, defence=defence, success=counts[(head, defence), "success"].rate(),
            accuracy=counts[(head, defence), "accuracy"].rate(),
            success_patch_alone=counts[(head, defence), "patch"].rate(),
            accuracy_clean=counts[(head, defence), "clean"].rate(),
        )
        for head, defence in pairs
    ]  # fmt: skip
