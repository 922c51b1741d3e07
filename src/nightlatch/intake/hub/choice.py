"""Which files of a hub repository are fetched, judged by name and size alone, and what the names of the
others give away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nightlatch.errors import UnreadableModel
from nightlatch.intake.carriers import hint
from nightlatch.intake.case import MAX_TOKENIZER_BYTES
from nightlatch.intake.configs.classes import STABLE_DIFFUSION
from nightlatch.intake.configs.index import INDEX
from nightlatch.intake.files import kinds, weights
from nightlatch.intake.files.collisions import ambiguous
from nightlatch.intake.files.inventory import MAX_DEPTH, MAX_ENTRIES, MAX_NAME
from nightlatch.intake.findings import Findings
from nightlatch.intake.folders import LORA_NAMES
from nightlatch.safetext import is_plain, show
from nightlatch.terms import HintKind

CARD = "README.md"
MAX_CARD = 1 << 20
MAX_UNOPENED = 60
ADAPTER_CONFIG = "adapter_config.json"
_TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
_OTHER_PARTS = frozenset({
    "transformer", "transformer_2", "text_encoder_2", "text_encoder_3", "text_encoder_4", "prior", "decoder",
    "vqgan", "movq", "prior_prior",
    "prior_text_encoder", "controlnet", "image_encoder", "image_noising_scheduler", "motion_adapter",
})  # fmt: skip
"""Components of other architectures; a Stable Diffusion pipeline loads none of them, and its index would have
to name them.
"""
_HINTS = {
    "hidden-adapter": HintKind.ADAPTER, "second-variant": HintKind.VARIANT, "extra-weights": HintKind.WEIGHTS,
}  # fmt: skip
_NOT_FETCHED = "It lies on the hub beside the model; it was not fetched, so only its name is known."


class Listed(NamedTuple):
    """One file as the hub lists it at a commit; ``size`` in bytes."""

    path: str
    size: int


class Selection(NamedTuple):
    """What is fetched, in this order; ``single`` is the one weights file of a repository without a pipeline,
    else ''.
    """

    small: tuple[Listed, ...]
    weights: tuple[Listed, ...]
    single: str = ""


def listing(rows: Iterable[tuple[object, object]]) -> tuple[Listed, ...]:
    """The hub's rows of path and size, each checked.

    Raises:
        UnreadableModel: too many, a path that is not a plain relative one or is listed twice, or a size that
            is none.
    """
    made: dict[str, Listed] = {}
    for path, size in rows:
        if type(path) is not str or not _is_plain_path(path) or path in made:
            raise UnreadableModel(
                f"The hub lists a file under the name '{show(str(path), 80)}', which is not a plain path of "
                "its own.",
                "Do not load this model anywhere.",
            )
        if type(size) is not int or size < 0:
            raise UnreadableModel(
                f"The hub states no size for '{show(path, 80)}', so nothing is fetched.",
                "Download the model by other means.",
            )
        made[path] = Listed(path, size)
        if len(made) > MAX_ENTRIES:
            raise UnreadableModel(
                f"The hub lists more than {MAX_ENTRIES:,} files.",
                "Download the model's own files and give their folder.",
            )
    return tuple(made.values())


def choose(listed: Sequence[Listed], findings: Findings) -> Selection:
    """The allow-listed files; ``findings`` gets what the names of the others give away.

    Raises:
        UnreadableModel: a small file is larger than is read, or there is nothing that could be loaded.
    """
    files = {item.path: item for item in listed}
    ambiguous(_with_folders(files), findings)
    chosen, single = _wanted(files, findings)
    small = [files[p] for p in chosen if not p.endswith(".safetensors")]
    for item in small:
        if item.size > MAX_TOKENIZER_BYTES:
            raise UnreadableModel(
                f"The hub lists '{show(item.path, 80)}' with {item.size:,} bytes; at most "
                f"{MAX_TOKENIZER_BYTES:,} are read.",
                "No model needs a text file of that size; do not load it anywhere.",
            )
    _judge_rest([p for p in files if p not in chosen], findings)
    heavy = [files[p] for p in chosen if p.endswith(".safetensors")]
    return Selection(tuple(sorted(small, key=lambda f: f.path != INDEX)), tuple(heavy), single)


def _with_folders(paths: Iterable[str]) -> list[str]:
    """The paths and all folders above them, in order."""
    parts = (path.split("/") for path in paths)
    return sorted({"/".join(p[:n]) for p in parts for n in range(1, len(p) + 1)})


def _is_plain_path(path: str) -> bool:
    parts = path.split("/")
    return (
        len(parts) <= MAX_DEPTH
        and is_plain(path)
        and not {"", ".", ".."} & set(parts)
        and not any(c in path for c in "\\:\t\r\n")
        and max(len(p.encode()) for p in parts) <= MAX_NAME
    )


def _wanted(files: dict[str, Listed], findings: Findings) -> tuple[list[str], str]:
    """Paths to fetch, and the single weights file if it is one."""
    card = [CARD] if CARD in files and files[CARD].size <= MAX_CARD else []
    if INDEX in files:
        return list(dict.fromkeys([INDEX, *card, *_pipeline(files, findings), *_unopened(files)])), ""
    if lora := next((n for n in LORA_NAMES if n in files), ""):
        return [lora, *card, *(n for n in (ADAPTER_CONFIG,) if n in files)], ""
    top = [p for p in files if "/" not in p and p.endswith(".safetensors")]
    if len(top) != 1:
        raise UnreadableModel(
            f"The repository holds no {INDEX}, no LoRA under its usual name and {len(top) or 'no'} further "
            "safetensors files.",
            "Download the one file that is meant and give its path.",
        )
    return top, top[0]


def _pipeline(files: dict[str, Listed], findings: Findings) -> list[str]:
    """The files of every component that can be staged."""
    chosen: list[str] = []
    for name, slot in STABLE_DIFFUSION.slots.items():
        inside = {p.removeprefix(f"{name}/") for p in files if p.startswith(f"{name}/") and p.count("/") == 1}
        names = [
            slot.config,
            ADAPTER_CONFIG,
            "adapter_model.safetensors",
            *(_TOKENIZER if name == "tokenizer" else ()),
        ]
        chosen += [f"{name}/{n}" for n in names if n in inside]
        if slot.stem:
            chosen += _weights(name, slot.stem, inside, findings)
    return chosen


def _unopened(files: dict[str, Listed]) -> list[str]:
    """Configs and shard indices in the folders of components that are not loaded here, for the gate to
    read.
    """
    folders = (*STABLE_DIFFUSION.slots, *STABLE_DIFFUSION.optional)
    small = (p for p in files if p.endswith(".json") and p.rpartition("/")[0] in folders)
    return [p for p in small if p.endswith("config.json") or ".index." in p][:MAX_UNOPENED]


def _weights(folder: str, stem: str, inside: set[str], findings: Findings) -> list[str]:
    """One complete set of a component's weights: the single file, the shards, or the only variant."""
    single, index = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
    variants = weights.variants(inside, stem)
    found = [n for n in (single, index) if n in inside]
    if found == [index]:
        found += sorted(n for n in inside if n.startswith(f"{stem}-") and n.endswith(".safetensors"))
    if not found and len(variants) == 1:
        return [f"{folder}/{variants[0]}"]
    if not found:
        for name in sorted(inside):
            if kinds.is_weights_name(name):
                findings.add(
                    "pickle-weights",
                    f"{folder}/{name}",
                    "On the hub, this component has no safetensors weights.",
                )
    return [f"{folder}/{n}" for n in found]


