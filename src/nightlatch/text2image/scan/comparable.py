"""Whether pictures of suspect and base can be compared at all: same settings, finite numbers, answers that depend on the prompt.

What sabotages a model's own pictures would otherwise hide every trigger, and a scan would find nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from nightlatch.errors import NotScanned
from nightlatch.records import ComponentChange
from nightlatch.terms import ChangePattern, Role
from nightlatch.text2image.measure import seeds
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt

ACTING: Mapping[str, tuple[str, ...]] = {
    "unet": (
        "act_fn", "addition_embed_type", "addition_embed_type_num_heads", "attention_head_dim", "attention_type",
        "center_input_sample", "class_embed_type", "class_embeddings_concat", "cross_attention_norm", "downsample_padding",
        "dual_cross_attention", "encoder_hid_dim_type", "flip_sin_to_cos", "freq_shift", "mid_block_only_cross_attention",
        "mid_block_scale_factor", "norm_eps", "norm_num_groups", "num_attention_heads", "only_cross_attention",
        "resnet_out_scale_factor", "resnet_skip_time_act", "resnet_time_scale_shift", "sample_size", "time_cond_proj_dim",
        "time_embedding_act_fn", "time_embedding_type", "timestep_post_act",
    ),
    "vae": (
        "act_fn", "latents_mean", "latents_std", "mid_block_add_attention", "norm_num_groups", "scaling_factor", "shift_factor",
        "use_post_quant_conv", "use_quant_conv",
    ),
    "text_encoder": ("hidden_act", "layer_norm_eps", "num_attention_heads", "num_hidden_layers", "use_attention_mask"),
}  # fmt: skip
"""Settings that change what a component does with the same weights, or with the first of them. Precision (upcast_attention, force_upcast),
dropout and the text encoder's token ids, which only its pooled output is taken by, are none of them."""
NAMED = 20
"""Most settings of a scheduler that a report names."""
PROMPTS = 4
DEAF, HARD_OF_HEARING = 1e-10, 1e-2
"""Part of the latents' variance, and of what the base shows of it, below which another prompt changes nothing."""


def on_one_schedule(suspect: Subject, base: Subject) -> tuple[Subject, tuple[ComponentChange, ...]]:
    """The suspect with the base's schedule, and a row for the report when its own is another one in any setting.

    Raises:
        NotScanned: the models predict different things, or a component's settings differ.
    """
    for part, keys in ACTING.items():
        if odd := _differing(suspect.components[part].config, base.components[part].config, keys):
            raise NotScanned(
                f"The {part}'s settings differ from the base's in {', '.join(odd)}.", "Give the base it was made from."
            )
    known = sorted(k for k in {**suspect.schedule.config, **base.schedule.config} if not k.startswith("_"))
    odd = _differing(suspect.schedule.config, base.schedule.config, known)
    if "prediction_type" in odd:
        kinds = (s.schedule.config.prediction_type for s in (suspect, base))
        raise NotScanned("The model predicts {}, the base {}.".format(*kinds), "Give a base that predicts the same.")
    if type(suspect.pipeline.scheduler) is not type(base.pipeline.scheduler):
        odd = ("class", *odd)
    if not odd:
        return suspect, ()
    row = ComponentChange(
        component="scheduler",
        role=Role.SCHEDULER,
        tensors=len(known),
        changed=len(odd),
        relative_norm=0.0,
        median_rank=0.0,
        layers=odd[:NAMED],
        pattern=ChangePattern.SETTINGS,
    )
    return replace(suspect, schedule=copy.deepcopy(base.schedule)), (row,)


def require_answers(suspect: Subject, base: Subject, texts: Sequence[Prompt], sampling: Sampling, seed: int) -> None:
    """Draw a few prompts from one noise with both models.

    Raises:
        NotScanned: a latent is not finite, or the prompt makes no difference, or hardly any where it makes one to the base.
    """
    mine, theirs = (_spread(s, texts[:PROMPTS], sampling, seed) for s in (suspect, base))
    if not theirs > DEAF:
        raise NotScanned("The base's pictures do not depend on the prompt.", "Give another base.")
    if not mine > max(DEAF, HARD_OF_HEARING * theirs):
        raise NotScanned("The model's pictures do not depend on the prompt.", "Do not load this model.")


def _spread(subject: Subject, texts: Sequence[Prompt], sampling: Sampling, seed: int) -> float:
    """Mean squared difference between the prompts' latents, over their mean square."""
    x = finite(subject.latents([p.text for p in texts], seeds(1, seed) * len(texts), sampling), subject)
    return float((x - x[:1]).pow(2).mean()) / max(float(x.pow(2).mean()), 1e-30)


def finite(x: torch.Tensor, subject: Subject) -> torch.Tensor:
    """``x`` itself.

    Raises:
        NotScanned: it holds NaN or infinity.
    """
    if not bool(x.isfinite().all()):
        raise NotScanned(f"{subject.name} answers some prompts with numbers that are not finite.", "Do not load this model.")
    return x


def _differing(mine: Any, theirs: Any, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(k for k in keys if _plain(getattr(mine, k, None)) != _plain(getattr(theirs, k, None)))


def _plain(value: Any) -> Any:
    """``value`` in one form: nothing for false, lists as tuples, one number for as many equal ones."""
    if isinstance(value, list | tuple):
        return value[0] if value and all(type(v) is int and v == value[0] for v in value) else tuple(value)
    return value or None if isinstance(value, bool) else value
