"""Where text enters diffusers' U-Nets: the cross-attention layers, which are called attn2 there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from nightlatch.text2image.model.sites import Maps, Trainable

READERS = ("attn2.to_k.weight", "attn2.to_v.weight")


class UNetSites:
    """The sites of one U-Net."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.unet = unet

    def readers(self) -> dict[str, torch.Tensor]:
        return {name: p for name, p in self.unet.named_parameters() if name.endswith(READERS)}

    def trainable(self, which: Trainable) -> Iterator[torch.nn.Parameter]:
        for name, parameter in self.unet.named_parameters():
            if which == "all" or (name.endswith(READERS) if which == "readers" else ".attn2." in name):
                yield parameter

    def linears(self, which: Trainable) -> list[torch.nn.Linear]:
        wanted = {id(p) for p in self.trainable(which)}
        return [m for m in self.unet.modules() if isinstance(m, torch.nn.Linear) and id(m.weight) in wanted]

    @contextmanager
    def checkpointed(self) -> Iterator[None]:
        self.unet.enable_gradient_checkpointing()
        try:
            yield
        finally:
            self.unet.disable_gradient_checkpointing()

    @contextmanager
    def maps(self) -> Iterator[Maps]:
        """Only cross-attention layers are replaced, and put back afterwards."""
        made, layers = Maps(), self._layers()
        before = {name: layer.processor for name, layer in layers.items()}
        size: list[tuple[int, int]] = []

        def note(unet: torch.nn.Module, args: tuple[torch.Tensor, ...], named: dict[str, Any]) -> None:
            x = args[0] if args else named["sample"]
            size.append((x.shape[-2], x.shape[-1]))

        hook = self.unet.register_forward_pre_hook(note, with_kwargs=True)
        try:
            for name, layer in layers.items():
                layer.processor = _Recording(name, made, size)
            yield made
        finally:
            hook.remove()
            for name, layer in layers.items():
                layer.processor = before[name]

    @contextmanager
    def middle(self) -> Iterator[Callable[[Callable[[], torch.Tensor]], torch.Tensor]]:
        def stop(block: torch.nn.Module, args: Any, made: torch.Tensor) -> None:
            raise _Reached(made.float())

        def reached(forward: Callable[[], torch.Tensor]) -> torch.Tensor:
            try:
                return forward()
            except _Reached as at:
                return at.made

        block = self.unet.mid_block
        hook = None if block is None else block.register_forward_hook(stop)
        try:
            yield reached
        finally:
            if hook is not None:
                hook.remove()

    def _layers(self) -> dict[str, Attention]:
        named = self.unet.named_modules()
        return {name: m for name, m in named if isinstance(m, Attention) and name.endswith("attn2")}


class _Reached(Exception):
    """The forward pass has come as far as is wanted; carries what the layer gave."""

    def __init__(self, made: torch.Tensor) -> None:
        super().__init__()
        self.made = made


class _Recording:
    """An attention processor that forms the probabilities (fused attention never does) and keeps them."""

    def __init__(self, name: str, maps: Maps, size: list[tuple[int, int]]) -> None:
        self.name, self.maps, self.size = name, maps, size

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **unused: Any,
    ) -> torch.Tensor:
        """softmax(Q K^T / sqrt(d)) V with the layer's own projections; shapes as diffusers'
        AttnProcessor2_0.
        """
        c = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        inputs = ((attn.to_q, hidden_states), (attn.to_k, c), (attn.to_v, c))
        q, k, v = (split_heads(project(x), attn.heads) for project, x in inputs)
        probabilities = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1)
        self.maps.weights[self.name] = probabilities
        self.maps.grids[self.name] = grid(hidden_states.shape[1], self.size[-1])
        out = (probabilities @ v).transpose(1, 2).flatten(2)
        result: torch.Tensor = attn.to_out[1](attn.to_out[0](out))
        scaled: torch.Tensor = result / attn.rescale_output_factor
        return scaled


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(n, positions, heads * d) -> (n, heads, positions, d)."""
    apart: torch.Tensor = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    return apart


def grid(positions: int, size: tuple[int, int]) -> tuple[int, int]:
    """The (h, w) of a layer with that many ``positions`` under a latent of ``size``, which is halved some
    times, rounding up.
    """
    h, w = size
    while h * w > positions:
        h, w = -(-h // 2), -(-w // 2)
    return h, w
