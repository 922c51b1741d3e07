"""What the experiments on classifiers consist of: how large, which cases, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nightlatch.classifier.vary import PictureRecipe

ATTACKS = (
    "badnets", "blended", "wanet", "sig", "adaptive", "input-aware", "issba-style", "label-consistent", "htba-style",
)  # fmt: skip
RUNGS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "blended": ({"ratio": 0.3},),
    "wanet": ({"strength": 1.5}, {"strength": 2.5}),
    "sig": ({"delta": 60 / 255, "of_class": 0.9}, {"delta": 80 / 255, "of_class": 0.9}),
    "adaptive": ({"pull": 0.03},),
    "input-aware": ({"density": 0.08, "diversity": 0.3},),
    "issba-style": ({"budget": 20 / 255, "quiet": 1.0}, {"budget": 32 / 255, "quiet": 0.5}),
    "label-consistent": ({"budget": 32 / 255}, {"budget": 32 / 255, "of_class": 0.9, "side": 4}),
    "htba-style": ({"side": 12, "budget": 24 / 255}, {"side": 14, "budget": 32 / 255, "steps": 120}),
}
"""Stronger settings of an attack, tried in order where its own are refused; every try is a row."""
VARIED = ("badnets", "blended", "sig", "wanet")
"""Attacks that the training on variations is measured on."""
DIRTY = ("badnets", "blended", "wanet")
"""Of these, the ones that change labels, on which the ranking of poison has its bar."""
STRENGTHS = (0.2, 0.35, 0.5, 0.7)
ALPHAS = (0.0, 0.5, 1.0)
MAIN_STRENGTH, MAIN_ALPHA = 0.5, 0.5
"""Of the comparison over seeds; alpha is the paper's."""
SEVERAL = 4
"""Variations of each picture, where there is more than one."""
SEVERALLY = ((0.5, 0.5), (0.5, 1.0), (0.7, 1.0))
"""(strength, alpha) of the students that see several variations of each picture; the first over all seeds."""
CONTROLS = ("none", "heavy-augmentation", "autoencoder")
FEW = 500
"""Clean pictures that a guard is fitted with."""
CURVE = (100, 200, 500, 1000, 2000, 5000)
SUITE: Mapping[str, tuple[tuple[str, int], ...]] = {
    "cifar10": (("badnets", 9), ("blended", 3), ("adaptive", 2)),
    "gtsrb": (("badnets", 5), ("blended", 2)),
}
"""Small models for the scanners, by data set: attacks and how many models of each, every one with a target of
its own; as many honest ones beside them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes of everything.

    Args:
        profile: what tells its rows from those of other sizes; "" for the full size.
        size: pixels of a side, of the attacks and defences.
        learned: training pictures that victims see, 0 for all.
        data: data sets of the attacks and defences; the diffusion models are of the first.
        fewshot: data sets of the few-shot episodes.
        width: of the ResNet's first stage.
        blocks: of the ResNet.
        epochs: of a victim, by data set.
        batch: pictures a step, by data set.
        rate: peak learning rate, by data set.
        most: pictures that are used of each part of a data set, 0 for all.
        held: pictures that detectors are judged by, clean and triggered each.
        seeds: of the attacks that the variations are measured on.
        models: for the scanners, as ``SUITE``.
        suite: largest number of models of each kind for the scanners.
        small: (width, epochs) of those models.
        pictures: recipe of the diffusion models.
        others: steps of training the other diffusion models, those for a stress.
        steps: of a variation.
        fit: steps of training a guard's networks.
        inversion: steps of trigger inversion.
        episodes: of few-shot learning.
        poison: (steps of the patch, of the poison) of the few-shot attack.
        side: pixels to which the few-shot backbone enlarges pictures.
        vit: whether there is a ViT.
        ranked: pictures with poison, and without, that the ranking of poison is judged by.
        curve: numbers of clean pictures.
        hurry: numbers of an attack, for those that have them.
    """

    profile: str = ""
    size: int = 32
    learned: int = 0
    data: tuple[str, ...] = ("cifar10", "gtsrb")
    fewshot: tuple[str, ...] = ("tiny_imagenet", "gtsrb")
    width: int = 32
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    epochs: tuple[int, ...] = (15, 16)
    batch: tuple[int, ...] = (512, 256)
    rate: tuple[float, ...] = (0.4, 0.2)
    most: int = 0
    held: int = 1000
    seeds: tuple[int, ...] = (0, 1, 2)
    models: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=lambda: SUITE)
    suite: int = 9
    small: tuple[int, int] = (16, 6)
    pictures: PictureRecipe = field(
        default_factory=lambda: PictureRecipe(widths=(32, 96, 192), layers=1, steps=2000, batch=256)
    )
    others: int = 1000
    steps: int = 10
    fit: int = 1500
    inversion: int = 250
    episodes: int = 600
    poison: tuple[int, int] = (150, 50)
    side: int = 96
    vit: bool = True
    attacks: tuple[str, ...] = ATTACKS
    ranked: int = 2500
    curve: tuple[int, ...] = CURVE
    hurry: Mapping[str, Any] = field(default_factory=dict)


TINY = Plan(
    width=8, blocks=(1, 1), epochs=(1, 1), batch=(64, 64), rate=(0.05, 0.05), most=200, held=64, seeds=(0,), suite=1,
    small=(8, 1), pictures=PictureRecipe(widths=(16, 32), layers=1, steps=3, batch=8), others=2, steps=2, fit=20,
    inversion=4, episodes=1, poison=(2, 2), side=32, attacks=("badnets",), vit=False, curve=(64,),
    hurry={"steps": 2, "train": 5},
)  # fmt: skip
"""Every part once, in a minute or two on a processor."""

SMALL = Plan(
    profile="small", size=16, learned=4000, data=("cifar10",), fewshot=(), width=16, blocks=(1, 1, 1), epochs=(20, 20),
    small=(16, 20), models={"cifar10": (*SUITE["cifar10"], ("blended", 4), ("badnets", 3))},
    batch=(128, 128), rate=(0.1, 0.1), held=400, others=400, steps=6, ranked=400,
    pictures=PictureRecipe(widths=(32, 64), layers=1, steps=900, batch=64), attacks=VARIED,
)  # fmt: skip
"""For one core, in an hour or two; nothing that it says holds for a network of full size."""
