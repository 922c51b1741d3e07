"""One weights file as a source, or as all that a folder holds: a LoRA, a checkpoint, or something that is
named for what it is.
"""

from __future__ import annotations

from pathlib import Path

from nightlatch.intake import layout_table, layouts, neighbours, single
from nightlatch.intake.adapters import lora
from nightlatch.intake.case import Case
from nightlatch.intake.configs import crosscheck
from nightlatch.intake.files import described, inventory, kinds, weights
from nightlatch.intake.files.header import Header
from nightlatch.intake.files.inventory import Entry
from nightlatch.intake.findings import Findings

TARGET = "pytorch_lora_weights.safetensors"
"""What a LoRA is called in the private folder."""


def file(path: Path, source: Path, findings: Findings) -> Case:
    """A single file at ``path``, where ``source`` leads: its own bytes, and which neighbours of its name
    other programs load with it.
    """
    name = source.name
    case = Case(inventory.single(path, name), findings)
    entry = case.inventory.entries[name]
    pickle = kinds.is_pickle(name, entry.kind) and entry.kind != "safetensors"
    if name.lower().endswith(".safetensors") or entry.kind == "safetensors":
        safetensors(case, name)
        neighbours.check(case, source.parent.resolve(), name)
    elif pickle and entry.kind in ("text", "json") and described.is_answer(entry):
        other(case, entry)
    elif pickle or entry.kind in ("zip", "tar"):
        case.findings.add("pickle-weights", name)
    elif entry.kind in kinds.ARCHIVES:
        case.findings.add("archive-weights", name)
    else:
        other(case, entry)
    return case


def other(case: Case, entry: Entry) -> None:
    """A neutral word on a file of another format; a Git-LFS pointer is the one that can be fetched."""
    case.handled.add(entry.path)
    if entry.kind == "lfs-pointer":
        case.findings.add("lfs-pointer", entry.path)
        return
    found = described.describe(entry)
    case.findings.add("unsupported-layout", entry.path, f"It is {found.words}.", found.remedy)


def safetensors(case: Case, name: str) -> None:
    """A LoRA, a checkpoint of the layout that is supported, or a neutral word on what it is; all static rules
    in each case.
    """
    header = case.header(name)
    if header is None:
        return
    tensors = header.tensors
    beside = layouts.recognise(tensors, layout_table.BESIDE)
    if beside is None and lora.looks_like_lora(tensors):
        if single.looks_like_checkpoint(tensors):
            sentence = "It is a whole checkpoint with a LoRA in it; programs load one or the other."
            case.findings.add(
                "unsupported-layout", name, sentence, "Take the two apart, and check each file."
            )
        lora.check(case, name, TARGET)
    elif (
        beside is None
        and single.looks_like_checkpoint(tensors)
        and layouts.recognise(tensors, layout_table.CHECKPOINTS) is None
    ):
        single.check(case, name, header)
    else:
        _other_kind(case, name, header, beside or layouts.recognise(tensors, layout_table.TABLE))


def static(case: Case, name: str, header: Header) -> None:
    """The rules for weights that are read and not loaded, whatever they are; planned, so that their values
    are read where that is asked for.
    """
    weights.check_metadata(case, name, header)
    weights.check_tail(case, name)
    if not layouts.is_quantised(header.tensors):
        crosscheck.check_types(header.tensors, name, case.findings)
    case.stage(name, name)
    case.component_files[name] = [name]


def _other_kind(case: Case, name: str, header: Header, kind: layouts.Layout | None) -> None:
    packed = (
        ", and quantised, so that only the package that made it reads it"
        if layouts.is_quantised(header.tensors)
        else ""
    )
    if kind is None:
        case.findings.add(
            "unsupported-layout", name, f"It is neither a LoRA nor a checkpoint layout known here{packed}."
        )
    else:
        case.findings.add("unsupported-layout", name, f"It is {kind.words}{packed}.", kind.remedy)
    static(case, name, header)
