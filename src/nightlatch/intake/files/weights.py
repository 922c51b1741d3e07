"""Which files hold a component's weights: one file, or plain-named shards; everything beside them is a
finding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nightlatch.intake.carriers import hint
from nightlatch.intake.case import Case
from nightlatch.intake.files.header import MAX_TENSORS, Header, Tensor
from nightlatch.intake.files.kinds import ARCHIVES, is_pickle
from nightlatch.safetext import show, steers
from nightlatch.terms import HintKind

MAX_SHARDS = 256
MAX_DIRECTORIES = 64
INDEX_BYTES = 8 << 20
_TAIL = (1 << 16) + 22 + (1 << 10)
PICKLES = {"model": "pytorch_model.bin"}
"""What transformers calls pickled weights; diffusers' have the stem of its safetensors."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.safetensors")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,160}")
_VARIANT = re.compile(r"\.[A-Za-z0-9_-]{1,20}")
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_VARIANT_SHARD = re.compile(
    r"(?:\.[A-Za-z0-9_]{1,20}-\d{5}-of-\d{5}|-\d{5}-of-\d{5}\.[A-Za-z0-9_]{1,20})\.safetensors"
)


def find(case: Case, folder: str, stem: str) -> Mapping[str, Tensor] | None:
    """All tensors of the component in ``folder``, staged; None, with findings, when its weights cannot be
    used.
    """
    names = {e.name for e in case.inventory.files(folder)}
    single, index = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
    others, lists = variants(names, stem), variant_indices(names, stem)
    if single not in names and index not in names:
        return _variant(case, folder, stem, [*others, *lists])
    for other in (*others, *lists):
        case.findings.add(
            "second-variant", f"{folder}/{other}", hint=hint(HintKind.VARIANT, f"{folder}/{other}")
        )
        case.handled.update({f"{folder}/{other}"} if other in others else ())
    parts = [
        n for n in names if lists and _VARIANT_SHARD.fullmatch(n.removeprefix(stem)) and n.startswith(stem)
    ]
    case.handled.update(f"{folder}/{n}" for n in parts)
    if single in names:
        if index in names:
            case.findings.add(
                "ambiguous-weights",
                f"{folder}/{index}",
                "A shard index lies beside a complete single file.",
                hint=hint(HintKind.VARIANT, f"{folder}/{index}"),
            )
        case.component_files[folder] = [f"{folder}/{single}"]
        return _one(case, f"{folder}/{single}", f"{folder}/{single}")
    return _sharded(case, folder, index, index)


def _variant(case: Case, folder: str, stem: str, found: list[str]) -> Mapping[str, Tensor] | None:
    """The only variant, staged under the plain name; a pickle of the plain name is what stock loaders take
    then.
    """
    if len(found) != 1:
        _explain_missing(case, folder)
        return None
    plain = PICKLES.get(stem, f"{stem}.bin")
    for entry in case.inventory.files(folder):
        if entry.name in (plain, f"{plain}.index.json"):
            case.handled.add(entry.path)
            sentence = (
                f"Loaders that are not told the variant of '{show(found[0], 80)}' take this pickle instead "
                "of it."
            )
            case.findings.add("pickle-weights", entry.path, sentence)
    case.findings.add("variant-used", f"{folder}/{found[0]}")
    if found[0].endswith(".json"):
        return _sharded(case, folder, found[0], f"{stem}.safetensors.index.json")
    case.component_files[folder] = [f"{folder}/{stem}.safetensors"]
    return _one(case, f"{folder}/{stem}.safetensors", f"{folder}/{found[0]}")


def check_names(case: Case, path: str, table: Any, *, strict: bool) -> None:
    """The files that a shard index names which is not used here; ``strict``: in a component's folder they are
    plain names in it.
    """
    if not isinstance(table, dict):
        if strict:
            case.findings.add("shard-index", path, "Its 'weight_map' is not a table from tensor to file.")
        return
    names = {v if isinstance(v, str) else "" for v in table.values()}
    if any(_leads_out(n) or (strict and not _PLAIN_NAME.fullmatch(n)) for n in names):
        case.findings.add("shard-path", path, "It names a file that is not a plain name in its own folder.")


def _leads_out(name: str) -> bool:
    """Whether a path may lead out of the folder it is read in, on any system."""
    return name.startswith(("/", "\\", "~")) or ":" in name or ".." in re.split(r"[/\\]", name)


def check_metadata(case: Case, path: str, header: Header) -> None:
    """A note on metadata that could steer a terminal. Trainers write tags like '<o>_<o>', prompts, emoji and
    megabytes of counts; all of it is shown escaped, and nothing in it says anything about the weights."""
    if any(steers(t) for t in (*header.metadata.keys(), *header.metadata.values())):
        case.findings.add("metadata-text", path)


def check_tail(case: Case, path: str) -> None:
    """A zip directory at the end of a safetensors file: an archive reader sees another file than a tensor
    reader.
    """
    if ends_as_archive(case, path):
        case.findings.add("polyglot", path)


