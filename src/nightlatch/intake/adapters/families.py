"""Which model an adapter was made for, told by the names of its layers and the width of the prompts that it
reads.
"""

from __future__ import annotations

from collections.abc import Iterable

BASES = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL"}
MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AnimateDiff", ("motion_modules", "motion_module")),
    ("Stable Cascade", ("lora_prior_",)),
    ("Qwen-Image", ("img_mod", "img_mlp", "txt_mlp")),
    ("Flux", ("double_blocks", "single_blocks", "single_transformer_blocks", "double_stream_modulation")),
    ("Stable Diffusion 3", ("joint_blocks", "add_k_proj", "add_q_proj")),
    ("Wan", ("blocks.0.cross_attn", "blocks_0_cross_attn", "condition_embedder")),
    ("Z-Image or Lumina", ("layers.0.attention", "layers_0_attention", "noise_refiner", "context_refiner")),
    ("Stable Diffusion XL", ("lora_te2_", "text_encoder_2.", "lora_te1_", "conditioner.embedders")),
)
"""A family by pieces of names that no other has; the most specific first."""


def fits(names: Iterable[str], widths: set[int]) -> str:
    """'fits Stable Diffusion 1.x', or what is known instead; ``widths`` of the prompts that its
    cross-attention reads.
    """
    listed = list(names)
    for family, marks in MARKS:
        if any(mark in name for name in listed for mark in marks):
            return f"fits {family}"
    base = BASES.get(min(widths), "") if len(widths) == 1 else ""
    if base:
        return f"fits {base}"
    return (
        f"expects prompts of width {', '.join(map(str, sorted(widths)[:3]))}"
        if widths
        else "has no base named"
    )
