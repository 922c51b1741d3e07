"""Stage, then load: a private folder that holds exactly the checked files, and is gone afterwards."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.intake import gate
from nightlatch.intake.case import Case, Planned
from nightlatch.intake.files.inventory import signature
from nightlatch.intake.rules import LOADED, UNTOLD
from nightlatch.intake.staging import leases
from nightlatch.records import Manifest

_PIECE = 1 << 20
_SLACK = 16 << 20


class Refused(UnreadableModel):
    """The source must not be loaded; ``manifest`` says why."""

    def __init__(self, manifest: Manifest) -> None:
        errors = [f for f in manifest.findings if f.severity == "error"]
        reasons = errors or [f for f in manifest.findings if f.rule in UNTOLD - LOADED]
        first = reasons[0]
        more = f" ({len(reasons) - 1} further reasons)" if len(reasons) > 1 else ""
        where = f"{first.file}: " if first.file else ""
        start = f"Refused by the rule {first.rule}" if errors else "Not scanned"
        super().__init__(f"{start}: {where}{first.sentence}{more}", first.remedy)
        self.manifest = manifest


class NotSupported(Refused):
    """The source is of a kind that is not loaded here; nothing is said against it. ``manifest`` names the
    kind.
    """


@dataclass(frozen=True, slots=True)
class Staged:
    """``path``: the private folder to load from. ``manifest``: what was found, with the hash of every staged
    file.
    """

    path: Path
    manifest: Manifest


@contextmanager
def stage(source: Path | str, *, values: bool = True, scratch: Path | None = None) -> Iterator[Staged]:
    """Check ``source``, copy its allow-listed files into a private folder, check the copy, and hand it out.

    The folder (mode 0700) is removed when the block ends, however it ends; folders of processes that were
    killed are removed here. The source is never written to.

    Args:
        source: a diffusers folder, or a LoRA as a single .safetensors file.
        values: read every weight of the copy and refuse NaN, infinity and constant components.
        scratch: where to make the private folder; the system's temporary folder by default.

    Raises:
        Refused: a rule of severity error applies, or the source changed meanwhile; NotSupported: it is of a
            kind that is not loaded.
        NotScanned: there is no room for the copy, or it cannot be written.
    """
    started = time.perf_counter()
    case = gate.examine(source)
    _refuse_if_needed(case, source, started)
    scratch = scratch or Path(tempfile.gettempdir())
    leases.sweep(scratch)
    try:
        folder, lease = leases.make(scratch)
    except OSError as e:
        raise NotScanned(
            "The private folder cannot be made.", "Set TMPDIR to a folder that can be written to."
        ) from e
    try:
        staged = _copy_all(case, folder)
        _confirm(case, folder, values)
        _refuse_if_needed(case, source, started)
        yield Staged(folder, gate.manifest(case, source, time.perf_counter() - started, staged))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lease)


def _refuse_if_needed(case: Case, source: Path | str, started: float) -> None:
    if case.findings.has("error") or case.findings.untold():
        kind = Refused if case.findings.has("error") else NotSupported
        raise kind(gate.manifest(case, source, time.perf_counter() - started))


def _copy_all(case: Case, folder: Path) -> dict[str, str]:
    """Copy the plan; sha256 of every source file that was staged, by its path."""
    needed = sum(p.entry.size for p in case.plan.values()) + _SLACK
    staged: dict[str, str] = {}
    try:
        if shutil.disk_usage(folder).free < needed:
            raise OSError
        for target, planned in case.plan.items():
            digest = _copy_one(case, planned, folder / target)
            if digest != case.digests.get(planned.entry.path, digest):
                case.findings.add("source-changed", planned.entry.path)
            staged[planned.entry.path] = digest
    except OSError as e:
        remedy = f"Free {needed / 1e9:.1f} GB, or set TMPDIR to a larger disk."
        raise NotScanned("The model cannot be copied into the private folder.", remedy) from e
    return staged


def _copy_one(case: Case, planned: Planned, target: Path) -> str:
    """One file, hashed while it is copied; 'source-changed' when it is not the file that was checked."""
    entry, digest = planned.entry, hashlib.sha256()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as copy:
        try:
            handle = entry.open()
        except OSError:
            case.findings.add("source-changed", entry.path)
            return ""
        with handle:
            before = signature(os.fstat(handle.fileno()))
            left = entry.size
            while left > 0 and (piece := handle.read(min(_PIECE, left))):
                digest.update(piece)
                left -= len(piece)
                if planned.rewritten is None:
                    _put(copy, piece)
            if planned.rewritten is not None:
                copy.write(planned.rewritten)
            copy.truncate(copy.tell())
            if left or not before == entry.signature == signature(os.fstat(handle.fileno())):
                case.findings.add("source-changed", entry.path)
    return digest.hexdigest()


def _put(copy: BinaryIO, piece: bytes) -> None:
    """Write a piece; where it is all zeros a hole is left, so that a sparse file of a few kilobytes takes no
    more here either.
    """
    if piece.count(0) == len(piece):
        copy.seek(len(piece), os.SEEK_CUR)
    else:
        copy.write(piece)


def _confirm(case: Case, folder: Path, values: bool) -> None:
    """The copy must pass the same rules as the source did, with the same tensors; then its values are
    read.
    """
    copy = gate.examine(folder)
    for target, planned in case.plan.items():
        path = planned.entry.path
        if path in case.headers and (
            target not in copy.headers or copy.headers[target].tensors != case.headers[path].tensors
        ):
            case.findings.add("source-changed", path)
    if copy.findings.has("error"):
        case.findings.add("source-changed", "", "The copy does not pass the rules that the source passed.")
    elif values:
        copy.findings = case.findings
        gate.scan_values(copy)
