"""Components that are not staged and that stock loaders read all the same: a safety checker, an image
encoder.
"""

from __future__ import annotations

from nightlatch.intake.case import Case
from nightlatch.intake.files import pickles

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin",)


def has_weights(case: Case, folder: str) -> bool:
    """Whether anything in the component's folder is weights of one kind or another."""
    return any(
        e.name.endswith((".safetensors", ".bin", ".msgpack", ".onnx")) for e in case.inventory.files(folder)
    )


def check(case: Case, folder: str) -> None:
    """An error for pickled weights that are more than tensors, where no safetensors file is taken instead of
    them.

    Pickles of plain tensors stay what they are anywhere: a warning.
    """
    names = {e.name: e for e in case.inventory.files(folder)}
    if any(n in names for n in _WEIGHTS):
        return
    for name in _PICKLES:
        entry = names.get(name)
        if entry is None:
            continue
        if odd := pickles.foreign(entry):
            case.handled.add(entry.path)
            sentence = (
                "model_index.json names this component, so stock loaders unpickle it, and it is no plain "
                f"set of tensors: {odd}."
            )
            case.findings.add(
                "pickle-weights",
                entry.path,
                sentence,
                "Delete it, or set the component to null in model_index.json.",
            )
