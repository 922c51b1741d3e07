"""What a config promises against what the weights hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod

from nightlatch.intake.configs.expected import PROMISES, Named
from nightlatch.intake.configs.fields import ConfigProblem, Fields
from nightlatch.intake.files.header import Tensor
from nightlatch.intake.findings import Findings
from nightlatch.safetext import show

FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
MAX_DEFECTS = 16
_COUNTERS = ("position_ids", "model_ema.num_updates", ".alpha", "num_batches_tracked", ".on_input")
_INDEXED = re.compile(r"(?:blocks|resnets|attentions|samplers|layers)\.\d+")
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_VAE = re.compile(r"(mid_block\.attentions\.0)\.(query|key|value|proj_attn)\.")


def compare(
    cls: str,
    config: Fields,
    tensors: Mapping[str, Tensor],
    config_path: str,
    weights_path: str,
    findings: Findings,
) -> None:
    """Findings for the component of class ``cls``: what is missing, too much, of another shape or of an odd
    type.
    """
    held = _modern_names(cls, tensors)
    expected: set[str] = set()
    defects = 0
    try:
        for name, shape in _bounded(PROMISES[cls](config), len(held)):
            expected.add(name)
            defects += _compare_one(name, shape, held, config_path, weights_path, findings)
            if defects >= MAX_DEFECTS:
                return
    except ConfigProblem as e:
        findings.add(e.rule, config_path, e.sentence)
        return
    _compare_rest(cls, held, expected, weights_path, findings)


def _bounded(promised: Iterator[Named], held: int) -> Iterator[Named]:
    """Stop soon after the config has promised more tensors than there are."""
    for n, item in enumerate(promised):
        if n > held + 1000:
            return
        yield item


def _compare_one(
    name: str,
    shape: tuple[int, ...],
    held: Mapping[str, Tensor],
    config_path: str,
    weights_path: str,
    findings: Findings,
) -> bool:
    tensor = held.get(name)
    if tensor is not None and _same(name, tensor.shape, shape):
        return False
    if tensor is None:
        absent = _absent_part(name, held)
        if absent:
            findings.add(
                "config-exceeds-weights",
                config_path,
                f"It promises '{absent}', and the weights hold no such part.",
            )
        else:
            findings.add("missing-keys", weights_path, f"The tensor '{name}' is missing.")
    elif prod(shape) > prod(tensor.shape):
        sentence = (
            f"It promises '{name}' with the shape {_words(shape)}; the weights hold {_words(tensor.shape)}."
        )
        findings.add("config-exceeds-weights", config_path, sentence)
    else:
        findings.add(
            "shape-mismatch",
            weights_path,
            f"'{name}' has the shape {_words(tensor.shape)}; {_words(shape)} was expected.",
        )
    return True


def _compare_rest(
    cls: str, held: Mapping[str, Tensor], expected: set[str], path: str, findings: Findings
) -> None:
    extra = sorted(held.keys() - expected - {"embeddings.position_ids"})
    if extra:
        shown = ", ".join(f"'{show(n, 60)}'" for n in extra[:3])
        findings.add(
            "extra-keys",
            path,
            f"{len(extra)} tensors belong to no layer of {cls}: {shown}{', ...' if len(extra) > 3 else ''}.",
        )
    check_types({n: held[n] for n in expected if n in held}, path, findings)


def check_types(tensors: Mapping[str, Tensor], path: str, findings: Findings) -> None:
    """A finding for weights that are not floating point, or rounded to 8 bits; numbers that training code
    saves beside them may be whole.
    """
    odd = {n: t for n, t in tensors.items() if t.dtype not in FLOATS and not n.endswith(_COUNTERS)}
    small = [n for n, t in odd.items() if t.dtype.startswith("F8_")]
    if len(small) > len(tensors) / 10 and len(small) > 1:
        findings.add(
            "rounded-weights",
            path,
            f"{len(small)} of its {len(tensors)} tensors are rounded to 8 bits ({odd[small[0]].dtype}).",
        )
        odd = {n: t for n, t in odd.items() if n not in set(small)}
    if odd:
        first = min(odd)
        what = "are of another type than the model's weights are"
        findings.add(
            "dtype", path, f"{len(odd)} tensors {what}, e.g. '{show(first, 80)}' is {odd[first].dtype}."
        )


def _modern_names(cls: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names as today's classes use them; a file that mixes old and new keeps its names, and so has missing
    ones.
    """
    if cls == "CLIPTextModel" and tensors and all(n.startswith("text_model.") for n in tensors):
        return {n.removeprefix("text_model."): t for n, t in tensors.items()}
    if cls == "AutoencoderKL" and any(_OLD_VAE.search(n) for n in tensors):
        renamed = {
            _OLD_VAE.sub(lambda m: f"{m[1]}.{_OLD_ATTENTION[m[2]]}.", n): t for n, t in tensors.items()
        }
        return renamed if len(renamed) == len(tensors) else tensors
    return tensors


def _same(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Equal shapes; the attention of old autoencoders may be stored as 1x1 convolutions."""
    return found == wanted or (
        ".mid_block.attentions.0." in name and len(wanted) == 2 and found == (*wanted, 1, 1)
    )


def _absent_part(name: str, held: Mapping[str, Tensor]) -> str:
    """The outermost numbered part of ``name`` (block, layer) of which the weights hold nothing at all; '' if
    there is none.
    """
    for match in _INDEXED.finditer(name):
        prefix = name[: match.end()] + "."
        if not any(n.startswith(prefix) for n in held):
            return prefix[:-1]
    return ""


def _words(shape: tuple[int, ...]) -> str:
    return show("x".join(map(str, shape)), 60)
