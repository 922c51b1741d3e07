"""What every experiment on classifiers works with: the data, a place for what it makes, and how victims are
made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nightlatch.bench.classifier import worlds
from nightlatch.bench.classifier.plan import Plan
from nightlatch.classifier import victims
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import TorchSubject
from nightlatch.classifier.training import Recipe
from nightlatch.classifier.vary import PictureDiffusion
from nightlatch.classifier.vary import model as pictures_model

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Victim:
    """A backdoored model as it was kept.

    Args:
        subject: the model.
        triggered: (m, 3, h, w) uint8 held-out pictures of other classes with the trigger in.
        truth: (m,) their right classes.
        target: the attackers' class.
        data: what it was trained on, where that is needed later.
        poisoned: (n,) bool, which of ``data`` were changed.
    """

    subject: TorchSubject
    triggered: torch.Tensor
    truth: torch.Tensor
    target: int
    data: Labelled | None
    poisoned: torch.Tensor


@dataclass(frozen=True)
class Lab:
    """Args:
    folder: for models.
    decoded: for decoded data.
    data: folder with the npz files.
    plan: sizes.
    device: torch device.
    half: bfloat16 autocast.
    planted: setting of an attack that an earlier run kept, by task; it is the only one that is tried.
    """

    folder: Path
    decoded: Path
    data: Path
    plan: Plan
    device: str = "cpu"
    half: bool = False
    planted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def world(self, name: str) -> worlds.World:
        """The data set ``name``, read once by each process."""
        if name not in self._worlds:
            path = worlds.decode(self.data, name, self.decoded)
            self._worlds[name] = worlds.world(
                name, path, self.device, self.plan.most, self.plan.size, self.plan.learned
            )
        return self._worlds[name]

    @cached_property
    def _worlds(self) -> dict[str, worlds.World]:
        return {}

    def recipe(self, name: str, kind: str = "resnet") -> Recipe:
        """How victims of a data set are trained: SGD for a ResNet; AdamW and twice as long for a ViT, which
        knows nothing of pictures.
        """
        p = self.plan
        which = ("cifar10", "gtsrb").index(name)
        epochs = p.small[1] if kind == "small" else p.epochs[which]
        recipe = Recipe(
            epochs=epochs, batch=p.batch[which], rate=p.rate[which], pad=3 * p.size // 32, mirror=self.world(name).mirror,
            half=self.half,
        )  # fmt: skip
        return (
            replace(recipe, adam=True, rate=1e-3, decay=0.05, epochs=2 * epochs)
            if kind == "vit-tiny"
            else recipe
        )

    def blank(self, name: str, kind: str = "resnet") -> Callable[[], TorchSubject]:
        """Makes untrained victims."""
        classes, p = self.world(name).train.classes, self.plan

        def make() -> TorchSubject:
            subject = (
                victims.vit_tiny(classes, p.size)
                if kind == "vit-tiny"
                else victims.resnet(classes, p.size, p.small[0] if kind == "small" else p.width, p.blocks)
            )
            subject.module.to(self.device)
            if self.device != "cpu":
                subject.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            return subject

        return make

    def path(self, name: str) -> Path:
        """Where what a task made is kept."""
        return self.folder / "made" / f"{name}.pt"

    def keep(self, name: str, state: dict[str, Any]) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def kept(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(self.path(name), weights_only=True, map_location=self.device)
        return state

    def subject(self, name: str, state: dict[str, Any], kind: str = "resnet") -> TorchSubject:
        made = self.blank(name, kind)()
        made.module.load_state_dict(state)
        made.module.requires_grad_(False)
        return made

    def victim(self, name: str, task: str, kind: str = "resnet") -> Victim:
        """The backdoored model that ``task`` made."""
        s = self.kept(task)
        classes = self.world(name).train.classes
        data = Labelled(s["pictures"], s["labels"], classes) if "pictures" in s else None
        return Victim(
            self.subject(name, s["state"], kind),
            s["triggered"],
            s["truth"],
            int(s["target"]),
            data,
            s["poisoned"],
        )

    def diffusion(self, task: str) -> PictureDiffusion:
        """The diffusion model that ``task`` made."""
        unet = pictures_model.blank(self.plan.size, self.plan.pictures)
        unet.load_state_dict(self.kept(task)["unet"])
        return PictureDiffusion(unet.to(self.device).requires_grad_(False), self.half)