def _judge_rest(paths: Sequence[str], findings: Findings) -> None:
    """Findings by name for everything that stays on the hub."""
    plain: list[str] = []
    for path in paths:
        if rule := _rule(path):
            kind = _HINTS.get(rule)
            findings.add(rule, path, _NOT_FETCHED, hint=hint(kind, path) if kind else None)
        else:
            plain.append(path)
    if plain:
        shown = ", ".join(f"'{show(p, 60)}'" for p in plain[:5])
        more = f" and {len(plain) - 5:,} more" if len(plain) > 5 else ""
        findings.add("not-fetched", "", f"Not needed to load, so not fetched from the hub: {shown}{more}.")


def _rule(path: str) -> str:
    """The rule that a name alone breaks, or ''."""
    folder, _, name = path.rpartition("/")
    slot = STABLE_DIFFUSION.slots.get(folder)
    if name == ADAPTER_CONFIG:
        return "hidden-adapter"
    if kinds.is_code(name, ""):
        return "unused-code"
    if kinds.is_weights_name(name):
        return "unused-pickle"
    if not name.endswith(".safetensors") or folder in STABLE_DIFFUSION.optional or folder in _OTHER_PARTS:
        return ""
    return (
        "second-variant"
        if slot is not None and slot.stem and weights.variants({name}, slot.stem)
        else "extra-weights"
    )
