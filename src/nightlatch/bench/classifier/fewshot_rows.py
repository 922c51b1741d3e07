"""Rows about few-shot learning under a poisoned support set."""

from __future__ import annotations

from nightlatch.bench.classifier import worlds
from nightlatch.bench.classifier.lab import Lab, Row
from nightlatch.classifier.fewshot import Form, SupportPoison, pools, trial
from nightlatch.classifier.fewshot.backbone import lite0

SIZES = {"tiny_imagenet": (13, 2, 30), "gtsrb": (14, 1, 30)}
"""Classes, support sets of each, and query pictures of each: what one core does in ten minutes."""


SHIFTS = {"usual": (0.27, 0.38), "gentle": (0.2, 0.28), "gentlest": (0.1, 0.14)}
"""How far poison moves the target's class and the others, by the attack's strength: what costs more clean accuracy
draws more to the target.
"""


def fewshot(lab: Lab, data: str, strength: str, seed: int) -> list[Row]:
    """Every head with every defence on one data set; queries on GTSRB are from other tracks than the support."""
    parts = worlds.load(worlds.decode(lab.data, data, lab.decoded), lab.device)
    learned, judged = (parts["all"],) * 2 if "all" in parts else (parts["train"], parts["held"])
    form, (search, steps) = Form(), lab.plan.poison
    own = pools(learned, judged, form, SIZES[data], seed)
    drawn, pushed = SHIFTS[strength]
    attack = SupportPoison(search=search, steps=steps, drawn=drawn, pushed=pushed)
    backbone = lite0(lab.device, lab.plan.side, lab.half)
    return [
        {
            "table": "fewshot", "data": data, "head": o.head, "defence": o.defence, "seed": seed, "success": o.success,
            "accuracy": o.accuracy, "success_patch_alone": o.success_patch_alone, "accuracy_clean": o.accuracy_clean,
            "episodes": lab.plan.episodes, "classes": len(own.support), "support_pictures": own.support[..., 0, 0, 0].numel(),
            "query_pictures": own.queries[..., 0, 0, 0].numel(), "budget": attack.budget, "patch": attack.side,
            "strength": strength,
        }
        for o in trial(backbone, own, attack, form, lab.plan.episodes, seed)
    ]  # fmt: skip
