"""Adapters that are no plain LoRA: named, their shapes checked, and merged by scan through the definition of
their kind.
"""

from __future__ import annotations

from collections import Counter
from math import prod

from nightlatch.intake.adapters import metadata, parts
from nightlatch.intake.adapters.parts import Parts
from nightlatch.intake.carriers import hint
from nightlatch.intake.case import Case
from nightlatch.intake.files import numbers
from nightlatch.intake.files.header import Header
from nightlatch.safetext import show
from nightlatch.terms import HintKind

WORDS = {
    "LoRA": "LoRA", "Tucker": "LoCon in Tucker form (lora_mid)", "LoHa": "LoHa (LyCORIS)",
    "LoKr": "LoKr (LyCORIS)", "IA3": "IA3 (LyCORIS)",
    "full": "full differences (LyCORIS)", "norm": "trained norms (LyCORIS)",
    "OFT": "OFT or BOFT (turned outputs)", "GLoRA": "GLoRA (LyCORIS)",
}  # fmt: skip
_PLAIN = frozenset({"down", "up", "alpha", "dora"})
_APART = (
    "Save the LoRA and each embedding as files of their own, and check those: 'nightlatch check "
    "FILE.safetensors'."
)
_ELSEWHERE = (
    "Merge it into the model with the program that made it, and scan that: 'nightlatch scan FILE --base "
    "MODEL'."
)


def check(case: Case, path: str, header: Header, split: Parts) -> bool:
    """Findings for everything in the file that is no plain LoRA; whether it is one, so that its pairs are
    checked next.
    """
    kinds = split.kinds()
    named = Counter(kinds.values())
    dora = any(n.endswith(".dora_scale") for n in header.tensors)
    bias = any("up_bias" in p or "diff_b" in p for p in split.layers.values())
    if odd := next((k for k in parts.UNMERGED if named[k]), ""):
        case.findings.add(
            "unsupported-layout",
            path,
            f"It is {parts.UNMERGED[odd]}, another kind than LoRA, of {named[odd]} layers.",
            _ELSEWHERE,
        )
        return False
    if split.bundled:
        _bundle(case, path, header, split, kinds)
        return False
    others = {k: n for k, n in named.items() if k not in ("LoRA", "")}
    halves = all(p.keys() <= _PLAIN for p in split.layers.values())
    if not others and halves and not dora and not bias:
        return True
    words = " and ".join(WORDS[k] for k in WORDS if named[k]) or "incomplete layers"
    words = f"DoRA on {words}, whose lengths ('dora_scale') diffusers leaves out" if dora else words
    words = f"{words} with trained biases" if bias else words
    case.findings.add(
        "adapter-kind",
        path,
        f"It is an adapter of another kind than plain LoRA: {words}, {sum(named.values())} layers.",
    )
    _check_layers(case, path, header, split, kinds)
    return False


def _bundle(case: Case, path: str, header: Header, split: Parts, kinds: dict[str, str]) -> None:
    """Layers with textual-inversion embeddings beside them, whose words a scan tries first."""
    found = parts.words(header.tensors)
    tokens = sorted(found or {n.split(".")[1] for n in split.bundled if n.count(".") > 1})
    shown = ", ".join(f"'{show(t, 60)}'" for t in tokens[:5])
    one = len(tokens) == 1
    sentence = (
        f"It is an adapter ({' and '.join(WORDS[k] for k in WORDS if k in kinds.values()) or 'no layers'}) bundled with "
        f"{'a textual-inversion embedding' if one else f'{len(tokens)} textual-inversion embeddings'}, whose "
        f"{'word calls it' if one else 'words call them'}: {shown}."
    )
    words = hint(HintKind.EMBEDDING, path, tokens)
    if found is None or not split.layers:
        case.findings.add("unsupported-layout", path, sentence, _APART, hint=words)
        return
    case.findings.add("adapter-kind", path, sentence, hint=words)
    _check_layers(case, path, header, split, kinds)


def _check_layers(case: Case, path: str, header: Header, split: Parts, kinds: dict[str, str]) -> None:
    """Whole layers, alphas that are sane scales, nothing twice, nothing besides."""
    if odd := sorted(layer for layer, kind in kinds.items() if not kind):
        case.findings.add("lora-pair", path, f"{len(odd)} layers lack a part, e.g. '{show(odd[0], 80)}'.")
        case.findings.add(
            "unsupported-layout",
            path,
            "Its layers cannot be merged by the definition of their kind.",
            _ELSEWHERE,
        )
    if split.twice:
        case.findings.add(
            "lora-pair",
            path,
            f"{len(split.twice)} parts are there twice, e.g. '{show(min(split.twice), 80)}'.",
        )
    if split.junk:
        case.findings.add(
            "lora-keys",
            path,
            f"{len(split.junk)} tensors belong to no layer, e.g. '{show(min(split.junk), 80)}'.",
        )
    try:
        with case.inventory.entries[path].open() as handle:
            for layer, held in split.layers.items():
                if "alpha" not in held:
                    continue
                tensor = header.tensors[held["alpha"]]
                value = numbers.read(handle, header, tensor) if prod(tensor.shape) == 1 else None
                rank = max(1, _rank(header, held))
                unbounded = kinds[layer] == "OFT" and value is not None and value[0] == 0
                if value is None or not (unbounded or metadata.sane(value[0], rank)):
                    case.findings.add(
                        "lora-alpha", path, f"The alpha of '{show(layer, 80)}' is not a sane scale."
                    )
    except OSError:
        case.findings.add("unreadable", path)


def _rank(header: Header, held: dict[str, str] | object) -> int:
    """The rank of a layer from its header; 0 where there is none."""
    names = held if isinstance(held, dict) else {}
    shape = next(
        (
            header.tensors[names[p]].shape
            for p in ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b", "glora_a2")
            if p in names
        ),
        (),
    )
    return shape[0] if shape else 0
