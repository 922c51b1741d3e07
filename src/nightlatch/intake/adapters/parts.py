"""Which tensor of an adapter file is what: layers and their parts by the spellings of kohya, LyCORIS,
diffusers and peft.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from nightlatch.intake.files.header import Tensor

ENDINGS: tuple[tuple[str, str], ...] = (
    (".lora_mid.weight", "mid"), (".alpha", "alpha"), (".dora_scale", "dora"),
    (".lora_magnitude_vector.weight", "dora"),
    (".lora_magnitude_vector", "dora"), (".lora_B.bias", "up_bias"), (".lora_up.bias", "up_bias"),
    *((f".hada_{p}", f"hada_{p}") for p in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *((f".lokr_{p}", f"lokr_{p}") for p in ("w1_a", "w1_b", "w2_a", "w2_b", "w1", "w2", "t1", "t2")),
    (".diff", "diff"), (".diff_b", "diff_b"), (".w_norm", "w_norm"), (".b_norm", "b_norm"),
    (".on_input", "on_input"),
    (".oft_blocks", "oft_blocks"), (".rescale", "rescale"), (".oft_diag", "oft"), (".oft_R.weight", "oft"), (".oft_r", "oft"),
    (".boft_R", "oft"), (".boft_s", "oft"),
    *((f".{p}.weight", f"glora_{p}") for p in ("a1", "a2", "b1", "b2")),
    (".set_weight", "whole"), (".reshape_weight", "whole"), (".vera_lambda_b", "vera"),
    (".vera_lambda_d", "vera"),
)  # fmt: skip
"""Part by the end of a tensor's name. Halves of a pair have more spellings: ``_DOWN`` and ``_UP``."""
_DOWN = re.compile(r"[._](?:lora_A|lora_down|lora\.down|down)(?:\.default)?\.weight$")
_UP = re.compile(r"[._](?:lora_B|lora_up|lora\.up|up)(?:\.default)?\.weight$")
_ROWS = ("emb_params", "clip_l")
BUNDLED = "bundle_emb."
"""How the names of embeddings begin that trainers bundle with a LoRA."""
UNMERGED = {
    "oft": "an OFT or BOFT adapter whose settings stand elsewhere (peft)",
    "whole": "an adapter that replaces whole weights",
    "vera": "a VeRA adapter",
}
"""Kinds that are named and not merged."""
LONGEST = 512


@dataclass(frozen=True, slots=True)
class Parts:
    """An adapter's tensors: by layer and part, embeddings that are bundled with it, names that are neither,
    and what a layer has twice.
    """

    layers: Mapping[str, Mapping[str, str]]
    bundled: tuple[str, ...]
    junk: tuple[str, ...]
    twice: tuple[str, ...]

    def kinds(self) -> dict[str, str]:
        """The kind of each layer: 'LoRA', 'Tucker', 'LoHa', 'LoKr', 'IA3', 'full', 'norm', 'OFT', 'GLoRA',
        one of ``UNMERGED``, or '' when parts are missing.
        """
        return {layer: kind(parts.keys()) for layer, parts in self.layers.items()}


def split(names: Iterable[str]) -> Parts:
    """The tensors of an adapter, sorted by what they are."""
    layers: dict[str, dict[str, str]] = {}
    bundled: list[str] = []
    plain: list[str] = []
    twice: list[str] = []
    for name in names:
        if name.startswith(BUNDLED):
            bundled.append(name)
            continue
        layer, part = part_of(name)
        if not part:
            plain.append(name)
            continue
        held = layers.setdefault(layer, {})
        twice += [name] if part in held else []
        held[part] = name
    junk = []
    for name in plain:
        layer = name.removesuffix(".weight")
        if layer != name and "on_input" in layers.get(layer, {}):
            layers[layer]["ia3"] = name
        else:
            junk.append(name)
    return Parts(layers, tuple(bundled), tuple(junk), tuple(twice))


def words(tensors: Mapping[str, Tensor]) -> dict[str, str] | None:
    """The tensor of each word that an embedding is bundled for (one or more rows for the text encoder of Stable
    Diffusion 1 and 2, as A1111 and OneTrainer write them); None where a bundled tensor is anything else.
    """
    found: dict[str, str] = {}
    for name, tensor in tensors.items():
        if not name.startswith(BUNDLED):
            continue
        word, _, kind = name.removeprefix(BUNDLED).partition(".")
        sound = 1 <= len(tensor.shape) <= 2 and prod(tensor.shape) > 0
        if not word or word in found or not sound or not kind.startswith(("string_to_param.", *_ROWS)):
            return None
        found[word] = name
    return found


def part_of(name: str) -> tuple[str, str]:
    """Layer and part of a tensor; the part is '' when the name is no adapter's."""
    if len(name) > LONGEST:
        return name, ""
    for half, part in ((_DOWN, "down"), (_UP, "up")):
        if found := half.search(name):
            return name[: found.start()], part
    plain = name.removesuffix(".default")
    return next(
        ((plain.removesuffix(ending), part) for ending, part in ENDINGS if plain.endswith(ending)), (name, "")
    )


def kind(parts: Iterable[str]) -> str:
    """What the parts of one layer make; '' when they make nothing."""
    held = set(parts) - {"alpha", "dora"}
    if len(held & UNMERGED.keys()) == len(held) == 1:
        return next(iter(held))
    made = _KINDS.get(frozenset(held - {"up_bias", "diff_b"}), "")
    if not made and held == {"diff_b"}:
        return "full"
    return made


def _lokr() -> dict[frozenset[str], str]:
    """LoKr's factors, each whole or as a product, the second also with a core."""
    first = ({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"})
    second = ({"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"}, {"lokr_w2_a", "lokr_w2_b", "lokr_t2"})
    return {frozenset(a | b): "LoKr" for a in first for b in second}


_HADA = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
_KINDS: dict[frozenset[str], str] = {
    frozenset({"down", "up"}): "LoRA",
    frozenset({"down", "up", "mid"}): "Tucker",
    frozenset(_HADA): "LoHa",
    frozenset(_HADA | {"hada_t1", "hada_t2"}): "LoHa",
    frozenset({"ia3", "on_input"}): "IA3",
    frozenset({"diff"}): "full",
    frozenset({"w_norm"}): "norm",
    frozenset({"w_norm", "b_norm"}): "norm",
    frozenset({"b_norm"}): "norm",
    frozenset({"oft_blocks"}): "OFT",
    frozenset({"oft_blocks", "rescale"}): "OFT",
    frozenset({"glora_a1", "glora_a2", "glora_b1", "glora_b2"}): "GLoRA",
    **_lokr(),
}
