"""Reading cross-attention from the inside, with gradients: a context manager that replaces only the layers it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention


class _Reached(Exception):
    """The forward pass has come as far as is wanted; carries what the layer gave."""

    def __init__(self, made: torch.Tensor) -> None:
        super().__init__()
        self.made = made


Maps = dict[str, torch.Tensor]
"""Layer name -> attention probabilities (n, heads, positions, tokens), attached to the graph."""


class _Recording:
    """An attention processor that forms the probabilities (fused attention never does) and keeps them."""

    def __init__(self, name: str, maps: Maps) -> None:
        self.name, self.maps = name, maps

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **unused: Any,
    ) -> torch.Tensor:
        """softmax(Q K^T / sqrt(d)) V with the layer's own projections; shapes as diffusers' AttnProcessor2_0."""
        c = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (split_heads(p(x), attn.heads) for p, x in ((attn.to_q, hidden_states), (attn.to_k, c), (attn.to_v, c)))
        probabilities = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1)
        self.maps[self.name] = probabilities
        out = (probabilities @ v).transpose(1, 2).flatten(2)
        result: torch.Tensor = attn.to_out[1](attn.to_out[0](out))
        scaled: torch.Tensor = result / attn.rescale_output_factor
        return scaled


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(n, tokens, width) -> (n, heads, tokens, width / heads)."""
    heads_apart: torch.Tensor = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    return heads_apart


@contextmanager
def attention(unet: UNet2DConditionModel) -> Iterator[Maps]:
    """Record every cross-attention map of each forward pass inside the block; the layers' own processors are put back after."""
    maps: Maps = {}
    layers = {n: m for n, m in unet.named_modules() if isinstance(m, Attention) and n.endswith("attn2")}
    before = {n: m.processor for n, m in layers.items()}
    try:
        for name, layer in layers.items():
            layer.processor = _Recording(name, maps)
        yield maps
    finally:
        for name, layer in layers.items():
            layer.processor = before[name]


def spatial(maps: Maps, where: torch.Tensor, size: int) -> torch.Tensor:
    """Where the tokens marked in ``where`` (n, tokens) are looked at: mean over layers and heads, summed over them, (n, size, size)."""
    grids = []
    for a in maps.values():
        weight = (a * where[:, None, None]).sum(-1).mean(1)
        side = round(weight.shape[1] ** 0.5)
        grids.append(F.interpolate(weight.view(-1, 1, side, side), size=size, mode="bilinear", align_corners=False))
    return torch.cat(grids, 1).mean(1)


def middle(unet: UNet2DConditionModel, forward: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What the middle block gives during ``forward``, which goes no further; the result of ``forward`` itself where the model has no such block."""
    if unet.mid_block is None:
        return forward()

    def stop(block: torch.nn.Module, args: Any, made: torch.Tensor) -> None:
        raise _Reached(made.float())

    hook = unet.mid_block.register_forward_hook(stop)
    try:
        return forward()
    except _Reached as reached:
        return reached.made
    finally:
        hook.remove()
