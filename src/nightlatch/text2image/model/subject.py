"""What every text-to-image model is to the rest of the project.

An adapter file implements the abstract part for one architecture; all else follows from it and is written
once, here. ``x`` is always a noised latent (n, channels, h, w): an architecture that packs latents otherwise
does so inside its adapter.
"""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.diffusion import sampler
from nightlatch.diffusion.schedule import Levels, Schedule
from nightlatch.terms import Role
from nightlatch.text2image.model.at_once import in_parts
from nightlatch.text2image.model.condition import Condition
from nightlatch.text2image.model.precision import computing
from nightlatch.text2image.model.sites import Sites
from nightlatch.text2image.model.vocabulary import Ids, Vocabulary

Images = npt.NDArray[np.uint8]
OnStep = Callable[[float, torch.Tensor], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How pictures are drawn, without new noise on the way. ``guidance`` 1 means no unconditional pass."""

    steps: int = 10
    guidance: float = 1.0
    batch: int = 64


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A component that carries weights, and what it does."""

    module: torch.nn.Module
    role: Role


@dataclass(frozen=True, slots=True, eq=False)
class Accessory:
    """A component without weights, and what it does."""

    thing: Any
    role: Role


class Subject(abc.ABC):
    """A model under test. No verb changes one: what changes weights works on a ``copy``.

    Attributes:
        name: what people call it.
        device, precision: where it computes, and in what (autocast); weights, text states and losses stay in
            float32.
        schedule: the noise levels it was trained with, and how its sampler steps through them.
        positions: most latent positions that are computed at once: 8 pictures of 512 x 512, more of smaller
            ones.
    """

    name: str
    device: torch.device
    precision: torch.dtype
    schedule: Schedule
    positions: ClassVar[int] = 32_768

    # --- what an adapter gives
    # ------------------------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """Name in the model's folder -> component with weights."""

    @property
    @abc.abstractmethod
    def accessories(self) -> Mapping[str, Accessory]:
        """Name -> what a stock pipeline has beside its weights: tokenizer and scheduler."""

    @property
    @abc.abstractmethod
    def vocabulary(self) -> Vocabulary:
        """The tokens that a prompt is made of."""

    @property
    @abc.abstractmethod
    def sites(self) -> Sites:
        """Where text enters the denoiser."""

    @property
    @abc.abstractmethod
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """Component (the scheduler, too) -> settings that change what it does with the same weights."""

    @property
    @abc.abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, h, w) at the size that the model draws by default."""

    @abc.abstractmethod
    def condition(self, ids: Ids) -> Condition:
        """What the denoiser is told for token ids; keeps gradients when they are enabled."""

    @abc.abstractmethod
    def denoise(self, x: torch.Tensor, t: torch.Tensor | float, c: Condition) -> torch.Tensor:
        """The raw output, float32, shape of ``x``; ``t`` is one timestep for all or one each (n,)."""

    @abc.abstractmethod
    def decode(self, x: torch.Tensor) -> Images:
        """Latents -> pictures, (n, h, w, 3)."""

    @abc.abstractmethod
    def stock(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Images:
        """What the architecture's own pipeline draws with the model's own scheduler and nothing of ours in
        between, (n, h, w, 3).
        """

    @abc.abstractmethod
    def encode_images(self, images: Images, batch: int = 128) -> torch.Tensor:
        """Pictures (n, h, w, 3) -> latents, the means where the encoder gives a distribution."""

    @abc.abstractmethod
    def replaced(self, components: Mapping[str, Any], schedule: Schedule | None = None) -> Self:
        """The same with other ``components`` (parts or accessories) by name, and another ``schedule`` if
        given.

        Everything else is shared. A scheduler among the ``components`` is what ``stock`` draws with;
        ``schedule`` stays.
        """

    @abc.abstractmethod
    def save(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Write a stock folder in ``dtype``, safetensors only; whole or not at all.

        Raises:
            NotWritten: ``folder`` is there already, there is no room, or the place cannot be written to.
        """

    # --- components
    # -----------------------------------------------------------------------------------------------------

    @final
    def named(self, role: Role) -> tuple[str, ...]:
        """The names of the components with that role."""
        return tuple(name for name, part in self.parts.items() if part.role is role)

    @final
    def modules(self, *roles: Role) -> list[torch.nn.Module]:
        """The components with one of these roles."""
        return [part.module for part in self.parts.values() if part.role in roles]

    @final
    def copy(self, *names: str) -> Self:
        """A subject whose components ``names`` (default: all) are copies; the others are shared."""
        chosen = names or tuple(self.parts)
        return self.replaced({name: copy.deepcopy(self.parts[name].module) for name in chosen})

    @final
    def copied(self, *roles: Role) -> Self:
        """A subject in which the components with these roles are copies; the others are shared."""
        return self.copy(*(name for role in roles for name in self.named(role)))

    @final
    def but(self, names: str | Sequence[str], other: Subject) -> Self:
        """The same with the components ``names`` of ``other``; nothing is copied."""
        several = (names,) if isinstance(names, str) else names
        parts, accessories = other.parts, other.accessories
        return self.replaced({n: parts[n].module if n in parts else accessories[n].thing for n in several})

    def __repr__(self) -> str:
        size = sum(p.numel() for part in self.parts.values() for p in part.module.parameters())
        return f"{type(self).__name__}({self.name!r}, {size / 1e6:.1f} million weights, {self.device})"

    # --- text
    # --------------------------------------------------------------------------------------------------------

    @final
    def ids(self, texts: Sequence[str]) -> Ids:
        """The texts as the model reads them, on its device."""
        return self.placed(self.vocabulary.ids(texts))

    @final
    def placed(self, ids: Ids) -> Ids:
        """Token ids on the model's device."""
        return tuple(i.to(self.device) for i in ids)

    @final
    @torch.no_grad()
    def read(self, texts: Sequence[str], batch: int = 256) -> Condition:
        """The conditions of ``texts``, without gradients."""
        starts = range(0, max(len(texts), 1), batch)
        return Condition.joined([self.told(self.vocabulary.ids(texts[i : i + batch])) for i in starts])

    @final
    @torch.no_grad()
    def told(self, ids: Ids) -> Condition:
        """The conditions of token ``ids``, without gradients, parts of them at once."""
        there, n = self.placed(ids), len(ids[0])
        made = in_parts(lambda r: self.condition(tuple(each[r] for each in there)), n, n, self.device)
        return Condition.joined(made)

    # --- one step
    # -------------------------------------------------------------------------------------------------------

    @final
    @torch.no_grad()
    def outputs(self, x: torch.Tensor, t: torch.Tensor | float, c: Condition, batch: int) -> torch.Tensor:
        """``denoise`` without gradients, ``batch`` rows at a time, or as many as ``rows`` allows."""
        times = torch.as_tensor(t, device=self.device).expand(len(x))
        made = in_parts(lambda r: self.denoise(x[r], times[r], c[r]), len(x), self.rows(batch), self.device)
        return torch.cat(made)

    @final
    def rows(self, most: int, graph: bool = False) -> int:
        """How many pictures to compute at once: ``most``, fewer where latents are large, an eighth where a
        ``graph`` is kept.
        """
        return max(1, min(most, self.positions // (8 if graph else 1) // math.prod(self.latent_shape[1:])))

    @final
    def autocast(self) -> torch.autocast:
        """Inside it the device computes in ``precision``."""
        return computing(self.device.type, self.precision)

    @final
    def at(self, t: torch.Tensor | float) -> Levels:
        """The noise levels at ``t``, shaped to multiply latents."""
        return self.schedule.at(t)

    @final
    def noise(self, seeds: Sequence[int]) -> torch.Tensor:
        """One starting latent per seed, from CPU generators, so that every device draws the same."""
        made = [torch.randn(self.latent_shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return torch.stack(made).to(self.device)

    # --- pictures
    # -------------------------------------------------------------------------------------------------------

    @final
    @torch.no_grad()
    def sample(
        self, c: Condition, seeds: Sequence[int], sampling: Sampling, on_step: OnStep | None = None
    ) -> torch.Tensor:
        """Latents drawn under conditions ``c``, one seed each; ``on_step`` is called with (timestep, x)
        before each step.
        """
        return self._sample(c, self._null(sampling, c), seeds, sampling, on_step)

    def _null(self, sampling: Sampling, c: Condition) -> Condition:
        """What guidance leads away from, one row; where there is none, any row of ``c``."""
        return self.read([""]) if sampling.guidance != 1.0 else c[:1]

    def _sample(
        self, c: Condition, null: Condition, seeds: Sequence[int], sampling: Sampling, on_step: OnStep | None
    ) -> torch.Tensor:
        """The same, told what guidance leads away from."""
        away = null.expanded(len(c))
        denoise = sampler.guided(
            lambda x, t: self.denoise(x, t, c), lambda x, t: self.denoise(x, t, away), sampling.guidance
        )
        return sampler.sample(self.schedule, denoise, self.noise(seeds), sampling.steps, on_step)

    @final
    @torch.no_grad()
    def latents(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> torch.Tensor:
        """Latents for ``prompts``; each depends on its own prompt and seed only."""
        c, most = self.read(prompts), self.rows(sampling.batch)
        null = self._null(sampling, c)
        made = in_parts(
            lambda r: self._sample(c[r], null, seeds[r], sampling, None), len(prompts), most, self.device
        )
        return torch.cat(made)

    @final
    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Images:
        """Pictures for ``prompts``, (n, h, w, 3)."""
        return self.decode_all(self.latents(prompts, seeds, sampling))

    @final
    def decode_all(self, x: torch.Tensor, batch: int = 64) -> Images:
        """Latents -> pictures, as many at once as memory allows."""
        return np.concatenate(in_parts(lambda r: self.decode(x[r]), len(x), self.rows(batch), self.device))


def batches(n: int, most: int) -> list[slice]:
    """``n`` rows in parts of at most ``most``."""
    return [slice(i, i + most) for i in range(0, n, most)]
