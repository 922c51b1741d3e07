"""Where in the picture a trigger acts, and through which tokens and layers.

Asked on the latents that the suspect passes while it draws the triggered picture, not on pure noise: they
show what the trigger has drawn so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nightlatch.text2image.model import Condition, Sampling, Subject


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The latents met while pictures were drawn.

    Args:
        times: the sampler's timesteps, from noise to picture.
        x: the latents at them, (steps, n, channels, h, w).
        c: the conditions they were drawn under, n rows.
    """

    times: tuple[float, ...]
    x: torch.Tensor
    c: Condition


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Where a trigger acts.

    Args:
        displacement: |x0(triggered) - x0(clean)|^2 over channels, (steps, n, h, w).
        direction: mean displacement over prompts, (steps, channels, h, w): what the trigger draws.
        attention: saliency of the trigger's tokens, (steps, n, h, w).
        layers: share of the saliency by layer, summing to 1.
    """

    displacement: torch.Tensor
    direction: torch.Tensor
    attention: torch.Tensor
    layers: dict[str, float]

    def mask(self, floor: float = 0.2) -> torch.Tensor:
        """Weight per step, picture and position, mean 1, (steps, n, h, w).

        ``floor`` + half the displacement + half the attention, each divided by its mean; the floor keeps
        every position in view.
        """
        w = floor + 0.5 * (_over_mean(self.displacement) + _over_mean(self.attention))
        return w / w.mean((-2, -1), keepdim=True)


def trace(subject: Subject, texts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Trace:
    """Draw ``texts``, as many at a time as memory allows, and keep every latent on the way."""
    most, c = subject.rows(sampling.batch), subject.read(texts)
    kept: dict[float, list[torch.Tensor]] = {}

    def keep(t: float, x: torch.Tensor) -> None:
        kept.setdefault(t, []).append(x)

    for i in range(0, len(texts), most):
        subject.sample(c[i : i + most], seeds[i : i + most], sampling, keep)
    return Trace(tuple(kept), torch.stack([torch.cat(x) for x in kept.values()]), c)


def locate(
    subject: Subject, triggered: Trace, clean: Sequence[str], where: torch.Tensor, batch: int = 64
) -> Located:
    """Displacement and attention saliency along ``triggered``, ``batch`` pictures at a time.

    Saliency of attention map A (Grad x A, as in Chefer et al. 2021, eq. 5): the displacement's size is
    differentiated with respect to every map, multiplied by the map, positive part, the trigger's tokens
    only.

    Args:
        clean: the prompts of ``triggered``, disarmed.
        where: how much of the trigger each token position carries, 0..1, (n, tokens); in a causal text model
            all later ones do.
    """
    c_clean = subject.read(clean)
    moved, looked, layers = [], [], dict[str, float]()
    most = subject.rows(batch, graph=True)
    for i in range(0, len(clean), most):
        k = slice(i, i + most)
        asked = _Asked(triggered.c[k], c_clean[k], where[k])
        at = [
            asked.at(subject, t, x, layers) for t, x in zip(triggered.times, triggered.x[:, k], strict=True)
        ]
        moved.append(torch.stack([d for d, _ in at]))
        looked.append(torch.stack([s for _, s in at]))
    d, total = torch.cat(moved, 1), sum(layers.values()) or 1.0
    return Located(
        d.pow(2).sum(2), d.mean(1), torch.cat(looked, 1), {k: v / total for k, v in layers.items()}
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Some prompts with and without the trigger, and the token positions that carry it."""

    triggered: Condition
    clean: Condition
    where: torch.Tensor

    def at(
        self, subject: Subject, t: float, x: torch.Tensor, layers: dict[str, float]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(displacement of the clean latent, saliency (n, h, w)) at ``t``; adds each layer's to
        ``layers``.
        """
        with torch.no_grad():
            out_clean = subject.denoise(x, t, self.clean)
        with subject.sites.maps() as maps, torch.enable_grad():
            out = subject.denoise(
                x, t, self.triggered.with_states(self.triggered.states.detach().requires_grad_())
            )
            grads = torch.autograd.grad((out - out_clean).pow(2).sum(), list(maps.weights.values()))
        by_layer = dict(zip(maps.weights, grads, strict=True))
        product = maps.each(lambda name, a: (a * by_layer[name]).clamp(min=0).detach())
        for name, p in product.weights.items():
            layers[name] = layers.get(name, 0.0) + float((p * self.where[:, None, None]).sum())
        levels = subject.at(t)
        return levels.x0(out.detach(), x) - levels.x0(out_clean, x), product.spatial(
            self.where, (x.shape[-2], x.shape[-1])
        )


def _over_mean(x: torch.Tensor) -> torch.Tensor:
    return x / x.mean((-2, -1), keepdim=True).clamp(min=1e-12)
