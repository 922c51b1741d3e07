"""What an adapter adds to a weight, by the definition of its kind; numpy only, strict about every shape.

LoRA (Hu et al. 2021), Tucker form and LoCon, LoHa (Hyeon-Woo et al. 2021), LoKr (Edalati et al. 2022; Yeh et
al. 2023, LyCORIS), IA3 (Liu et al. 2022), DoRA (Liu et al. 2024); those that multiply are in ``orthogonal``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nightlatch.intake.adapters import orthogonal
from nightlatch.intake.adapters import parts as known
from nightlatch.intake.adapters.fit import Array, NoFit


@dataclass(frozen=True, slots=True)
class Delta:
    """What one layer changes. ``weight``: of the weight's shape; ``bias``: one number per output. None:
    unchanged.
    """

    weight: Array | None
    bias: Array | None


def delta(parts: Mapping[str, Array], weight: Array, strength: float = 1.0) -> Delta:
    """The change of ``weight`` (out, in) or (out, in, k, k) by the ``parts`` of one layer, each in float32,
    at ``strength``.

    Raises:
        NoFit: the shapes do not fit, or the parts make no kind that is merged.
    """
    made = known.kind(parts.keys())
    if made not in _CHANGES:
        raise NoFit(f"The parts {', '.join(sorted(parts))} make no kind of adapter that is merged.")
    change = _CHANGES[made](parts, weight)
    if made == "OFT" and strength != 1.0:
        raise NoFit("OFT at another strength than 1 has no single definition.")
    if change is not None:
        if change.size != weight.size:
            raise NoFit(f"The change has the shape {change.shape}, and the weight {weight.shape}.")
        change = np.asarray(change.reshape(weight.shape) * scale(parts) * strength, np.float32)
        if "dora" in parts:
            change = _dora(parts["dora"], weight, change)
    return Delta(change, _bias(parts, made, weight, strength))


def scale(parts: Mapping[str, Array]) -> float:
    """alpha over rank; 1 without alpha, and where nothing has a rank (LyCORIS: full matrices, IA3, norms; OFT,
    whose alpha is a bound).
    """
    rank = rank_of(parts)
    return float(parts["alpha"].reshape(-1)[0]) / rank if rank and "alpha" in parts else 1.0


def rank_of(parts: Mapping[str, Array]) -> int:
    """The rank that alpha is divided by; 0 where there is none."""
    for name in ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b", "glora_a2"):
        if name in parts:
            return int(parts[name].shape[0])
    return 0


def _lora(p: Mapping[str, Array], _: Array) -> Array:
    """B A; a convolution's second half is 1x1."""
    down, up = p["down"], p["up"]
    return _product(up.reshape(up.shape[0], -1), down.reshape(down.shape[0], -1))


def _tucker(p: Mapping[str, Array], _: Array) -> Array:
    """sum_mn core[m, n, ...] up[i, m] down[n, j]."""
    up, down = p["up"].reshape(p["up"].shape[:2]), p["down"].reshape(p["down"].shape[:2])
    return _core(p["mid"], up.T, down)


def _loha(p: Mapping[str, Array], _: Array) -> Array:
    """(w1a w1b) * (w2a w2b); with cores each factor is in Tucker form, and its a has the outputs last."""
    if "hada_t1" in p:
        factors = [_core(p[f"hada_t{i}"], p[f"hada_w{i}_a"], p[f"hada_w{i}_b"]) for i in (1, 2)]
    else:
        factors = [_product(p[f"hada_w{i}_a"], p[f"hada_w{i}_b"]) for i in (1, 2)]
    if factors[0].shape != factors[1].shape:
        raise NoFit("The two factors of LoHa have other shapes.")
    return factors[0] * factors[1]


