"""Ways to make another picture that shows the same: what every one shares, and the final ``__call__`` that
matches colours.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from nightlatch.classifier import augment
from nightlatch.classifier.attacks.base import as_bytes
from nightlatch.classifier.subject import as_float, chunks
from nightlatch.classifier.vary.colour import matched
from nightlatch.classifier.vary.model import PictureDiffusion
from nightlatch.errors import UsageError
from nightlatch.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation(abc.ABC):
    """Base of all variations. Authors write ``run``; calling the variation keeps the form and, by default,
    the colours.

    Args:
        strength: how far from the original, in 0..1.
        colours: whether each channel gets the original's mean and spread.
    """

    name: ClassVar[str]
    together: ClassVar[int] = 512
    strength: float = 0.5
    colours: bool = True

    @abc.abstractmethod
    def run(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures in 0..1, (n, 3, h, w), made anew; torch's generator decides what is random."""

    @final
    def __call__(self, pictures: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """A variation of each of ``pictures`` (n, 3, h, w) uint8, of the same form and on the same device.

        Raises:
            UsageError: the strength is out of range, or what was made has another form.
        """
        if not 0 <= self.strength <= 1:
            raise UsageError(f"A strength of {self.strength:g} is out of range.", "Give one between 0 and 1.")
        torch.manual_seed(seed)
        made = []
        for part in chunks(pictures, self.together):
            x = as_float(part)
            new = self.run(x).to(x)
            if new.shape != x.shape:
                raise UsageError(
                    f"{self.name} gave pictures of another size.", "Use a generator of the pictures' size."
                )
            made.append(as_bytes(matched(new, x) if self.colours else new))
        return torch.cat(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByDiffusion(Variation):
    """A diffusion model of pictures noises each part of the way and denoises it (Struppek et al. 2023, with
    SDEdit as the generator).

    Args:
        model: the diffusion model.
        steps: of denoising.
    """

    name: ClassVar[str] = "diffusion"
    model: PictureDiffusion
    steps: int = 10

    def run(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.model.vary(pictures, self.strength, self.steps)


VARIATIONS: Registry[Variation] = Registry("variation", Variation)  # type: ignore[type-abstract]


@VARIATIONS.register("none")
@dataclass(frozen=True, slots=True, kw_only=True)
class Same(Variation):
    """The picture itself: the control for distillation alone."""

    name: ClassVar[str]

    def run(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures


@VARIATIONS.register("heavy-augmentation")
@dataclass(frozen=True, slots=True, kw_only=True)
class Heavy(Variation):
    """Shift, turn, colour, blur, blank square: the control without any model."""

    name: ClassVar[str]
    colours: bool = False

    def run(self, pictures: torch.Tensor) -> torch.Tensor:
        return augment.heavy(pictures)


@VARIATIONS.register("autoencoder")
@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction(Variation):
    """A small convolutional autoencoder, trained on the pictures that it is to give back: the control without
    noise.

    Args:
        steps: of training for each call, ``batch`` pictures each.
        channels: of the code, at a quarter of the resolution.
    """

    name: ClassVar[str]
    together: ClassVar[int] = 1 << 30
    steps: int = 800
    batch: int = 128
    channels: int = 8

    def run(self, pictures: torch.Tensor) -> torch.Tensor:
        from nightlatch.classifier.vary.autoencoder import reconstructed

        return reconstructed(pictures, self.channels, self.steps, self.batch)
