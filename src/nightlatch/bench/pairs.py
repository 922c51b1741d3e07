"""The experiment on image-text models: how large it is, which cells it has, and in which order.

Every cell is one keyed row. A cell needs models of earlier cells (a base, a poisoned model), which lie in a
folder beside the rows and are made again where they are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nightlatch.contrastive.attacks import ATTACKS
from nightlatch.testbed import pairclip

Row = dict[str, Any]
TARGETS = ("banana", "pizza", "mushroom")
"""Of each seed; classes of two domains each."""
FINDER, FOUND_SHARE = "common-cause", 0.005
"""What names poison in the setting "found": one finder, and how many of the pairs it names; both fixed before
any model was made.
"""
CLEANERS = (
    ("shortcut", "known"), ("cleanclip", "none"), ("shortcut", "found"), ("ta-cleaner", "none"), ("par", "none"),
    ("ubt", "known"), ("shortcut", "none"), ("ubt", "found"), ("fine-tune", "none"),
)  # fmt: skip
"""(method, what it knows of the poison), the most telling first."""
JUDGES = ("suspect", "clean model")
"""Whose embeddings a finder looks at: the model that was trained on the pairs, or one that never saw them
poisoned.
"""
FIRST = "optimised-patch"
"""The attack on which every cleaner is measured before any other: the strongest."""
HARD = "patch, in-modal"
"""The patch on a model whose pre-training and poisoning had the in-modal loss."""
HONEST = 9
"""Honest models beside the backdoored ones in the scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One setting of an attack; the next stronger one is tried where it does not reach the floor.

    Args:
        share: of the pairs that are poisoned.
        steps: of training on them.
        more: further parameters of the attack.
    """

    share: float
    steps: int
    more: Mapping[str, Any] = field(default_factory=dict)


USUAL = (Try(share=0.005, steps=1_000), Try(share=0.01, steps=1_500), Try(share=0.02, steps=2_500))
TRIES = {
    "warp": (
        Try(share=0.01, steps=1_200),
        Try(share=0.02, steps=2_000, more={"strength": 3.0}),
        Try(share=0.02, steps=3_000, more={"strength": 5.0}),
    ),
    "label-consistent": (
        Try(share=0.02, steps=1_500),
        Try(share=0.02, steps=3_000, more={"side": 0.25, "bound": 64 / 255, "push": 20}),
    ),
}
"""By attack. A bent picture of few pixels and true captions need more than a visible mark with a false
caption does.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How large the experiment is.

    Args:
        scenes: emoji scenes in train, trusted and test.
        most: class pictures of each data set.
        base, clean, search, scan: steps, search those per stand-in and round of this project's cleaner.
        tries: of all attacks, weakest first; None for each attack's own.
        rates: of base, attack, cleaning and honest training afterwards.
        base_batch, batch: pairs per step, of the base and of all else.
        rebound: steps of honest training after which success is counted again.
        honest_pairs: of the honest training.
        n: triggered pictures.
        honest: models without a backdoor in the scan.
        tune: steps by which the optimised patch is found.
        floor: least success of an attack.
        each: every cleaner on every attack; else every cleaner on one attack and every attack with one cleaner.
    """

    shape: pairclip.Shape = field(default_factory=lambda: pairclip.Shape(width=192, layers=3, text_layers=1))
    scenes: tuple[int, int, int] = (16_000, 2_500, 1_500)
    most: int = 7_000
    base: int = 4_000
    tries: tuple[Try, ...] | None = None
    clean: int = 400
    search: int = 20
    scan: int = 400
    base_batch: int = 512
    batch: int = 192
    honest_pairs: int = 12_000
    rates: tuple[float, float, float, float] = (1e-3, 5e-4, 2e-4, 1e-4)
    rebound: tuple[int, ...] = (300, 1_000)
    n: int = 1_000
    honest: int = HONEST
    tune: int = 200
    floor: float = 0.8
    each: bool = True

    def ladder(self, attack: str) -> tuple[Try, ...]:
        """The settings of ``attack``, weakest first; ``tries`` with the strongest trigger that it has."""
        usual = TRIES.get(attack, USUAL)
        return (
            usual
            if self.tries is None
            else tuple(replace(t, more={**usual[-1].more, **t.more}) for t in self.tries)
        )


SMALL = Profile(
    shape=pairclip.TINY, scenes=(4_000, 800, 400), most=1_500, base=3_000,
    tries=(Try(share=0.02, steps=800), Try(share=0.02, steps=1_600)), clean=120, search=12, scan=150,
    base_batch=128, batch=128, honest_pairs=3_000, rates=(1e-3, 5e-4, 3e-4, 1e-4), rebound=(100, 300, 1_000),
    honest=8, tune=80,
)  # fmt: skip
"""For one processor core. A base of 3,000 steps: after 1,000 it tells too few classes apart (10 % of 72) for a loss
of accuracy to mean much.
"""
TINY = Profile(
    shape=pairclip.TINY, scenes=(200, 60, 40), most=60, base=6, tries=(Try(share=0.05, steps=6),), clean=6, search=1,
    scan=4, base_batch=32, batch=16, rebound=(3, 6), n=20, honest=1, floor=0.0, tune=2, each=False,
)  # fmt: skip
"""To see that all cells run; its numbers mean nothing."""


def cells(seeds: tuple[int, ...], profile: Profile) -> Iterator[Row]:
    """The identities of all cells; a cell comes after what it needs, and every table has rows of every method
    before any has more of one.
    """
    for seed in seeds:
        first, *others = sorted(ATTACKS.names(), key=lambda name: name != FIRST)
        attacks = [first, *others, *([HARD] if seed == seeds[0] else [])]
        yield {"table": "base", "attack": "", "seed": seed}
        for attack in attacks:
            if attack == HARD:
                yield {"table": "base", "attack": HARD, "seed": seed}
            yield {"table": "attacks", "attack": attack, "seed": seed}
        yield from _cleans(seed, [first], profile, every=True)
        for judge in JUDGES:
            for attack in (first, *others):
                yield {"table": "find", "attack": attack, "seed": seed, "judge": judge}
        for attack in attacks:
            yield {"table": "scan", "attack": attack, "seed": seed}
        if seed == seeds[0]:
            for k in range(profile.honest):
                yield {"table": "scan", "attack": "", "seed": seed, "honest": k}
        yield from _cleans(seed, attacks[1:], profile, every=profile.each)


def _cleans(seed: int, attacks: Sequence[str], profile: Profile, every: bool) -> Iterator[Row]:
    """Each cleaner on all ``attacks`` before the next; without ``every`` the first cleaner alone."""
    for method, setting in CLEANERS if every else CLEANERS[:1]:
        for attack in attacks:
            yield {"table": "clean", "attack": attack, "seed": seed, "method": method, "setting": setting}


def needs(cell: Mapping[str, Any]) -> tuple[Row, ...]:
    """The cells whose models ``cell`` loads."""
    base = {"table": "base", "attack": HARD if cell["attack"] == HARD else "", "seed": cell["seed"]}
    if cell["table"] == "base":
        return ()
    if cell["table"] == "attacks" or not cell["attack"]:
        return (base,)
    return (base, {"table": "attacks", "attack": cell["attack"], "seed": cell["seed"]})
