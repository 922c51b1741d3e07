"""Files of a checkpoint's own name that web interfaces load with it, unasked: settings in YAML, another
autoencoder.
"""

from __future__ import annotations

from pathlib import Path

from nightlatch.intake.case import Case
from nightlatch.intake.files import inventory
from nightlatch.intake.files.inventory import Entry
from nightlatch.safetext import show

AUTOENCODERS = (".vae.safetensors", ".vae.pt", ".vae.ckpt")
SETTINGS = ".yaml"
MAX_SETTINGS = 1 << 17
_OWN = ("ldm.", "sgm.", "modules.", "torch.nn.")
"""Modules of the original training code, whose classes such settings name."""
_MARKS = ("!", "&", "*", "\\", "%", "?", "<<")
"""What YAML can hide a key or a class behind; the published settings use none of it."""


def check(case: Case, folder: Path, name: str) -> None:
    """Findings for what lies beside the single file ``name`` of ``folder``; links are not followed, nothing
    is loaded.
    """
    stem = name.removesuffix(".safetensors")
    for ending in (*AUTOENCODERS, SETTINGS):
        try:
            found = inventory.single(folder / (stem + ending), stem + ending)
        except (OSError, ValueError):
            continue
        _judge(case, found.entries[stem + ending], ending)


def check_inside(case: Case, name: str) -> None:
    """The same for a file that a folder holds, whose other files have been listed."""
    stem = name.removesuffix(".safetensors")
    for ending in (*AUTOENCODERS, SETTINGS):
        entry = case.inventory.entries.get(stem + ending)
        if entry is not None:
            _judge(case, entry, ending)
            case.handled.add(entry.path)


def _judge(case: Case, entry: Entry, ending: str) -> None:
    if ending != SETTINGS:
        what = "a pickle, which can run code" if not ending.endswith(".safetensors") else "an autoencoder"
        case.findings.add(
            "neighbour",
            entry.path,
            f"Web interfaces load it in place of the checkpoint's own autoencoder; it is {what}.",
        )
    elif odd := _odd_class(entry):
        case.findings.add(
            "neighbour",
            entry.path,
            f"Web interfaces build the model from the classes that it names, and one is {odd}.",
        )
    else:
        case.findings.add("settings-beside", entry.path)


def _odd_class(entry: Entry) -> str:
    """The first class that is none of the original training code's, or why it cannot be told; '' for the
    published settings.
    """
    try:
        with entry.open() as handle:
            data = handle.read(MAX_SETTINGS + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return "not known, for it cannot be read as text"
    if len(data) > MAX_SETTINGS or any(mark in text for mark in _MARKS):
        return "not known, for it is written as such settings are not"
    for line in text.replace("{", "\n").replace(",", "\n").split("\n"):
        key, _, value = line.partition(":")
        named = value.strip().strip("'\"}] ")
        if key.strip().strip("'\"- ") == "target" and not named.startswith(_OWN):
            return f"'{show(named, 60)}'"
    return ""
