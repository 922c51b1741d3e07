"""A hub name as a source: resolved once to a commit, only allow-listed files fetched at that commit, also
from the cache.

The commit protects against a repository that changes meanwhile. The endpoint itself is believed about the
bytes that it serves; what it says about names, sizes, commits and cache keys is checked before a file is
written.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nightlatch.errors import UnreadableModel
from nightlatch.intake.configs.classes import SUPPORTED
from nightlatch.intake.configs.index import INDEX
from nightlatch.intake.files import jsonread
from nightlatch.intake.findings import Findings, in_order
from nightlatch.intake.folders import LORA_NAMES
from nightlatch.intake.gate import MAX_PLANNED
from nightlatch.intake.hub import choice, problems, transfer
from nightlatch.intake.hub.choice import Listed, Selection
from nightlatch.intake.hub.problems import DEFAULT_REVISION, HubName, Unreachable, words_of
from nightlatch.records import Finding, Manifest
from nightlatch.safetext import show

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

TIMEOUT = 15.0
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/+-]{{0,150}}))?")
_FILE_ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".json", ".zip", ".gguf")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CACHE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_SLACK = 16 << 20
MAX_LISTING = 4 << 20
"""Bytes of the hub's answer about a repository."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where a source lies on this machine.

    Args:
        path: the folder or file to give to the gate.
        label: what records call it: the path as given, or 'org/name@commit'.
        commit: 40 hexadecimal digits; '' for a source that is not from a hub.
        findings: what was learnt on the way, from the names of files that were not fetched for example.
    """

    path: Path
    label: str
    commit: str = ""
    findings: tuple[Finding, ...] = ()

    def annotated(self, manifest: Manifest) -> Manifest:
        """``manifest`` of ``path`` with the findings of both, errors first, and the commit in its source."""
        source = self.label if self.commit else manifest.source
        return manifest.model_copy(
            update={"source": source, "findings": in_order([*manifest.findings, *self.findings])}
        )


def locate(
    source: Path | str,
    *,
    local_files_only: bool = False,
    cache: Path | None = None,
    endpoint: str | None = None,
    max_bytes: int = MAX_PLANNED,
) -> Located:
    """The local path of a source, which is fetched first if it is a hub name.

    A file or folder of that name on this disk wins over the hub; a note says so.

    Args:
        source: a path, ``org/name`` or ``org/name@revision`` (branch, tag or commit; ``main`` by default).
        local_files_only: do not go online, as when HF_HUB_OFFLINE is set.
        cache: the hub cache; huggingface_hub's own by default.
        endpoint: the hub's address; HF_ENDPOINT or huggingface_hub's own by default.
        max_bytes: refuse to fetch more than this.

    Raises:
        UnreadableModel: not found, not allowed, offline and not cached, too large, or a hub that contradicts
            itself.
    """
    name = parse(os.fspath(source))
    if name is None:
        return Located(Path(source), os.fspath(source))
    if os.path.lexists(source):
        findings = Findings()
        findings.add(
            "local-first", "", f"'{show(os.fspath(source), 120)}' is here on disk, so the hub was not asked."
        )
        return Located(Path(source), os.fspath(source), findings=findings.result())
    from huggingface_hub import constants

    repository = _repository(Path(cache or constants.HF_HUB_CACHE).expanduser(), name)
    if local_files_only or constants.HF_HUB_OFFLINE:
        return _from_cache(name, repository, "The hub is not asked because offline mode is set")
    try:
        commit, listed = _resolve(name, endpoint)
    except Unreachable as e:
        return _from_cache(name, repository, e.sentence.removesuffix("."))
    findings = Findings()
    findings.add("hub-commit", "", f"{words_of(name)} is the commit {commit}.")
    selection = choice.choose(listed, findings)
    _confirm_room(selection, name, repository, max_bytes)
    _fetch(selection, name, commit, repository, endpoint, everything=not findings.has("error"))
    _remember(repository, name.revision, commit)
    path = repository / "snapshots" / commit / selection.single
    return Located(path, f"{name.repository}@{commit}", commit, findings.result())


def parse(text: str) -> HubName | None:
    """The hub name that ``text`` spells; None when it can only be a path."""
    match = _NAME.fullmatch(text)
    if match is None or text.lower().endswith(_FILE_ENDINGS):
        return None
    revision = match[2] or DEFAULT_REVISION
    if "--" in match[1] or ".." in text or "//" in text or revision.endswith(("/", ".lock")):
        return None
    return HubName(match[1], revision)


def _repository(cache: Path, name: HubName) -> Path:
    """The folder of the cache that belongs to the repository."""
    return cache.absolute() / f"models--{name.repository.replace('/', '--')}"


def _from_cache(name: HubName, repository: Path, why: str) -> Located:
    """The snapshot that an earlier run left, without going online."""
    commit = name.revision
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (repository / "refs" / name.revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            commit = ""
    snapshot = repository / "snapshots" / commit
    if not _COMMIT.fullmatch(commit) or not snapshot.is_dir():
        raise UnreadableModel(
            f"{why}, and {words_of(name)} is neither a folder here nor in the cache.",
            "Fetch it once while online, or give the path of a folder.",
        )
    findings = Findings()
    findings.add(
        "hub-cache",
        "",
        f"{why}; the cached commit {commit} was used, and files that are not cached were not looked at.",
    )
    top = [p for p in snapshot.iterdir() if p.suffix == ".safetensors" and p.name not in LORA_NAMES]
    single = not (snapshot / INDEX).exists() and len(top) == 1
    return Located(top[0] if single else snapshot, f"{name.repository}@{commit}", commit, findings.result())


def _fetch(
    selection: Selection,
    name: HubName,
    commit: str,
    repository: Path,
    endpoint: str | None,
    *,
    everything: bool,
) -> None:
    """The small files, then the weights if ``everything`` is worth fetching and the pipeline is one that can
    be loaded.
    """
    for item in selection.small:
        _download(item, name, commit, repository, endpoint)
    if everything and _can_be_loaded(repository / "snapshots" / commit):
        for item in selection.weights:
            _download(item, name, commit, repository, endpoint)


def _resolve(name: HubName, endpoint: str | None) -> tuple[str, tuple[Listed, ...]]:
    """The commit and its files, from one answer of the hub."""
    from huggingface_hub import HfApi

    try:
        api = HfApi(endpoint=endpoint, library_name="nightlatch")
        info: ModelInfo = transfer.within(
            lambda: api.model_info(
                name.repository, revision=name.revision, files_metadata=True, timeout=TIMEOUT
            ),
            MAX_LISTING,
        )
    except transfer.TooSlow as e:
        raise Unreachable(e.sentence, e.remedy) from e
    except UnreadableModel:
        raise
    except Exception as e:
        raise problems.explained(e, name) from e
    commit, rows = info.sha, info.siblings
    asked = name.revision if _COMMIT.fullmatch(name.revision) else commit
    if type(commit) is not str or not _COMMIT.fullmatch(commit) or commit != asked or rows is None:
        raise problems.contradiction(name)
    return commit, choice.listing((row.rfilename, row.size) for row in rows)


def _confirm_room(selection: Selection, name: HubName, repository: Path, max_bytes: int) -> None:
    needed = sum(item.size for item in (*selection.small, *selection.weights))
    if needed > max_bytes:
        raise UnreadableModel(
            f"{words_of(name)} is too large: {needed / 1e9:,.1f} GB, and at most {max_bytes / 1e9:,.1f} GB are "
            "fetched.",
            "Download its files by other means and give their folder.",
        )
    try:
        repository.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(repository).free
    except OSError as e:
        raise UnreadableModel(
            "The hub cache cannot be written to.", "Set HF_HOME to a folder that can be written to."
        ) from e
    if free < needed + _SLACK:
        raise UnreadableModel(
            f"{words_of(name)} is too large for the disk of the hub cache: {needed / 1e9:,.1f} GB are needed.",
            "Free that much, or set HF_HOME to a larger disk.",
        )


def _download(item: Listed, name: HubName, commit: str, repository: Path, endpoint: str | None) -> None:
    """One file into the cache; its commit, cache key and size are confirmed first, its place and size
    afterwards.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    target = repository / "snapshots" / commit / item.path

    def fetch() -> str:
        return hf_hub_download(
            name.repository,
            item.path,
            revision=commit,
            cache_dir=repository.parent,
            endpoint=endpoint,
            library_name="nightlatch",
        )

    try:
        if not target.exists():
            url = hf_hub_url(name.repository, item.path, revision=commit, endpoint=endpoint)
            seen = transfer.within(
                lambda: get_hf_file_metadata(
                    url, timeout=TIMEOUT, library_name="nightlatch", endpoint=endpoint
                ),
                0,
            )
            if (
                seen.commit_hash != commit
                or not _CACHE_KEY.fullmatch(seen.etag or "")
                or seen.size not in (None, item.size)
            ):
                raise problems.contradiction(name)
        found = transfer.within(fetch, item.size, repository / "blobs")
        if Path(found).resolve() != target.resolve(strict=True) or target.stat().st_size != item.size:
            raise problems.contradiction(name)
    except UnreadableModel:
        raise
    except Exception as e:
        raise problems.explained(e, name) from e


def _can_be_loaded(snapshot: Path) -> bool:
    """Whether the weights are worth fetching: the pipeline class is a supported one, or it is a LoRA."""
    index = snapshot / INDEX
    if not index.exists():
        return True
    try:
        value = jsonread.parse(index.read_bytes())
    except (jsonread.JsonProblem, OSError):
        return False
    cls = value.get("_class_name") if isinstance(value, dict) else None
    return isinstance(cls, str) and cls in SUPPORTED


def _remember(repository: Path, revision: str, commit: str) -> None:
    """Write the cache's 'refs' entry, so that the same name works offline later; a read-only cache is no
    error.
    """
    if revision == commit:
        return
    path = repository / "refs" / revision
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.lock")
        partial.write_text(commit, encoding="ascii")
        os.replace(partial, path)
    except OSError:
        return
