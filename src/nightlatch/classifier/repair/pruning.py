"""Repairs: prune the channels that the recovered trigger raises, prune dormant ones, or unlearn the trigger
by training against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from nightlatch.classifier.data import Labelled
from nightlatch.classifier.repair.base import METHODS, Job, Method
from nightlatch.classifier.scan.inversion import NeuralCleanse
from nightlatch.classifier.subject import TorchSubject, as_float, logits_of, predict
from nightlatch.classifier.training import accuracy, descend, drawn, fit

LOSS = 0.04
"""Clean accuracy, of the pictures at hand, that pruning may cost; a little less than what is rolled back."""


def silence(subject: TorchSubject, channels: torch.Tensor) -> None:
    """Set the weights with which the last layer reads ``channels`` of the feature vector to zero."""
    head = dict(subject.module.named_modules())[subject.head]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight[:, channels] = 0


@torch.no_grad()
def rise(subject: TorchSubject, clean: Labelled, job: Job) -> torch.Tensor:
    """(d,) how much the recovered trigger raises each number of the feature vector, in clean deviations."""
    others = clean.pictures[clean.labels != job.target]
    before = subject.look(others).vector
    after = subject.look(job.found.apply(as_float(others))).vector
    return (after - before).mean(0) / before.std(0).clamp(min=1e-3)


@METHODS.register("prune-trigger")
@dataclass(frozen=True, slots=True, kw_only=True)
class PruneTrigger(Method):
    """Prune, one after another, the channels that the recovered trigger raises most, until it turns few
    pictures (DeTrigger-style; Wang et al. 2019, section 6.2).

    Args:
        goal: share of pictures that may still turn.
        most: share of the channels that may be pruned.
    """

    name: ClassVar[str]
    goal: float = 0.02
    most: float = 0.5

    def run(self, student: TorchSubject, clean: Labelled, job: Job) -> Iterator[int]:
        order = rise(student, clean, job).argsort(descending=True)
        first, others = accuracy(student, clean).rate, clean.at(clean.labels != job.target)
        head = dict(student.module.named_modules())[student.head]
        each = max(1, len(order) // 50)
        for step, start in enumerate(range(0, int(self.most * len(order)), each)):
            kept = {k: v.clone() for k, v in head.state_dict().items()}
            silence(student, order[start : start + each])
            if accuracy(student, clean).rate < first - LOSS:
                head.load_state_dict(kept)
                return
            yield step
            hits = predict(student, job.found.apply(as_float(others.pictures))) == job.target
            if float(hits.float().mean()) <= self.goal:
                return


@METHODS.register("fine-prune")
@dataclass(frozen=True, slots=True, kw_only=True)
class FinePrune(Method):
    """Prune the channels that clean pictures use least, then fine-tune (Liu et al. 2018); the trigger is not
    used.

    Args:
        most: share of the channels that may be pruned.
    """

    name: ClassVar[str]
    most: float = 0.8

    def run(self, student: TorchSubject, clean: Labelled, job: Job) -> Iterator[int]:
        order = student.look(clean.pictures).vector.mean(0).argsort()
        first = accuracy(student, clean).rate
        head = dict(student.module.named_modules())[student.head]
        each, step = max(1, len(order) // 50), 0
        for step, start in enumerate(range(0, int(self.most * len(order)), each)):
            kept = {k: v.clone() for k, v in head.state_dict().items()}
            silence(student, order[start : start + each])
            if accuracy(student, clean).rate < first - LOSS:
                head.load_state_dict(kept)
                break
            yield step
        fit(student, clean, job.recipe)
        yield step + 1


@METHODS.register("unlearn")
@dataclass(frozen=True, slots=True, kw_only=True)
class Unlearn(Method):
    """Train on clean pictures, a part of them with the recovered trigger and their right label (Wang et al.
    2019, section 6.3). What turns the student into the target then is recovered anew and joined: the first is the
    least that does, seldom all that the attackers' own trigger is made of.

    Args:
        share: of the pictures that get a trigger, every other time the latest.
        rounds: of training.
    """

    name: ClassVar[str]
    share: float = 0.2
    rounds: int = 3

    def run(self, student: TorchSubject, clean: Labelled, job: Job) -> Iterator[int]:
        others = clean.pictures[clean.labels != job.target]
        found = [job.found]

        def loss(rows: torch.Tensor) -> torch.Tensor:
            m, k = max(1, round(self.share * len(rows))), int(torch.randint(2 * len(found), ()))
            trigger = found[min(k, len(found) - 1)]
            changed = student.preprocessing(trigger.apply(as_float(clean.pictures[rows[:m]])))
            x = torch.cat([changed, drawn(student, clean, rows[m:], job.recipe)])
            return F.cross_entropy(logits_of(student.module(x)).float(), clean.labels[rows])

        for part in range(self.rounds):
            descend(student, len(clean), loss, job.recipe)
            yield part
            if part + 1 < self.rounds and len(others):
                found.append(NeuralCleanse(steps=job.steps).trigger(student, others, job.target))
