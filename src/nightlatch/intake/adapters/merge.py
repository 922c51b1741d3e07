"""An adapter file as changes of named modules: every layer lands on exactly one weight, or the file is not
merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nightlatch.intake.adapters import parts
from nightlatch.intake.adapters.delta import Delta, delta
from nightlatch.intake.adapters.fit import Array, NoFit
from nightlatch.intake.files import header
from nightlatch.intake.files.header import Header, Tensor
from nightlatch.safetext import show

PREFIXES = {
    "unet": (
        "lora_unet_",
        "oft_unet_",
        "lycoris_unet_",
        "unet.",
        "lycoris_",
        "base_model.model.",
        "diffusion_model.",
        "",
    ),
    "text_encoder": ("lora_te_", "lora_te1_", "lycoris_te_", "text_encoder.", ""),
}
"""What writers put before a module's name, by the component that it belongs to."""
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "u1",
}


class Place(NamedTuple):
    """A module of a component."""

    component: str
    module: str


class Change(NamedTuple):
    """What one layer of the file adds to the weight and the bias of a module."""

    layer: str
    place: Place
    delta: Delta


def changes(
    file: Path, modules: Mapping[str, Sequence[str]], weight: Callable[[Place], Array], strength: float = 1.0
) -> Iterator[Change]:
    """The change of every layer in ``file``, in its order.

    Args:
        modules: the names of all modules with a weight, by component ('unet', 'text_encoder'), as diffusers
            has them.
        weight: the present weight of a module, float32, (out, in), (out, in, k, k) or, of a norm, (width,).
        strength: what a user sets; 1 as trained.

    Raises:
        NoFit: a layer lands nowhere or does not fit, two land on one weight, or a tensor is no adapter's.
        OSError: the file cannot be read.
    """
    with file.open("rb") as handle:
        head = header.read(handle, file.stat().st_size)
        found = parts.split(head.tensors)
        where = places(list(found.layers), modules)
        if found.junk or found.twice:
            odd = (*found.junk, *found.twice)[0]
            raise NoFit(f"'{show(odd, 80)}' belongs to no layer of an adapter, or to one that has it twice.")
        for layer, names in found.layers.items():
            held = {
                part: _array(handle.seek, handle.read, head, head.tensors[name])
                for part, name in names.items()
            }
            yield Change(layer, where[layer], delta(held, weight(where[layer]), strength))


def embeddings(file: Path) -> dict[str, Array]:
    """The embeddings that are bundled with the layers in ``file``: a word's rows (vectors, width) for the text
    encoder's table, float32.

    Raises:
        NoFit: they are for other text encoders.
        OSError: the file cannot be read.
    """
    with file.open("rb") as handle:
        head = header.read(handle, file.stat().st_size)
        named = parts.words(head.tensors)
        if named is None:
            raise NoFit("It bundles embeddings for other text encoders.")
        read = {word: _array(handle.seek, handle.read, head, head.tensors[n]) for word, n in named.items()}
    return {word: rows.reshape(-1, rows.shape[-1]) for word, rows in read.items()}


def places(layers: Sequence[str], modules: Mapping[str, Sequence[str]]) -> dict[str, Place]:
    """The module that each layer names.

    Raises:
        NoFit: a layer names none, or two name the same.
    """
    spellings = _spellings(modules)
    found: dict[str, Place] = {}
    for layer in layers:
        place = spellings.get(layer) or spellings.get(_without_processor(layer))
        if place is None:
            raise NoFit(f"The layer '{show(layer, 100)}' has no place in this model.")
        found[layer] = place
    if len(set(found.values())) != len(found):
        raise NoFit("Two layers of the file change the same weight.")
    return found


def _spellings(modules: Mapping[str, Sequence[str]]) -> dict[str, Place]:
    """Every way in which writers spell a module; what two modules could be called is nobody's name."""
    made: dict[str, Place | None] = {}
    for component, names in modules.items():
        for name in names:
            forms = (
                {name, f"text_model.{name.removeprefix('text_model.')}"}
                if component == "text_encoder"
                else {name}
            )
            for form in forms:
                for prefix in PREFIXES.get(component, (f"{component}.",)):
                    spelled = prefix + (form.replace(".", "_") if prefix.endswith("_") else form)
                    place = Place(component, name)
                    made[spelled] = place if made.get(spelled, place) == place else None
    return {spelled: place for spelled, place in made.items() if place is not None}


def _without_processor(layer: str) -> str:
    """'...attn1.processor.to_q_lora', as diffusers wrote it in 2023, as the module that it belongs to."""
    plain = layer.replace(".processor.", ".").removesuffix("_lora").removesuffix(".lora_linear_layer")
    return f"{plain}.0" if plain.endswith(".to_out") else plain


def _array(seek: Callable[[int], int], read: Callable[[int], bytes], head: Header, tensor: Tensor) -> Array:
    """A tensor as float32.

    Raises:
        NoFit: it is of a type that holds no plain numbers.
    """
    seek(head.data_start + tensor.start)
    raw = read(tensor.end - tensor.start)
    if tensor.dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(tensor.shape)
    if tensor.dtype not in _DTYPES:
        raise NoFit(f"A tensor is of type {tensor.dtype}, whose numbers are not read.")
    return np.frombuffer(raw, _DTYPES[tensor.dtype]).astype(np.float32).reshape(tensor.shape)
