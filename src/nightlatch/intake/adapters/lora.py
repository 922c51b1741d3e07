"""A LoRA as a single file: complete pairs, sane ranks and scales, and which base it fits."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from nightlatch.intake.adapters import metadata
from nightlatch.intake.case import Case
from nightlatch.intake.files.header import Header, Tensor
from nightlatch.intake.files.weights import check_metadata, check_tail
from nightlatch.safetext import show

_DOWN = re.compile(r"^(.*?)[._](?:lora_A|lora_down|lora\.down|down)(?:\.default)?\.weight$")
_UP = re.compile(r"^(.*?)[._](?:lora_B|lora_up|lora\.up|up)(?:\.default)?\.weight$")
_SIDE = re.compile(r"^(.*?)\.(?:alpha|lora_magnitude_vector(?:\.default)?(?:\.weight)?)$")
_OTHER_METHOD = re.compile(r"\.(?:hada_w|lokr_w|oft_|ia3_|on_input|diff(?:_b)?$)")
_CROSS = re.compile(r"attn2[._](?:processor\.)?to_[kv]")
_BASES = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL"}
_ADAPTER_KEYS = frozenset({
    "alpha_pattern", "bias", "fan_in_fan_out", "init_lora_weights", "lora_alpha", "lora_dropout", "peft_type", "r",
    "rank_pattern", "target_modules", "use_dora", "use_rslora",
})  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z0-9_.]*")
"""Names become regular expressions in peft."""
_TRUSTED_PARENTS = ("diffusers.", "transformers.")


def looks_like_lora(names: Iterable[str]) -> bool:
    """Whether any tensor name is half of a LoRA pair, or belongs to a relative of LoRA."""
    return any((_DOWN.match(n) and "lora" in n) or _OTHER_METHOD.search(n) for n in names)


def check(case: Case, path: str, target: str) -> None:
    """Findings for the LoRA file at ``path``, planned as ``target``."""
    header = case.header(path)
    if header is None:
        return
    check_metadata(case, path, header)
    check_tail(case, path)
    layout(case, path, header)
    case.stage(target, path)
    case.component_files[target] = [target]


def layout(case: Case, path: str, header: Header) -> None:
    """Pairs, ranks and scales from the header and the few bytes of the alphas."""
    down, up, alphas, lengths, junk, twice = _sort(header.tensors)
    if odd := [n for n in header.tensors if not _PLAIN.fullmatch(n)]:
        case.findings.add("lora-names", path, f"{len(odd)} names hold other characters, e.g. '{show(min(odd), 80)}'.")
    try:
        metadata.check(header.metadata)
    except metadata.Unsound as e:
        case.findings.add(e.rule, path, e.sentence)
    if not down or any(_OTHER_METHOD.search(n) for n in header.tensors):
        case.findings.add("unsupported-layout", path, "It is an adapter of another kind than LoRA.")
        return
    if any("dora_scale" in n for n in header.tensors):
        case.findings.add(
            "unsupported-layout", path, "It is a DoRA whose 'dora_scale' diffusers leaves out and other programs apply."
        )
    if twice:
        case.findings.add("lora-pair", path, f"{len(twice)} halves are there twice, e.g. '{show(min(twice), 80)}'.")
    if odd := sorted(down.keys() ^ up.keys()):
        case.findings.add("lora-pair", path, f"{len(odd)} layers have one half of a pair only, e.g. '{show(odd[0], 80)}'.")
    for layer in sorted(down.keys() & up.keys()):
        _check_pair(case, path, layer, down[layer].shape, up[layer].shape)
    if junk:
        case.findings.add("lora-keys", path, f"{len(junk)} tensors belong to no layer pair, e.g. '{show(min(junk), 80)}'.")
    _check_lengths(case, path, lengths, up)
    _check_alphas(case, path, header, alphas, down)
    widths = {down[layer].shape[1] for layer in down if _CROSS.search(layer) and len(down[layer].shape) > 1}
    base = _BASES.get(min(widths), "") if len(widths) == 1 else ""
    fits = (
        f"fits {base}"
        if base
        else f"expects prompts of width {', '.join(map(str, sorted(widths)[:3]))}"
        if widths
        else "has no base named"
    )
    case.findings.add("lora", path, f"It is a LoRA of {len(down)} layers and {fits}.")


def check_adapter_config(case: Case, path: str, *, staged: bool) -> None:
    """A peft config: it may not name a module; staged with its numbers only."""
    value = case.json(path)
    if value is None:
        return
    parent = value.get("auto_mapping") or {}
    library = parent.get("parent_library") if isinstance(parent, dict) else "?"
    foreign = library is not None and not str(library).startswith(_TRUSTED_PARENTS)
    if value.get("megatron_config") is not None or value.get("megatron_core") not in (None, "megatron.core") or foreign:
        case.findings.add("adapter-module", path)
    if not staged:
        return
    if value.get("peft_type") != "LORA":
        case.findings.add("unsupported-layout", path, "It is an adapter of another kind than LoRA.")
    rank, alpha = value.get("r"), value.get("lora_alpha", 1)
    if type(rank) is not int or rank < 1 or not metadata.sane(alpha, rank):
        case.findings.add("lora-alpha", path, "'r' and 'lora_alpha' do not make a sane scale.")
    kept = {k: v for k, v in value.items() if k in _ADAPTER_KEYS}
    case.stage(path, path, json.dumps(kept, indent=2, sort_keys=True).encode())


def pairs(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The names of down and up half by layer, of all complete pairs."""
    down, up = ({m[1]: n for n in names if (m := half.match(n))} for half in (_DOWN, _UP))
    return {layer: (name, up[layer]) for layer, name in down.items() if layer in up}