def _lokr(p: Mapping[str, Array], _: Array) -> Array:
    """Kronecker product of w1 and w2."""
    first = p["lokr_w1"] if "lokr_w1" in p else _product(p["lokr_w1_a"], p["lokr_w1_b"])
    if "lokr_w2" in p:
        second = p["lokr_w2"]
    elif "lokr_t2" in p:
        second = _core(p["lokr_t2"], p["lokr_w2_a"], p["lokr_w2_b"])
    else:
        second = _product(p["lokr_w2_a"], p["lokr_w2_b"])
    if "lokr_w1_b" in p and "lokr_w2_b" in p and p["lokr_w1_b"].shape[0] != p["lokr_w2_b"].shape[0]:
        raise NoFit("The two factors of LoKr have other ranks, so that alpha means two things.")
    if first.ndim != 2 or second.ndim < 2:
        raise NoFit("A factor of LoKr is no matrix.")
    return np.kron(first.reshape(*first.shape, *([1] * (second.ndim - 2))), second)


def _ia3(p: Mapping[str, Array], weight: Array) -> Array:
    """W times w: a factor for each input, or for each output."""
    factors, on_input = p["ia3"].reshape(-1), bool(p["on_input"].reshape(-1)[0])
    axis = 1 if on_input else 0
    if factors.size != weight.shape[axis]:
        raise NoFit(f"IA3 has {factors.size} factors for an axis of {weight.shape[axis]}.")
    shape = [1] * weight.ndim
    shape[axis] = factors.size
    return weight * factors.reshape(shape)


def _full(p: Mapping[str, Array], _: Array) -> Array | None:
    return p.get("diff")


def _norm(p: Mapping[str, Array], _: Array) -> Array | None:
    return p.get("w_norm")


_CHANGES = {
    "LoRA": _lora,
    "Tucker": _tucker,
    "LoHa": _loha,
    "LoKr": _lokr,
    "IA3": _ia3,
    "full": _full,
    "norm": _norm,
    "OFT": orthogonal.oft,
    "GLoRA": orthogonal.glora,
}


def _bias(p: Mapping[str, Array], made: str, weight: Array, strength: float) -> Array | None:
    """What is added to the bias: whole differences as they are, the bias of an upper half at the pair's
    scale.
    """
    found = p.get("b_norm", p.get("diff_b"))
    factor = strength
    if "up_bias" in p:
        if found is not None:
            raise NoFit("A layer has two changes of its bias.")
        found, factor = p["up_bias"], strength * (scale(p) if made == "LoRA" else 1.0)
    if found is None:
        return None
    if found.size != weight.shape[0]:
        raise NoFit(f"The bias has {found.size} numbers for {weight.shape[0]} outputs.")
    return np.asarray(found.reshape(-1) * factor, np.float32)


def _dora(length: Array, weight: Array, change: Array) -> Array:
    """m (W + dW) / ||W + dW|| - W, with one length for each output, or for each input as kohya's first files
    have it.
    """
    moved = (weight + change).astype(np.float32)
    axis = (
        0 if length.size == weight.shape[0] and (length.ndim < 2 or length.shape[0] == weight.shape[0]) else 1
    )
    if length.size != weight.shape[axis]:
        raise NoFit(f"DoRA has {length.size} lengths for a weight of shape {weight.shape}.")
    others = tuple(i for i in range(weight.ndim) if i != axis)
    norm = np.sqrt((moved.astype(np.float64) ** 2).sum(axis=others, keepdims=True))
    shape = [1] * weight.ndim
    shape[axis] = length.size
    return np.asarray(
        length.reshape(shape) * moved / np.maximum(norm, np.finfo(np.float32).tiny) - weight, np.float32
    )


def _product(a: Array, b: Array) -> Array:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise NoFit(f"Matrices of shapes {a.shape} and {b.shape} do not multiply.")
    return a @ b


def _core(core: Array, out: Array, inner: Array) -> Array:
    """sum_mn core[m, n, ...] out[m, i] inner[n, j], of shape (i, j, ...)."""
    if core.ndim < 2 or out.ndim != 2 or inner.ndim != 2 or core.shape[:2] != (out.shape[0], inner.shape[0]):
        raise NoFit(f"A core of shape {core.shape} does not fit factors of {out.shape} and {inner.shape}.")
    made: Array = np.einsum("mn...,mi,nj->ij...", core, out, inner, optimize=True)
    return made
