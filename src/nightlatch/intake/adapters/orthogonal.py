"""Adapters that multiply a weight instead of adding to it: OFT and BOFT (turned outputs) and GLoRA; numpy only.

OFT: Qiu et al. 2023 (arXiv 2306.07280), each block a Cayley transform of a skew-symmetric matrix. BOFT: Liu et al.
2023 (2311.06243), such blocks in butterfly order. GLoRA: Chavan et al. 2023 (2306.07967), its products A and B only.
Layouts are those of LyCORIS and kohya's scripts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nightlatch.intake.adapters.fit import Array, NoFit


def oft(p: Mapping[str, Array], weight: Array) -> Array:
    """What OFT (blocks of shape (n, b, b)) or BOFT (stages, n, b, b) changes in ``weight`` (n b, ...): R W times
    'rescale', less W.

    Raises:
        NoFit: the blocks do not fit the outputs, or programs bound them differently.
    """
    blocks, outputs = p["oft_blocks"].astype(np.float64), weight.shape[0]
    if blocks.ndim not in (3, 4) or blocks.shape[-1] != blocks.shape[-2] or not blocks.size:
        raise NoFit(f"Blocks of shape {blocks.shape} are no square matrices.")
    if blocks.shape[-3] * blocks.shape[-1] != outputs:
        raise NoFit(f"Blocks of shape {blocks.shape} do not fit {outputs} outputs.")
    turned = _cayley(blocks, float(p["alpha"].reshape(-1)[0]) if "alpha" in p else 0.0)
    wide = weight.astype(np.float64)
    made = _butterfly(turned, wide) if blocks.ndim == 4 else _blockwise(turned, wide)
    if "rescale" in p:
        if p["rescale"].size != outputs:
            raise NoFit(f"'rescale' has {p['rescale'].size} numbers for {outputs} outputs.")
        made = made * p["rescale"].reshape(outputs, *([1] * (weight.ndim - 1)))
    return np.asarray(made - wide, np.float32)


def glora(p: Mapping[str, Array], weight: Array) -> Array:
    """W a1 a2 + b1 b2, the first product over the inputs of ``weight`` (out, in, ...).

    Raises:
        NoFit: the four do not fit, or fit in two ways.
    """
    a1, a2, b1, b2 = (_matrix(p[f"glora_{n}"]) for n in ("a1", "a2", "b1", "b2"))
    inputs, rank = weight.shape[1], a2.shape[0]
    if rank == inputs:
        raise NoFit("Its rank is the layer's width, so that programs read its matrices in two ways.")
    if (a1.shape, a2.shape, b1.shape) != ((inputs, rank), (rank, inputs), (weight.shape[0], rank)):
        raise NoFit(f"Matrices of shapes {a1.shape}, {a2.shape} and {b1.shape} do not fit {weight.shape}.")
    if b2.shape != (rank, weight[0].size):
        raise NoFit(f"A matrix of shape {b2.shape} does not fit {weight.shape}.")
    through: Array = np.einsum("oi...,ij->oj...", weight, a1 @ a2, optimize=True)
    return through + (b1 @ b2).reshape(weight.shape)


def _matrix(part: Array) -> Array:
    """A convolution's kernel with its inputs in one row."""
    made: Array = part.reshape(len(part), -1) if part.ndim > 1 and part.size else np.zeros((0, 0))
    return made


def _cayley(blocks: Array, bound: float) -> Array:
    """(I + Q)(I - Q)^-1 with Q = B - B^T.

    ``bound`` above zero limits the norm of all Q together, by itself in ComfyUI and times the outputs in LyCORIS and
    kohya's scripts; where it does not act in either, all read the same.
    """
    q = blocks - np.swapaxes(blocks, -1, -2)
    if bound > 0 and not np.linalg.norm(q) <= bound:
        raise NoFit("Its blocks are beyond their bound ('alpha'), which programs apply differently.")
    identity = np.eye(q.shape[-1])
    try:
        made: Array = np.linalg.solve(identity - q, identity + q)
    except np.linalg.LinAlgError as e:
        raise NoFit("Its blocks make no rotation.") from e
    return made


def _blockwise(turned: Array, weight: Array) -> Array:
    """Block k of the outputs, y_m = sum_n R[k, n, m] w_n: outputs are multiplied from the right."""
    blocked = weight.reshape(*turned.shape[:2], -1)
    return (np.swapaxes(turned, -1, -2) @ blocked).reshape(weight.shape)


def _butterfly(turned: Array, weight: Array) -> Array:
    """Stage i turns blocks of outputs that lie 2^i b / 2 apart."""
    made, size = weight.reshape(weight.shape[0], -1), turned.shape[-1]
    for i, stage in enumerate(turned):
        apart = 2**i * (size // 2)
        if size % 2 or len(made) % (2 * apart):
            raise NoFit(f"{len(turned)} stages of blocks of {size} do not fit {len(made)} outputs.")
        near = made.reshape(-1, 2, apart, made.shape[1]).swapaxes(1, 2).reshape(-1, size, made.shape[1])
        far = (stage @ near).reshape(-1, apart, 2, made.shape[1]).swapaxes(1, 2)
        made = far.reshape(made.shape)
    return made.reshape(weight.shape)
