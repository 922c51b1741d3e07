"""Everything in the source that is not staged: recorded, and a finding when somebody else's loader might use
it.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from nightlatch.intake import layout_table, layouts
from nightlatch.intake.adapters import lora
from nightlatch.intake.carriers import hint, unread
from nightlatch.intake.case import Case
from nightlatch.intake.configs import unopened
from nightlatch.intake.configs.classes import Pipeline
from nightlatch.intake.files import described, header, kinds
from nightlatch.intake.files.inventory import Entry
from nightlatch.intake.files.weights import ends_as_archive
from nightlatch.records import Hint
from nightlatch.safetext import show
from nightlatch.terms import HintKind

MAX_ADAPTERS = 20
_ADAPTER = "adapter_config.json"
_UNNAMED = frozenset({"emb_params", "clip_l", "clip_g"})
_NEVER_LOADED = frozenset({"safety_checker", "image_encoder"})
_THEIR_WEIGHTS = re.compile(r"model(\.[A-Za-z0-9_-]{1,20})?(-\d{5}-of-\d{5})?\.safetensors")


def sweep(case: Case, pipeline: Pipeline | None, *, loadable: bool) -> None:
    """Findings for all entries that no rule has dealt with; ``loadable``: whether there is something beside
    them to load.
    """
    planned = {p.entry.path for p in case.plan.values()}
    unopened.read(case)
    harmless: list[str] = []
    for entry in sorted(case.inventory.entries.values(), key=lambda e: not _is_applied(e, pipeline)):
        if entry.kind == "link" and entry.name.lower() == _ADAPTER:
            sentence = "It is a link, and loaders follow it."
            case.findings.add("hidden-adapter", entry.path, sentence, hint=hint(HintKind.ADAPTER, entry.path))
        if entry.path in case.handled or entry.path in planned or entry.kind in kinds.NOT_FILES:
            continue
        if kinds.is_apple_double(entry.name, entry.kind):
            harmless.append(entry.path)
            continue
        if not _judge(case, entry, pipeline, loadable):
            harmless.append(entry.path)
    if harmless:
        shown = ", ".join(f"'{show(p, 60)}'" for p in harmless[:5])
        more = f" and {len(harmless) - 5} more" if len(harmless) > 5 else ""
        case.findings.add("not-staged", "", f"Not needed to load, so not staged: {shown}{more}.")


def _is_applied(entry: Entry, pipeline: Pipeline | None) -> bool:
    """Whether it is an adapter's config where a loader looks for one; these come first, so that no decoy uses
    up the places.
    """
    return entry.name.lower() == _ADAPTER and (
        not entry.parent or (pipeline is not None and entry.parent in pipeline.slots)
    )


def _judge(case: Case, entry: Entry, pipeline: Pipeline | None, loadable: bool) -> bool:
    """Whether the entry led to a finding of its own."""
    name, kind, path = entry.name.lower(), entry.kind, entry.path
    if name == _ADAPTER:
        known = case.findings.count("hidden-adapter") < MAX_ADAPTERS
        if known:
            lora.check_adapter_config(case, path, staged=False)
        sentence = "" if known else f"It is beyond the first {MAX_ADAPTERS} and was not read."
        case.findings.add("hidden-adapter", path, sentence, hint=hint(HintKind.ADAPTER, path))
        return True
    code, pickle = kinds.is_code(name, kind), kinds.is_pickle(path, kind)
    if code:
        case.findings.add("unused-code", path)
    if name.endswith(".safetensors"):
        return _judge_safetensors(case, entry, pipeline)
    if pickle:
        case.findings.add("unused-pickle" if loadable else "pickle-weights", path)
    if code or pickle:
        return True
    if kind in kinds.ARCHIVES:
        case.findings.add("unused-archive" if loadable else "archive-weights", path)
    elif name.endswith((".jinja", ".jinja2")):
        case.findings.add("template", path)
    elif ends_as_archive(case, path):
        case.findings.add(
            "unused-archive", path, "It does not begin as an archive, and archive readers open it as one."
        )
    elif kinds.is_other_weights(name, kind):
        case.findings.add("other-format", path, hint=unread(path))
    else:
        return False
    return True


def _judge_safetensors(case: Case, entry: Entry, pipeline: Pipeline | None) -> bool:
    if entry.kind == "lfs-pointer":
        return False
    if entry.kind != "safetensors":
        case.findings.add(
            "not-safetensors",
            entry.path,
            f"It is named .safetensors and is {described.describe(entry).words}.",
        )
        return True
    folder = entry.parent
    if folder in _NEVER_LOADED and _THEIR_WEIGHTS.fullmatch(entry.name):
        return False
    if pipeline is not None and folder in pipeline.slots and case.findings.has("error"):
        return False
    words, tried = _what(case, entry)
    case.findings.add(
        "extra-weights", entry.path, f"{words} lies beside the model and is a subject of its own.", hint=tried
    )
    return True


def _what(case: Case, entry: Entry) -> tuple[str, Hint]:
    """What a further safetensors file holds, in words and as something to try."""
    usual = hint(HintKind.WEIGHTS, entry.path)
    try:
        names = case.read_header(entry).tensors
    except (header.HeaderProblem, OSError):
        return "A safetensors file whose header is refused", usual
    if lora.looks_like_lora(names):
        return "A LoRA", hint(HintKind.LORA, entry.path)
    if layouts.is_embedding(names) or (len(names) <= 2 and all(len(t.shape) <= 2 for t in names.values())):
        token = next((n for n in names if n not in _UNNAMED), "")
        words = (
            f"A textual-inversion embedding for '{show(token)}'" if token else "A textual-inversion embedding"
        )
        return words, hint(
            HintKind.EMBEDDING, entry.path, (*([token] if token else ()), PurePosixPath(entry.name).stem)
        )
    found = layouts.recognise(names, layout_table.TABLE)
    words = found.words[0].upper() + found.words[1:] if found else "A further set of weights"
    return words, usual
