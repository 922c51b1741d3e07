"""Self-distillation that also guides attention, SKD-CAG-style (arXiv 2508.18235), with a gradient.

The released code detaches the attention maps, so that its attention loss trains nothing; and its teacher's maps
are overwritten by the student's. Here both are as the report describes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from nightlatch.text2image.model import Maps, Subject
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.baselines import descend
from nightlatch.text2image.repair.texts import Texts


@METHODS.register("skd-cag")
@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionGuided(Method):
    """L = (1 - attention) L_pred + attention L_attn on pure noise and uniform timesteps; all weights change.

    L_pred is that of plain self-distillation; L_attn gives the trigger's tokens the attention map of noise,
    and every other token the teacher's on a prompt with neutral words in the trigger's place.

    Args:
        steps, batch, rate, prompts: as of plain self-distillation ("skd").
        attention: weight of the attention loss (0.5 in the report).
    """

    name: ClassVar[str]
    steps: int = 400
    batch: int = 24
    rate: float = 1e-4
    prompts: int = 48
    attention: float = 0.5

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        texts = Texts.of(frozen, job, self.prompts, np.random.default_rng((job.seed, 9)))
        c_trig, c_drop, c_fill = (frozen.read(x) for x in (texts.triggered, texts.dropped, texts.filled))
        own, inside = token_positions(frozen, texts.triggered, texts.filled)

        def loss(n: int) -> torch.Tensor:
            i = torch.randint(len(c_trig), (n,))
            x, t = torch.randn(n, *frozen.latent_shape, device=frozen.device), frozen.schedule.draw(n)
            size = (x.shape[-2], x.shape[-1])
            with torch.no_grad():
                goal = frozen.denoise(x, t, c_drop[i])
                with frozen.sites.maps() as maps:
                    frozen.denoise(x, t, c_fill[i])
                wanted = token_maps(maps, size)
            with student.sites.maps() as maps:
                out = student.denoise(x, t, c_trig[i])
            noise = torch.rand_like(wanted)
            wanted = torch.where(own[i][:, :, None, None], noise, wanted)
            gap = (token_maps(maps, size) - wanted).pow(2).mean((-2, -1))
            guided = (gap * inside[i]).sum(1) / inside[i].sum(1).clamp(min=1)
            predicted = (out - goal).pow(2).mean()
            return (1 - self.attention) * predicted + self.attention * guided.mean()

        yield from descend(student, loss, self.batch, self.steps, self.rate)


def token_maps(maps: Maps, size: tuple[int, int]) -> torch.Tensor:
    """One map for each token, (n, tokens, *size): mean over heads, sum over layers, each scaled to 0..1."""
    total = torch.zeros(())
    for name, a in maps.weights.items():
        grid = a.mean(1).transpose(1, 2).unflatten(2, maps.grids[name])
        total = total.to(grid) + F.interpolate(grid, size=size, mode="bilinear", align_corners=False)
    low, high = total.amin((-2, -1), keepdim=True), total.amax((-2, -1), keepdim=True)
    return (total - low) / (high - low).clamp(min=1e-12)


def token_positions(
    subject: Subject, triggered: Sequence[str], filled: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(positions of the trigger's tokens, positions of all tokens and the end), (n, tokens) bool each.

    ``filled`` has other words of the same number of tokens in the trigger's place.
    """
    a, b = subject.ids(triggered)[0], subject.ids(filled)[0]
    lengths = torch.tensor([len(t) for t in subject.vocabulary.typed(triggered)], device=a.device)
    at = torch.arange(a.shape[1], device=a.device)
    inside = (at >= 1) & (at <= lengths[:, None] + 1)
    return (a != b) & inside, inside
