"""A folder without model_index.json, named for what it is, with the command that reads what is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from nightlatch.intake import classifiers, lone, neighbours, single, towers
from nightlatch.intake.adapters import lora
from nightlatch.intake.case import Case
from nightlatch.intake.configs.index import INDEX
from nightlatch.intake.files import kinds
from nightlatch.intake.files.inventory import Entry
from nightlatch.safetext import show

LORA_NAMES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
PEFT = LORA_NAMES[1]
COMPONENT_CONFIGS = (
    "config.json",
    "scheduler_config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
)
COMPONENTS = frozenset(
    {
        "unet",
        "transformer",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
        "scheduler",
        "tokenizer",
        "prior",
    }
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors\Z")
_CHECKPOINT = re.compile(r"(?:checkpoint|step|epoch)[-_]?\d{1,9}\Z")
_CLASSES = (
    ("ControlNet", "a ControlNet"), ("T2IAdapter", "a T2I-Adapter"),
    ("MotionAdapter", "an AnimateDiff motion module"),
    ("UNet", "the UNet"), ("Transformer", "the transformer (denoiser)"),
    ("AutoencoderTiny", "a tiny autoencoder (TAESD)"),
    ("Autoencoder", "the autoencoder (VAE)"), ("VQModel", "the autoencoder (VQ)"),
    ("Scheduler", "the scheduler"), ("Tokenizer", "the tokenizer"),
    ("SafetyChecker", "the safety checker"), ("CLIPText", "the text encoder"),
    ("CLIPVision", "the image encoder"), ("T5", "the text encoder (T5)"),
    ("ImageProcessor", "the image processor"), ("Prior", "a prior"),
)  # fmt: skip
"""What the class in a component's config stands for."""


def hub_cache(root: Path) -> str:
    """A sentence and a command when ``root`` is a folder of the hub's cache above a snapshot, as
    'sentence|command'; '' otherwise.
    """

    def names(folder: Path) -> list[str]:
        try:
            return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.is_symlink())[:1000]
        except OSError:
            return []

    if root.name.startswith("models--") and (commits := names(root / "snapshots")):
        what = (
            f"It is the hub cache's folder of one repository; the model lies in a snapshot, {len(commits)} "
            "of which are here."
        )
        return f"{what}|Give the snapshot: 'nightlatch check {_quoted(root / 'snapshots' / commits[-1])}'."
    if root.name == "snapshots" and root.parent.name.startswith("models--") and (commits := names(root)):
        return (
            "It is the hub cache's folder of snapshots.|Give one of them: 'nightlatch check "
            f"{_quoted(root / commits[-1])}'."
        )
    cached = [
        n.removeprefix("models--").replace("--", "/", 1) for n in names(root) if n.startswith("models--")
    ]
    if cached and not (root / INDEX).exists():
        return (
            f"It is a hub cache with {len(cached)} models.|Name one of them: 'nightlatch check "
            f"{show(cached[0], 200)}'."
        )
    return ""


def judge(case: Case) -> bool:
    """Findings for the folder of ``case``, which has no model_index.json; whether something in it can be
    loaded.
    """
    held = case.inventory.entries
    if name := next((n for n in LORA_NAMES if n in held), ""):
        _lora(case, name)
        return True
    if single.TARGET in held:
        lone.safetensors(case, single.TARGET)
        return True
    top = [
        e
        for e in case.inventory.files("")
        if e.name.lower().endswith(".safetensors") and not kinds.is_apple_double(e.name, e.kind)
    ]
    if cls := towers.kind(case):
        towers.check(case, cls)
        return True
    if cls := classifiers.kind(case):
        classifiers.check(case, cls)
        return True
    if any(n in held for n in COMPONENT_CONFIGS):
        _component(case, top)
    elif len(top) == 1 and not _SHARD.search(top[0].name):
        lone.safetensors(case, top[0].path)
        neighbours.check_inside(case, top[0].path)
        return True
    elif top:
        _several(case, top)
    else:
        _without_weights_on_top(case)
    return False


def _lora(case: Case, name: str) -> None:
    lora.check(case, name, name)
    if name == PEFT:
        case.findings.add(
            "lora", name, "It is in peft's own form; to scan it, write it with diffusers' save_lora_weights."
        )
        if case.entry("adapter_config.json") is not None:
            lora.check_adapter_config(case, "adapter_config.json", staged=True)


def _component(case: Case, top: list[Entry]) -> None:
    """One component's folder: its weights are read and named, or its config says what it is."""
    name = next(n for n in COMPONENT_CONFIGS if n in case.inventory.entries)
    value = case.json(name, infinite=True) or {}
    named = (
        value.get("_class_name")
        or value.get("tokenizer_class")
        or next(iter(value.get("architectures") or [""]), "")
    )
    cls = named if isinstance(named, str) else ""
    words = next((w for part, w in _CLASSES if part in cls), "one component")
    above = case.inventory.root.parent
    whole = above if (above / INDEX).is_file() else Path("PIPELINE")
    sentence = f"It is the folder of one component of a pipeline: {words}" + (
        f", of class '{show(cls, 60)}'." if cls else "."
    )
    case.findings.add(
        "unsupported-layout",
        name,
        sentence,
        f"Check the pipeline that it belongs to: 'nightlatch check {_quoted(whole)}'.",
    )
    _headers(case, top)


