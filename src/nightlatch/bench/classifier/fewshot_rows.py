"""Rows about few-shot learning under a poisoned support set."""

from __future__ import annotations

from nightlatch.bench.classifier import worlds
from nightlatch.bench.classifier.lab import Lab, Row
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.fewshot import Form, SupportPoison, drawn, trial
from nightlatch.classifier.fewshot.backbone import lite0


def fewshot(lab: Lab, data: str, seed: int, share: int, shares: int) -> list[Row]:
    """One part of the episodes of one data set; parts are added up when the figures are written."""
    name = "tiny_imagenet" if data == "tiny_imagenet" else data
    parts = worlds.load(worlds.decode(lab.data, name, lab.decoded), lab.device)
    pictures: Labelled = parts["all"] if name == "tiny_imagenet" else parts["train"]
    count = max(1, lab.plan.episodes // shares)
    together = 12 if lab.device != "cpu" else 1
    episodes = drawn(pictures, Form(), count, seed * 1000 + share, together)
    search, steps = lab.plan.poison
    attack = SupportPoison(search=search, step=0.02 * max(1.0, 80 / search / 2), steps=steps)
    rows = trial(lite0(lab.device, lab.plan.side, lab.half), episodes, attack, seed=seed)
    return [
        {
            "table": "fewshot", "data": data, "head": o.head, "defence": o.defence, "seed": seed, "success": o.success,
            "accuracy": o.accuracy, "success_patch_alone": o.success_patch_alone, "accuracy_clean": o.accuracy_clean,
        }
        for o in rows
    ]  # fmt: skip