def ends_as_archive(case: Case, path: str) -> bool:
    """Whether zip readers, which begin at the end and forgive what surrounds an archive, find a directory in
    the last 64 KB.
    """
    entry = case.inventory.entries[path]
    start = max(0, entry.size - _TAIL)
    try:
        with entry.open() as handle:
            handle.seek(start)
            tail = handle.read(_TAIL)
            at = len(tail)
            for _ in range(MAX_DIRECTORIES):
                at = tail.rfind(b"PK\x05\x06", 0, at)
                if at < 0:
                    return False
                handle.seek(max(0, start + at - int.from_bytes(tail[at + 12 : at + 16], "little")))
                if tail[max(0, at - 20) : at].startswith(b"PK\x06\x07") or handle.read(4) == b"PK\x01\x02":
                    return True
    except OSError:
        case.findings.add("unreadable", path)
    return False


def _one(case: Case, target: str, path: str) -> Mapping[str, Tensor] | None:
    header = case.header(path)
    if header is None:
        return None
    check_metadata(case, path, header)
    check_tail(case, path)
    case.stage(target, path)
    return header.tensors


def variants(names: set[str], stem: str) -> list[str]:
    """Complete files such as 'model.fp16.safetensors'; shards of a variant are left to the list of extra
    weights.
    """
    middles = {
        n: n[len(stem) : -len(".safetensors")]
        for n in names
        if n.startswith(stem) and n.endswith(".safetensors")
    }
    return sorted(
        n for n, middle in middles.items() if _VARIANT.fullmatch(middle) and not _SHARD.search(middle)
    )


def variant_indices(names: set[str], stem: str) -> list[str]:
    """Shard indices of a variant, such as 'model.safetensors.index.fp16.json'."""
    start, end = f"{stem}.safetensors.index.", ".json"
    middles = {
        n: n[len(start) : -len(end)]
        for n in names
        if n.startswith(start) and n.endswith(end) and len(n) > len(start + end)
    }
    return sorted(n for n, middle in middles.items() if _VARIANT.fullmatch(f".{middle}"))


def _explain_missing(case: Case, folder: str) -> None:
    """Why there are no weights: a pickle, an archive, or nothing at all."""
    files = list(case.inventory.files(folder))
    packed = ARCHIVES - {"zip", "tar"}
    pickles = [e for e in files if is_pickle(e.name, e.kind) and e.kind not in packed]
    taken = {e.path for e in pickles}
    archives = [e for e in files if e.kind in ARCHIVES and e.path not in taken]
    pointers = [e for e in files if e.kind == "lfs-pointer"]
    for rule, found in (
        ("pickle-weights", pickles),
        ("archive-weights", archives),
        ("lfs-pointer", pointers),
    ):
        for entry in found:
            case.handled.add(entry.path)
            case.findings.add(rule, entry.path)
    if not pickles and not archives and not pointers:
        case.findings.add(
            "missing-weights", folder, f"The component '{show(folder, 60)}' has no safetensors weights."
        )


def _sharded(case: Case, folder: str, index: str, target: str) -> Mapping[str, Tensor] | None:
    """The tensors of all shards that ``index`` names, which is staged as ``target``."""
    path = f"{folder}/{index}"
    value = case.json(path, limit=INDEX_BYTES)
    if value is None:
        return None
    table = value.get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        case.findings.add("shard-index", path, "Its 'weight_map' is not a table from tensor to file.")
        return None
    shards = sorted(set(table.values()))
    if any(not _PLAIN.fullmatch(s) for s in shards):
        case.findings.add("shard-path", path, "It names a file that is not a plain name in its own folder.")
        return None
    if len(shards) > MAX_SHARDS:
        case.findings.add(
            "shard-index", path, f"It names {len(shards):,} files; at most {MAX_SHARDS} are read."
        )
        return None
    listed: dict[str, set[str]] = {shard: set() for shard in shards}
    for tensor, shard in table.items():
        listed[shard].add(tensor)
    tensors: dict[str, Tensor] = {}
    case.component_files[folder] = [f"{folder}/{s}" for s in shards]
    for shard, named in listed.items():
        if not _add_shard(case, f"{folder}/{shard}", named, tensors):
            return None
    case.stage(f"{folder}/{target}", path)
    return tensors


def _add_shard(case: Case, path: str, listed: set[str], tensors: dict[str, Tensor]) -> bool:
    if path not in case.inventory.entries:
        case.findings.add("shard-index", path, "The index names this file and it is missing.")
        return False
    found = _one(case, path, path)
    if found is None:
        return False
    if set(found) != listed or not tensors.keys().isdisjoint(found):
        odd = min(set(found) ^ listed or tensors.keys() & found.keys())
        case.findings.add("shard-index", path, f"The index and the file disagree about '{show(odd, 80)}'.")
        return False
    tensors.update(found)
    if len(tensors) > MAX_TENSORS:
        case.findings.add("tensor-count", path, f"The shards hold more than {MAX_TENSORS:,} tensors.")
    return len(tensors) <= MAX_TENSORS