def _several(case: Case, top: list[Entry]) -> None:
    """More than one weights file and nothing that says which is meant: each is read, and the choice is the
    user's.
    """
    shown = ", ".join(f"'{show(e.name, 80)}'" for e in top[:5]) + (
        f" and {len(top) - 5} more" if len(top) > 5 else ""
    )
    first = case.inventory.root / top[0].name
    if all(_SHARD.search(e.name) for e in top):
        sentence = (
            f"It holds the {len(top)} parts of one sharded model, without the folder of its pipeline: "
            f"{shown}."
        )
        case.findings.add(
            "unsupported-layout",
            "",
            sentence,
            "Check the pipeline that it belongs to: 'nightlatch check PIPELINE'.",
        )
    else:
        sentence = f"It holds {len(top)} weights files and no model_index.json; which one is meant? {shown}."
        case.findings.add(
            "unsupported-layout", "", sentence, f"Name one: 'nightlatch check {_quoted(first)}'."
        )
    _headers(case, top)


def _headers(case: Case, entries: Iterable[Entry]) -> None:
    """The rules for headers, on every weights file of a folder that is not loaded."""
    for entry in entries:
        if entry.path in case.plan:
            continue
        header = case.header(entry.path)
        if header is not None:
            lone.static(case, entry.path, header)


def _without_weights_on_top(case: Case) -> None:
    held = case.inventory.entries
    nested = sorted(p.removesuffix(f"/{INDEX}") for p in held if p.endswith(f"/{INDEX}"))
    adapters = sorted(
        {e.parent for e in held.values() if e.name in LORA_NAMES or e.name == "adapter_config.json"}
    )
    deep = [
        e
        for e in held.values()
        if e.name.lower().endswith(".safetensors") and not kinds.is_apple_double(e.name, e.kind)
    ]
    root = case.inventory.root
    components = sorted(COMPONENTS & {e.path for e in held.values() if e.kind == "folder"})
    checkpoints = sorted({p.split("/")[0] for p in held if _CHECKPOINT.fullmatch(p.split("/")[0])})
    if nested:
        which = (
            "The pipeline lies in a folder of it"
            if len(nested) == 1
            else f"It holds {len(nested)} pipelines, each in a folder of its own"
        )
        _neutral(
            case,
            f"{which}: {_listed(nested)}.",
            f"Give that folder: 'nightlatch check {_quoted(root / nested[0])}'.",
        )
    elif checkpoints:
        inside = next(
            (p for p in [*adapters, *(e.parent for e in deep)] if p.split("/")[0] == checkpoints[-1]),
            checkpoints[-1],
        )
        sentence = (
            f"It is what a training left, with {len(checkpoints)} checkpoints and no finished model: "
            f"{_listed(checkpoints)}."
        )
        _neutral(case, sentence, f"Give the one that is meant: 'nightlatch check {_quoted(root / inside)}'.")
    elif adapters:
        for path in [e.path for e in held.values() if e.name == "adapter_config.json"][:20]:
            lora.check_adapter_config(case, path, staged=False)
        sentence = (
            "It holds adapters (LoRA) in folders of their own, as peft saves them for each component: "
            f"{_listed(adapters)}."
        )
        _neutral(case, sentence, f"Give one of them: 'nightlatch check {_quoted(root / adapters[0])}'.")
    elif components:
        sentence = (
            "There is no model_index.json, which says how its components make a pipeline: "
            f"{_listed(components)}."
        )
        case.findings.add(
            "index",
            INDEX,
            sentence,
            "Copy model_index.json from the model that it was made from, or save the pipeline again.",
        )
    elif deep:
        paths = sorted(e.path for e in deep)
        sentence = (
            f"It holds {len(deep)} weights files in folders below it, and is no model itself: "
            f"{_listed(paths)}."
        )
        _neutral(case, sentence, f"Name one: 'nightlatch check {_quoted(root / paths[0])}'.")
    else:
        _no_weights(case)
        return
    _headers(case, deep[:20])


def _no_weights(case: Case) -> None:
    """No safetensors at all: pickles, another format, or nothing."""
    files = [e for e in case.inventory.entries.values() if e.kind not in kinds.NOT_FILES]
    others = [e for e in files if kinds.is_other_weights(e.name, e.kind)]
    if any(kinds.is_pickle(e.path, e.kind) or e.kind in kinds.ARCHIVES for e in files):
        return
    if others:
        lone.other(case, others[0])
        return
    sentence = "There is no model_index.json and no weights file, so there is no model in it."
    case.findings.add(
        "index",
        INDEX,
        sentence,
        "Give a folder with model_index.json in it, or one file: 'nightlatch check FILE.safetensors'.",
    )


def _neutral(case: Case, sentence: str, remedy: str) -> None:
    case.findings.add("unsupported-layout", "", sentence, remedy)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"'{show(n, 60)}'" for n in names[:5]) + more


def _quoted(path: Path) -> str:
    """The path as it is written behind a command; blanks need quotes of their own."""
    text = show(str(path), 250)
    return f'"{text}"' if " " in text else text
