"""A LoRA as a single file: complete pairs, sane ranks and scales, and which base it fits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from math import prod

from nightlatch.intake.adapters import families, metadata, parts, relatives, strength
from nightlatch.intake.carriers import hint
from nightlatch.intake.case import Case
from nightlatch.intake.files import numbers
from nightlatch.intake.files.header import Header, Tensor
from nightlatch.intake.files.weights import check_metadata, check_tail
from nightlatch.safetext import show
from nightlatch.terms import HintKind

_CROSS = re.compile(r"attn2[._](?:processor\.)?to_[kv]")
_RELATIVES = frozenset(part for _, part in parts.ENDINGS) - {"alpha", "dora", "up_bias"}
OTHER_TARGET = "adapter.safetensors"
"""What an adapter that is no plain LoRA is called in the private folder."""
_ADAPTER_KEYS = frozenset({
    "alpha_pattern", "bias", "fan_in_fan_out", "init_lora_weights", "lora_alpha", "lora_dropout",
    "peft_type", "r",
    "rank_pattern", "target_modules", "use_dora", "use_rslora",
})  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z0-9_.]*")
"""Names become regular expressions in peft."""
_TRUSTED_PARENTS = ("diffusers.", "transformers.")


def looks_like_lora(names: Iterable[str]) -> bool:
    """Whether any tensor name is half of a LoRA pair, or belongs to a relative of LoRA."""
    return any(
        part in _RELATIVES or (part == "down" and "lora" in n)
        for n in names
        for part in (parts.part_of(n)[1],)
    )


def check(case: Case, path: str, target: str) -> None:
    """Findings for the adapter file at ``path``, planned as ``target``, or as ``OTHER_TARGET`` when it is no
    plain LoRA.
    """
    header = case.header(path)
    if header is None:
        return
    check_metadata(case, path, header)
    check_tail(case, path)
    target = target if layout(case, path, header) else OTHER_TARGET
    case.stage(target, path)
    case.component_files[target] = [target]


def layout(case: Case, path: str, header: Header) -> bool:
    """Pairs, ranks and scales from the header and the few bytes of the alphas; whether it is a plain LoRA."""
    if odd := [n for n in header.tensors if not _PLAIN.fullmatch(n) and not n.startswith(parts.BUNDLED)]:
        case.findings.add(
            "lora-names", path, f"{len(odd)} names hold other characters, e.g. '{show(min(odd), 80)}'."
        )
    try:
        metadata.check(header.metadata)
    except metadata.Unsound as e:
        case.findings.add(e.rule, path, e.sentence)
    split = parts.split(header.tensors)
    if not relatives.check(case, path, header, split):
        return False
    down, up, alphas, lengths, junk, twice = _sort(header.tensors)
    if twice:
        case.findings.add(
            "lora-pair", path, f"{len(twice)} halves are there twice, e.g. '{show(min(twice), 80)}'."
        )
    if odd := sorted(down.keys() ^ up.keys()):
        case.findings.add(
            "lora-pair", path, f"{len(odd)} layers have one half of a pair only, e.g. '{show(odd[0], 80)}'."
        )
    both = sorted(down.keys() & up.keys())
    for layer in both:
        _check_pair(case, path, layer, down[layer].shape, up[layer].shape)
    _check_ranks(case, path, {n: (down[n].shape, up[n].shape) for n in both})
    if junk:
        case.findings.add(
            "lora-keys", path, f"{len(junk)} tensors belong to no layer pair, e.g. '{show(min(junk), 80)}'."
        )
    _check_lengths(case, path, lengths, up)
    found = _check_alphas(case, path, header, alphas, down)
    strength.check(case, path, header, {n: t.shape[0] for n, t in down.items() if t.shape}, found)
    widths = {down[layer].shape[1] for layer in down if _CROSS.search(layer) and len(down[layer].shape) > 1}
    sentence = f"It is a LoRA of {len(down)} layers and {families.fits(header.tensors, widths)}."
    words = metadata.trigger_words(header.metadata)
    case.findings.add("lora", path, sentence, hint=hint(HintKind.LORA, path, words) if words else None)
    return True


def check_adapter_config(case: Case, path: str, *, staged: bool) -> None:
    """A peft config: it may not name a module; staged with its numbers only."""
    value = case.json(path)
    if value is None:
        return
    parent = value.get("auto_mapping") or {}
    library = parent.get("parent_library") if isinstance(parent, dict) else "?"
    foreign = library is not None and not str(library).startswith(_TRUSTED_PARENTS)
    if (
        value.get("megatron_config") is not None
        or value.get("megatron_core") not in (None, "megatron.core")
        or foreign
    ):
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
    halves: dict[str, dict[str, str]] = {"down": {}, "up": {}}
    for name in names:
        layer, part = parts.part_of(name)
        if part in halves:
            halves[part][layer] = name
    return {
        layer: (name, halves["up"][layer]) for layer, name in halves["down"].items() if layer in halves["up"]
    }


def _sort(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], list[str], list[str]]:
    """Down halves, up halves, alphas and DoRA's lengths by layer, the names of everything else, and of what a
    layer has twice.
    """
    down: dict[str, Tensor] = {}
    up: dict[str, Tensor] = {}
    alphas: dict[str, Tensor] = {}
    lengths: dict[str, Tensor] = {}
    junk, twice = [], []
    tables = {"down": down, "up": up, "alpha": alphas, "dora": lengths}
    for name, tensor in tensors.items():
        layer, part = parts.part_of(name)
        if part in tables:
            twice += [name] if layer in tables[part] else []
            tables[part][layer] = tensor
        else:
            junk.append(name)
    return down, up, alphas, lengths, junk, twice


def _check_pair(case: Case, path: str, layer: str, down: tuple[int, ...], up: tuple[int, ...]) -> None:
    shown = show(layer, 80)
    if len(down) not in (2, 4) or len(up) != len(down) or down[0] != up[1] or not prod(down) or not prod(up):
        case.findings.add("lora-pair", path, f"The two halves at '{shown}' do not fit together.")


def _check_ranks(
    case: Case, path: str, shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
) -> None:
    """A rank above what a layer can hold: ordinary where a trainer gave all layers one rank, as at 'conv_out'
    with its four outputs.
    """
    ranks = {layer: down[0] for layer, (down, up) in shapes.items() if down and up}
    least = {layer: min(prod(down[1:]), up[0]) for layer, (down, up) in shapes.items() if down and up}
    usual = max((rank for layer, rank in ranks.items() if rank <= least[layer]), default=0)
    for layer, rank in ranks.items():
        if rank > least[layer] and rank > usual:
            sentence = (
                f"The rank at '{show(layer, 80)}' is {rank}, larger than the layer and than any rank that "
                "fits its layer."
            )
            case.findings.add("lora-rank", path, sentence)


def _check_lengths(case: Case, path: str, lengths: Mapping[str, Tensor], up: Mapping[str, Tensor]) -> None:
    """DoRA's vectors: one for every layer pair or for none, with one number per output."""
    if not lengths:
        return
    if odd := sorted(lengths.keys() ^ up.keys()):
        case.findings.add("lora-pair", path, f"{len(odd)} layers are half a DoRA, e.g. '{show(odd[0], 80)}'.")
    for layer in sorted(lengths.keys() & up.keys()):
        shape = lengths[layer].shape
        if up[layer].shape[:1] != (prod(shape),) or max(shape, default=1) != prod(shape):
            case.findings.add(
                "lora-pair",
                path,
                f"The 'lora_magnitude_vector' of '{show(layer, 80)}' does not fit its layer.",
            )


def _check_alphas(
    case: Case, path: str, header: Header, alphas: Mapping[str, Tensor], down: Mapping[str, Tensor]
) -> dict[str, float]:
    """The alpha of every layer that has a sane one; trainers write it as a whole number or as a fraction."""
    found: dict[str, float] = {}
    try:
        with case.inventory.entries[path].open() as handle:
            for layer, tensor in alphas.items():
                value = numbers.read(handle, header, tensor) if prod(tensor.shape) == 1 else None
                rank = down[layer].shape[0] if layer in down and down[layer].shape else 1
                if value is None or not metadata.sane(value[0], rank):
                    case.findings.add(
                        "lora-alpha", path, f"The alpha of '{show(layer, 80)}' is not a sane scale."
                    )
                else:
                    found[layer] = value[0]
    except OSError:
        case.findings.add("unreadable", path)
    return found
