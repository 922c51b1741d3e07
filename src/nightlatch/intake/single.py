"""A whole Stable Diffusion checkpoint in one file, in the layout of the original training code (1.x and 2.x).

Such a file has no configs and no tokenizer: both are taken from a trusted base, and what does not fit it does
not load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nightlatch.intake import buffers, layouts
from nightlatch.intake.case import Case
from nightlatch.intake.files.header import Header, Tensor
from nightlatch.intake.files.weights import check_metadata, check_tail
from nightlatch.safetext import show

TARGET = "checkpoint.safetensors"
PARTS = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "cond_stage_model."}
AVERAGE = "model_ema."
_FIRST = "model.diffusion_model.input_blocks.0.0.weight"
_SCHEDULE = frozenset({
    "alphas_cumprod", "alphas_cumprod_prev", "betas", "log_one_minus_alphas_cumprod", "logvar",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1", "posterior_mean_coef2", "posterior_variance", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod",
})  # fmt: skip
"""What the original training code saves beside the weights; nothing reads it."""
_ELSEWHERE = (
    "clip_g.", "clip_h.", "clip_l.", "conditioner.", "denoiser.", "diffusion_model.", "model.model.", "net.",
    "text_encoder.",
    "text_encoders.", "text_model.", "transformer.", "unet.", "vae.",
)  # fmt: skip
"""Where other programs look for components; no checkpoint of this layout has them."""
_ENCODERS = (
    re.compile(r"cond_stage_model\.transformer\.text_model\."),
    re.compile(r"cond_stage_model\.transformer\.(?!text_model\.)"),
    re.compile(r"cond_stage_model\.model\."),
)
"""The names that a text encoder may have; of a file with two of them, programs take different ones."""
_SPARE = re.compile(
    r"cond_stage_model\.(?:transformer\.|model\.|transformer\.text_model\.)?(?:logit_scale|text_projection(?:\.weight)?|attn_mask)"
    r"|cond_stage_model\.transformer\.(?:text_model\.)?embeddings\.position_ids"
    r"|cond_stage_model\.model\.transformer\.resblocks\.23\..*"
    r"|first_stage_model\.(?:loss|model_ema)\..*"
)
"""Tensors inside the components that have no part in drawing: CLIP's scale and projection, the last layer of
the encoder of 2.x (the one before it is taken), the autoencoder's training loss."""
_MARKS = frozenset({buffers.V_PREDICTION, buffers.ZERO_SNR})
_WITHOUT = {
    "unet": ("a UNet", layouts.WHOLE),
    "text_encoder": (
        "a text encoder, which programs take from elsewhere",
        "Take a file with it inside, or save the pipeline that you draw with and scan that: 'nightlatch scan "
        "FOLDER --base MODEL'.",
    ),
}
"""What a checkpoint may lack, and what to do then."""


def looks_like_checkpoint(tensors: Mapping[str, Tensor]) -> bool:
    """Whether this is the layout that is supported: a UNet of the original training code, with its own first
    layer, and another component.
    """
    others = (PARTS["vae"], PARTS["text_encoder"])
    return _FIRST in tensors and any(n.startswith(others) for n in tensors)


def is_spare(name: str) -> bool:
    """Whether no program draws with the tensor of that name."""
    return _SPARE.fullmatch(name) is not None


def check(case: Case, path: str, header: Header) -> None:
    """Findings for the checkpoint at ``path``, planned as ``TARGET``."""
    check_metadata(case, path, header)
    check_tail(case, path)
    names = set(header.tensors)
    for part, prefix in PARTS.items():
        if any(n.startswith(prefix) for n in names):
            continue
        if part == "vae":
            case.findings.add("no-autoencoder", path)
        else:
            words, remedy = _WITHOUT[part]
            case.findings.add("unsupported-layout", path, f"It is a checkpoint without {words}.", remedy)
    if len(header.tensors[_FIRST].shape) != 4:
        case.findings.add("shape-mismatch", path, f"'{_FIRST}' is not a convolution.")
    if layouts.is_quantised(header.tensors):
        sentence = (
            "It is a checkpoint whose weights are quantised or scaled, so that only some programs read them "
            "right."
        )
        case.findings.add("unsupported-layout", path, sentence, layouts.SOURCE)
    if any(n.startswith(AVERAGE) for n in names):
        case.findings.add(
            "second-variant",
            path,
            "It also holds averaged weights (model_ema), which some programs load instead.",
        )
    _one_of_each(case, path, names)
    buffers.check_marks(case, path, header)
    buffers.check_positions(case, path, header)
    buffers.check_schedule(case, path, header, _SCHEDULE)
    known = (*PARTS.values(), AVERAGE)
    if odd := sorted(n for n in names if not n.startswith(known) and n not in _SCHEDULE | _MARKS):
        case.findings.add(
            "extra-keys", path, f"{len(odd)} tensors belong to no component, e.g. '{show(odd[0], 80)}'."
        )
    case.findings.add("single-file", path)
    case.stage(TARGET, path)
    case.component_files[TARGET] = [TARGET]


def _one_of_each(case: Case, path: str, names: Iterable[str]) -> None:
    """A component must be there under one set of names: with two, programs differ in which they load."""
    named = [n for n in names if not is_spare(n)]
    encoders = [min(found) for family in _ENCODERS if (found := [n for n in named if family.match(n)])]
    if len(encoders) > 1:
        shown = " and ".join(f"'{show(n, 80)}'" for n in encoders[:2])
        case.findings.add("double-weights", path, f"It holds two text encoders, e.g. {shown}.")
    if odd := sorted(n for n in named if n.startswith(_ELSEWHERE)):
        sentence = (
            f"{len(odd)} tensors lie where other programs look for a component, e.g. '{show(odd[0], 80)}'."
        )
        case.findings.add("double-weights", path, sentence)
