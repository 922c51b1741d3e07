"""SAU, locate: where the trigger acts, and through which tokens and layers.

Run on the suspect's own triggered trajectories, not on pure noise: there the latents show what the trigger has drawn so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nightlatch.text2image import probe
from nightlatch.text2image.model import Sampling, Subject


@dataclass(frozen=True, slots=True)
class Trace:
    """Latents met while drawing: ``x`` (steps, n, channels, h, w) at ``times``; ``texts`` that drew them."""

    times: tuple[int, ...]
    x: torch.Tensor
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """Where the trigger acts.

    Args:
        displacement: |x0(triggered) - x0(clean)|^2 over channels, (steps, n, h, w).
        direction: mean displacement over prompts, the trigger's latent, (steps, channels, h, w).
        attention: saliency of the trigger's tokens, (steps, n, h, w).
        layers: share of the saliency by cross-attention layer, summing to 1.
    """

    displacement: torch.Tensor
    direction: torch.Tensor
    attention: torch.Tensor
    layers: dict[str, float]

    def mask(self, floor: float = 0.2) -> torch.Tensor:
        """Soft weight per step, picture and position, (steps, n, h, w): floor + displacement and attention, each mean 1, then mean 1."""
        w = floor + 0.5 * (_unit(self.displacement) + _unit(self.attention))
        return w / w.mean((-2, -1), keepdim=True)


def trace(subject: Subject, texts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Trace:
    """Draw ``texts``, ``sampling.batch`` at a time where memory allows it, and keep every latent on the way."""
    most = subject.rows(sampling.batch)
    kept: dict[int, list[torch.Tensor]] = {}

    def keep(t: int, x: torch.Tensor, out: torch.Tensor) -> None:
        kept.setdefault(t, []).append(x)

    for i in range(0, len(texts), most):
        rows = slice(i, i + most)
        subject.sample(subject.encode(texts[rows]), seeds[rows], sampling, keep)
    return Trace(tuple(kept), torch.stack([torch.cat(x) for x in kept.values()]), tuple(texts))


def locate(subject: Subject, triggered: Trace, clean: Sequence[str], where: torch.Tensor, batch: int = 64) -> Located:
    """Displacement and attention saliency along ``triggered``, ``batch`` pictures at a time; ``clean`` are the same prompts disarmed.

    ``where`` (n, tokens) in 0..1 tells how much of the trigger each token position carries: in a causal text model all later ones do.

    Saliency of attention map A (Grad x A, as in Chefer et al. 2021, eq. 5): the displacement's size is differentiated with respect to every
    map, multiplied by the map, positive part, trigger tokens only.
    """
    c_trig, c_clean = subject.encode(triggered.texts), subject.encode(clean)
    moved, looked, layers = [], [], dict[str, float]()
    most = subject.rows(batch, graph=True)
    for i in range(0, len(clean), most):
        k = slice(i, i + most)
        steps = zip(triggered.times, triggered.x[:, k], strict=True)
        at = [_at(subject, t, x, c_trig[k], c_clean[k], where[k], layers) for t, x in steps]
        moved.append(torch.stack([d for d, _ in at]))
        looked.append(torch.stack([s for _, s in at]))
    d, total = torch.cat(moved, 1), sum(layers.values()) or 1.0
    return Located(d.pow(2).sum(2), d.mean(1), torch.cat(looked, 1), {k: v / total for k, v in layers.items()})


def _at(
    subject: Subject,
    t: int,
    x: torch.Tensor,
    c_trig: torch.Tensor,
    c_clean: torch.Tensor,
    where: torch.Tensor,
    layers: dict[str, float],
) -> tuple[torch.Tensor, torch.Tensor]:
    """(displacement of the clean latent, saliency (n, h, w)) at ``t``; adds each layer's saliency to ``layers``."""
    with torch.no_grad():
        out_clean = subject.denoise(x, t, c_clean)
    with probe.attention(subject.unet) as maps, torch.enable_grad():
        out = subject.denoise(x, t, c_trig.detach().requires_grad_())
        grads = torch.autograd.grad((out - out_clean).pow(2).sum(), list(maps.values()))
    product = {n: (a * g).clamp(min=0).detach() for (n, a), g in zip(maps.items(), grads, strict=True)}
    for name, p in product.items():
        layers[name] = layers.get(name, 0.0) + float((p * where[:, None, None]).sum())
    displaced = subject.to_x0(out.detach(), x, t) - subject.to_x0(out_clean, x, t)
    return displaced, probe.spatial(product, where, x.shape[-1])


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.mean((-2, -1), keepdim=True).clamp(min=1e-12)