def _sort(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], list[str], list[str]]:
    """Down halves, up halves, alphas and DoRA's lengths by layer, the names of everything else, and of what a layer has twice."""
    down: dict[str, Tensor] = {}
    up: dict[str, Tensor] = {}
    alphas: dict[str, Tensor] = {}
    lengths: dict[str, Tensor] = {}
    junk, twice = [], []
    for name, tensor in tensors.items():
        if m := _DOWN.match(name):
            twice += [name] if m[1] in down else []
            down[m[1]] = tensor
        elif m := _UP.match(name):
            twice += [name] if m[1] in up else []
            up[m[1]] = tensor
        elif m := _SIDE.match(name):
            side = alphas if name.endswith(".alpha") else lengths
            twice += [name] if m[1] in side else []
            side[m[1]] = tensor
        else:
            junk.append(name)
    return down, up, alphas, lengths, junk, twice


def _check_pair(case: Case, path: str, layer: str, down: tuple[int, ...], up: tuple[int, ...]) -> None:
    shown = show(layer, 80)
    if len(down) not in (2, 4) or len(up) != len(down) or down[0] != up[1] or not prod(down) or not prod(up):
        case.findings.add("lora-pair", path, f"The two halves at '{shown}' do not fit together.")
    elif down[0] > min(prod(down[1:]), up[0]):
        case.findings.add("lora-rank", path, f"The rank at '{shown}' is {down[0]}, larger than the layer.")


def _check_lengths(case: Case, path: str, lengths: Mapping[str, Tensor], up: Mapping[str, Tensor]) -> None:
    """DoRA's vectors: one for every layer pair or for none, with one number per output."""
    if not lengths:
        return
    if odd := sorted(lengths.keys() ^ up.keys()):
        case.findings.add("lora-pair", path, f"{len(odd)} layers are half a DoRA, e.g. '{show(odd[0], 80)}'.")
    for layer in sorted(lengths.keys() & up.keys()):
        shape = lengths[layer].shape
        if up[layer].shape[:1] != (prod(shape),) or max(shape, default=1) != prod(shape):
            case.findings.add("lora-pair", path, f"The 'lora_magnitude_vector' of '{show(layer, 80)}' does not fit its layer.")


def _check_alphas(case: Case, path: str, header: Header, alphas: Mapping[str, Tensor], down: Mapping[str, Tensor]) -> None:
    entry = case.inventory.entries[path]
    try:
        with entry.open() as handle:
            for layer, tensor in alphas.items():
                handle.seek(header.data_start + tensor.start)
                value = _scalar(tensor, handle.read(min(8, tensor.end - tensor.start)))
                rank = down[layer].shape[0] if layer in down and down[layer].shape else 1
                if not metadata.sane(value, rank):
                    case.findings.add("lora-alpha", path, f"The alpha of '{show(layer, 80)}' is not a sane scale.")
    except OSError:
        case.findings.add("unreadable", path)


def _scalar(tensor: Tensor, raw: bytes) -> float | None:
    """The one floating-point number of ``tensor``; None when it is not one, or not finite."""
    formats: dict[str, tuple[str, bytes]] = {"F16": ("<e", b""), "BF16": ("<f", b"\0\0"), "F32": ("<f", b""), "F64": ("<d", b"")}
    if tensor.dtype not in formats or prod(tensor.shape) != 1:
        return None
    form, padding = formats[tensor.dtype]
    value: Any = struct.unpack(form, padding + raw)[0]
    return value if math.isfinite(value) else None
