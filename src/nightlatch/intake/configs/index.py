"""model_index.json against the allow-list: known pipeline, known class in every slot, nothing imported by
name.
"""

from __future__ import annotations

import json
import re
from typing import Any

from nightlatch.intake.carriers import unread
from nightlatch.intake.case import Case
from nightlatch.intake.configs import foreign, optional
from nightlatch.intake.configs.classes import OTHER_SCHEDULERS, SUPPORTED, Pipeline, family
from nightlatch.safetext import show

INDEX = "model_index.json"
_KNOWN_LIBRARIES = frozenset({"diffusers", "transformers"})
_PRIVATE_KEYS = frozenset({"_class_name", "_diffusers_version", "_name_or_path", "_commit_hash", "_commit"})
_CARD_END = re.compile(r"[\r\n]---(?:[\r\n]|\Z)")
_CARD_KEY = "prior"
_CARD_AROUND = 400
_CARD_KEYS = 20_000
"""Characters that are looked at around a key, and how often the word may occur."""
_CARD_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(000[0-9a-fA-F]{5}))")
_CARD_LIMIT = 1 << 20


def read_index(case: Case) -> tuple[Pipeline, dict[str, str]] | None:
    """The pipeline and the class of each of its components; None, with findings, when it must be refused."""
    if INDEX not in case.inventory.entries:
        case.findings.add("index", INDEX, "There is no model_index.json, so this is not a diffusers folder.")
        return None
    value = case.json(INDEX, rule="index")
    if value is None:
        return None
    pipeline = _pipeline(case, value.get("_class_name"))
    if pipeline is None:
        foreign.check(case, INDEX, value)
        return None
    case.pipeline_class = pipeline.name
    chosen = {name: cls for name, pair in value.items() if (cls := _component(case, pipeline, name, pair))}
    for name in pipeline.slots:
        if name not in value:
            case.findings.add("index", INDEX, f"It does not name the component '{name}'.")
    _plan(case, pipeline, value)
    return pipeline, {name: cls for name, cls in chosen.items() if name in pipeline.slots}


def check_card(case: Case) -> None:
    """A README whose front matter names another pipeline to fetch, in whichever way YAML may write the
    key.
    """
    entry = case.inventory.entries.get("README.md")
    data = (
        case.read("README.md", _CARD_LIMIT) if entry is not None and entry.kind in ("text", "json") else None
    )
    if data is None:
        return
    text = data.decode("utf-8", "replace").lstrip()
    front = _CARD_END.split(text, maxsplit=1)[0].removeprefix("---") if text.startswith("---") else ""
    if _has_key(_CARD_ESCAPE.sub(lambda m: chr(int(m[m.lastindex or 1], 16)), front)):
        case.findings.add("connected-pipeline", "README.md")


def _has_key(text: str) -> bool:
    """Whether the word stands where YAML has a key: alone, but for quotes, anchors and tags, between a line's
    or a table's start and a colon.
    """
    at = -1
    for _ in range(_CARD_KEYS):
        at = text.find(_CARD_KEY, at + 1)
        if at < 0:
            return False
        before, after = text[max(0, at - _CARD_AROUND) : at], text[at + len(_CARD_KEY) : at + _CARD_AROUND]
        words = before[max(before.rfind(c) for c in "\n\r{,") + 1 :].rstrip("'\"").split()
        if after.lstrip("'\"").lstrip().startswith(":") and all(w == "?" or w[0] in "&!" for w in words):
            return True
    return True


def _pipeline(case: Case, name: Any) -> Pipeline | None:
    if isinstance(name, list):
        case.findings.add(
            "custom-code", INDEX, "'_class_name' names a module of the model's own beside the class."
        )
    elif not isinstance(name, str) or not name:
        case.findings.add("index", INDEX, "It does not name a pipeline class.")
    elif name in SUPPORTED:
        return SUPPORTED[name]
    elif known := family(name):
        case.findings.add(
            "unsupported-pipeline",
            INDEX,
            f"It is a pipeline of {known} ('{show(name, 80)}'), which scan cannot load yet.",
        )
    elif name.isidentifier():
        case.findings.add(
            "unsupported-pipeline", INDEX, f"'{show(name, 80)}' is not a pipeline class known here."
        )
    else:
        case.findings.add("unsupported-pipeline", INDEX)
        case.findings.add("custom-code", INDEX, f"'{show(name, 80)}' is not the name of a class.")
    return None


def _component(case: Case, pipeline: Pipeline, name: str, pair: Any) -> str:
    """The allow-listed class of a component; '' for everything else, with a finding when it is a defect."""
    shown = show(name, 60)
    if name in _PRIVATE_KEYS or (name in pipeline.options and not isinstance(pair, list | dict)):
        return ""
    if name.startswith("_"):
        case.findings.add("unknown-key", INDEX, f"The key '{shown}' is not known and not staged.")
        return ""
    if not isinstance(pair, list) or len(pair) != 2:
        case.findings.add(
            "index", INDEX, f"'{shown}' is neither a known option nor a pair of library and class."
        )
        return ""
    library, cls = pair
    if library is None and cls is None:
        if name in pipeline.slots:
            case.findings.add("index", INDEX, f"The component '{shown}' is empty.")
        return ""
    if not isinstance(library, str) or not isinstance(cls, str):
        case.findings.add("index", INDEX, f"'{shown}' does not name a library and a class.")
        return ""
    if name in pipeline.optional and (library, cls) in pipeline.optional[name]:
        tried = unread(name) if optional.has_weights(case, name) else None
        case.findings.add(
            "safety-checker", name, f"The optional component '{shown}' is not staged.", hint=tried
        )
        optional.check(case, name)
        return ""
    return _required(case, pipeline, name, library, cls)


def _required(case: Case, pipeline: Pipeline, name: str, library: str, cls: str) -> str:
    shown = show(name, 60)
    if f"{name}/{library}.py" in case.inventory.entries:
        case.findings.add(
            "custom-code", INDEX, f"The component '{shown}' asks for its own code, '{show(library, 60)}.py'."
        )
    elif library not in _KNOWN_LIBRARIES:
        case.findings.add(
            "unknown-library", INDEX, f"The component '{shown}' comes from the module '{show(library, 60)}'."
        )
    elif name not in pipeline.slots:
        case.findings.add(
            "index", INDEX, f"{pipeline.name} has no component '{shown}' of class '{show(cls, 60)}'."
        )
    elif name == "scheduler" and library == pipeline.slots[name].library and cls in OTHER_SCHEDULERS:
        case.findings.add(
            "unsupported-pipeline",
            INDEX,
            f"Its scheduler is a {cls}, which draws with models of another kind.",
        )
    elif library != pipeline.slots[name].library or cls not in pipeline.slots[name].classes:
        case.findings.add(
            "index", INDEX, f"'{show(cls, 60)}' is not a class that fits the component '{shown}'."
        )
    else:
        return cls
    return ""


def _plan(case: Case, pipeline: Pipeline, value: dict[str, Any]) -> None:
    """Stage model_index.json; components that are not staged become null in it, unknown keys are dropped."""
    known = _PRIVATE_KEYS | set(pipeline.slots) | set(pipeline.optional) | pipeline.options
    kept = {k: [None, None] if k in pipeline.optional else v for k, v in value.items() if k in known}
    if kept.get("safety_checker") != value.get("safety_checker"):
        kept["requires_safety_checker"] = False
    rewritten = None if kept == value else json.dumps(kept, indent=2, sort_keys=True).encode()
    case.stage(INDEX, INDEX, rewritten)
