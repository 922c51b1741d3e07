"""A family of one's own: linear heads, matrices of (classes, features) that turn features into classes.

A head that was trained on poisoned features often has one class whose weights are longer than all others'.
The family looks for it, shortens it and counts how often random features fall to it. It is as small as a
family can be and does what each verb promises.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from nightlatch.errors import NotWritten, UsageError
from nightlatch.families import Job, Row, Say
from nightlatch.plan import Plan, valid
from nightlatch.records import (
    Computed,
    Hint,
    Pair,
    Part,
    PlacedTrigger,
    Rate,
    Record,
    Repair,
    Scorecard,
    Trigger,
    Verdict,
)
from nightlatch.registry import Registry
from nightlatch.stats import robust_z
from nightlatch.terms import PairKind


@dataclass(slots=True)
class Head:
    """The family's model: ``weight`` (classes, features)."""

    weight: torch.Tensor
    name: str = "head"


class HeadSettings(Record):
    """What decides a scan beside the model and the seed."""

    outlier: float = 6.0
    """Robust z from which a class's length is no chance: one in a billion, were lengths normal."""
    inputs: int = 2000
    """Random features that verify counts with."""


class LinearFamily:
    """Linear heads."""

    name: ClassVar[str] = "linear"
    usual: ClassVar[str] = "shorten"
    Settings: ClassVar[type[Record]] = HeadSettings
    repairs: ClassVar[Registry[Any]] = Registry("repair of heads", object)
    registries: ClassVar[Mapping[str, Registry[Any]]] = {}

    def settings(self, given: Mapping[str, Any]) -> HeadSettings:
        return valid(HeadSettings, {k: v for k, v in given.items() if k in HeadSettings.model_fields})

    def needs_base(self, staged: Path) -> str:
        return ""

    def rehearse(self, staged: str, under: str) -> int:
        return self._read(Path(staged)).weight.numel()

    def load(self, staged: Path, under: Path | None, plan: Plan) -> Head:
        return self._read(staged)

    def save(self, model: Head, folder: Path) -> None:
        try:
            folder.mkdir(parents=True)
        except FileExistsError as e:
            raise NotWritten(
                f"{folder} is there already.", "Choose another place; nothing is overwritten."
            ) from e
        save_file({"weight": model.weight.contiguous()}, folder / "head.safetensors")

    def computed(self, model: Head) -> Computed:
        return Computed(device=str(model.weight.device), dtype=str(model.weight.dtype).removeprefix("torch."))

    def takes(self, model: object) -> bool:
        return isinstance(model, Head)

    def adopt(self, model: object, plan: Plan) -> Head | None:
        return copy.deepcopy(model) if isinstance(model, Head) else None

    def scan(self, suspect: Head, base: Any, plan: Plan, hints: Sequence[Hint], say: Say) -> Verdict:
        lengths = suspect.weight.double().norm(dim=1).numpy()
        z, settings = robust_z(lengths, lengths), plan.of(HeadSettings)
        odd = [int(i) for i in np.argsort(z)[::-1] if z[i] >= settings.outlier]
        return Verdict(
            word="suspicious" if odd else "nothing found by these tests",
            triggers=tuple(Trigger(text=str(i), score=float(z[i])) for i in odd),
            tested=(f"the lengths of all {len(lengths)} classes' weights",),
            not_tested=("which features lead to a class",),
            seed=plan.seed,
        )

    def clean(self, suspect: Head, job: Job, say: Say) -> tuple[Head, Repair]:
        repaired, usual = copy.deepcopy(suspect), suspect.weight.norm(dim=1).median()
        rows = [self._row(suspect, t) for t in job.triggers]
        for i in rows:
            repaired.weight[i] *= usual / repaired.weight[i].norm()
        share = len(rows) / len(suspect.weight)
        method = Part(name="shorten", parameters={"to": float(usual)})
        return repaired, Repair(
            method=method,
            triggers=tuple(job.triggers),
            steps=1,
            seconds=0.0,
            used_base=False,
            changed_tensors=1,
            changed_share=share,
        )

    def verify(self, before: Head, after: Head, job: Job, say: Say) -> Scorecard:
        n = job.plan.of(HeadSettings).inputs
        inputs = torch.randn(
            n, before.weight.shape[1], generator=torch.Generator().manual_seed(job.plan.seed)
        )
        old, new = ((inputs @ model.weight.T).argmax(1) for model in (before, after))
        pairs, fair = list[Pair](), 2 / len(before.weight)
        for trigger in job.triggers:
            i = self._row(before, trigger)
            rates = [Rate.of(int((found == i).sum()), n) for found in (old, new)]
            pairs.append(
                Pair(
                    kind=PairKind.SUCCESS,
                    name="random features that fall to the class",
                    trigger=trigger,
                    before=rates[0],
                    after=rates[1],
                    bar=f"at most {fair:.0%}, twice its share",
                    passed=rates[1].rate <= fair,
                )
            )
        word = "removed" if all(p.passed for p in pairs) else "not removed"
        return Scorecard(verdict=word, pairs=tuple(pairs), seed=job.plan.seed)  # type: ignore[arg-type]

    def evidence(self, suspect: Head, other: Head | None, job: Job) -> Iterator[Row]:
        return iter(())

    def _read(self, folder: Path) -> Head:
        return Head(load_file(folder / "head.safetensors")["weight"].float())

    def _row(self, head: Head, trigger: PlacedTrigger) -> int:
        if not trigger.text.isdecimal() or int(trigger.text) >= len(head.weight):
            raise UsageError(
                f"{trigger.text} is no class of this head.", f"Name one of 0 to {len(head.weight) - 1}."
            )
        return int(trigger.text)


FAMILY = LinearFamily()
