"""What lies in the source: walked without following a link, bounded, classified by content, never read
outside.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import islice
from pathlib import Path, PurePosixPath

from nightlatch.intake.files import collisions, kinds
from nightlatch.intake.findings import Findings
from nightlatch.safetext import show, steers

MAX_ENTRIES = 5_000
MAX_DEPTH = 8
MAX_NAME = 255
"""Bytes of one name; no file system here has longer ones, and web interfaces name pictures by their
prompts.
"""
MAX_TOTAL = 1 << 40
MAX_GLANCE = 2_000
NOT_ENTERED = frozenset({".git", ".cache"})
_SHARED_BLOB = re.compile(r"[0-9a-f]{64}")
_MARKUP = re.compile(r"[<>\"`|\\]|^[=+@-][A-Za-z(][^!(]{0,300}[!(]")
"""Markup, and what a spreadsheet would compute."""

_SPECIAL = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFBLK: "device", stat.S_IFCHR: "device"}

Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the source. ``root`` and ``inner`` say where its bytes are (a Hub cache keeps them under
    'blobs').
    """

    path: str
    size: int
    kind: str
    root: Path
    inner: str
    signature: Signature

    def open(self) -> BufferedReader:
        """The regular file, opened for reading without following any link.

        Raises:
            OSError: it is gone, is a link now, or is not a regular file any more.
        """
        return open_regular(self.root, self.inner)

    @property
    def parent(self) -> str:
        """Folder inside the source, '' at the top."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Inventory:
    """All entries by path, where links inside the source lead (both relative), and whether the walk had to
    stop.
    """

    root: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    total: int = 0
    stopped: bool = False

    def files(self, folder: str) -> Iterator[Entry]:
        """Entries directly inside ``folder`` ('' is the top)."""
        return (e for e in self.entries.values() if e.parent == folder)


def walk(root: Path, findings: Findings) -> Inventory:
    """The inventory of the folder ``root``; defects go to ``findings``."""
    inventory = Inventory(root)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _walk(inventory, descriptor, "", findings)
    finally:
        os.close(descriptor)
    inventory.entries = dict(sorted(inventory.entries.items()))
    collisions.ambiguous(inventory.entries, findings)
    collisions.circles(inventory.links, findings)
    return inventory


def open_regular(root: Path, inner: str) -> BufferedReader:
    """``root``/``inner`` opened component by component, so that no link is followed and no FIFO waits.

    Raises:
        OSError: not there, a link on the way, or not a regular file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, name = PurePosixPath(inner).parts
        for folder in folders:
            below = os.open(folder, flags | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        descriptor = os.open(name, flags | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)
    handle = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        handle.close()
        raise OSError("not a regular file")
    return handle


def signature(status: os.stat_result) -> Signature:
    """What changes when a file does: device, inode, size, modification and change time."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _walk(inventory: Inventory, descriptor: int, prefix: str, findings: Findings) -> None:
    with os.scandir(descriptor) as listing:
        for item in listing:
            path = prefix + item.name
            if not _within_limits(inventory, path, item.name, findings):
                return
            try:
                entry = _entry(inventory, descriptor, item, path, findings)
            except OSError:
                findings.add("unreadable", path)
                continue
            inventory.entries[path] = entry
            inventory.total += entry.size if entry.kind not in ("link", "folder") else 0
            if inventory.total > MAX_TOTAL:
                findings.add("inventory-limit", "", "Its files are larger than 1 TiB together.")
                inventory.stopped = True
            elif entry.kind == "folder":
                below = _open_folder(item.name, descriptor)
                try:
                    if item.name in NOT_ENTERED:
                        _glance(below, path, findings)
                    else:
                        _walk(inventory, below, path + "/", findings)
                finally:
                    os.close(below)
            if inventory.stopped:
                return


def _open_folder(name: str, descriptor: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)


def _glance(descriptor: int, folder: str, findings: Findings) -> None:
    """A tool's own folder: only names are read, the first 2,000, and those of weights become findings."""
    seen = 0
    with closing(_names(descriptor, f"{folder}/", 0)) as names:
        for path in islice(names, MAX_GLANCE):
            seen += 1
            if path.lower().endswith((".safetensors", "/adapter_config.json")):
                findings.add("extra-weights", path, "It lies in a folder that is not looked into.")
            elif kinds.is_weights_name(path):
                findings.add(
                    "unused-pickle", path, "Its name is a pickle's, in a folder that is not looked into."
                )
    more = f"; only the first {MAX_GLANCE:,} names in it were read" if seen == MAX_GLANCE else ""
    findings.add("not-entered", folder, f"'{show(folder, 60)}' is not looked into{more}.")


def _names(descriptor: int, prefix: str, depth: int) -> Generator[str, None, None]:
    """Paths of everything below a folder, links not followed, at most ``MAX_DEPTH`` levels deep."""
    with os.scandir(descriptor) as listing:
        for item in listing:
            yield prefix + item.name
            if depth >= MAX_DEPTH or not item.is_dir(follow_symlinks=False):
                continue
            try:
                below = _open_folder(item.name, descriptor)
            except OSError:
                continue
            try:
                yield from _names(below, f"{prefix}{item.name}/", depth + 1)
            finally:
                os.close(below)


def _within_limits(inventory: Inventory, path: str, name: str, findings: Findings) -> bool:
    reason = ""
    if len(inventory.entries) >= MAX_ENTRIES:
        reason = f"It holds more than {MAX_ENTRIES:,} files and folders."
    elif path.count("/") >= MAX_DEPTH:
        reason = f"Its folders are nested more than {MAX_DEPTH} levels deep."
    elif len(os.fsencode(name)) > MAX_NAME:
        reason = f"A name is longer than {MAX_NAME} bytes: '{show(name, 40)}'."
    elif any("\udc80" <= c <= "\udcff" for c in name):
        reason = f"A name is not UTF-8: '{show(name, 40)}'."
    if reason:
        findings.add("inventory-limit", "", reason)
        inventory.stopped = True
    elif steers(name) or _MARKUP.search(name):
        findings.add(
            "odd-name", path, f"The name '{show(name, 60)}' holds invisible, markup or formula characters."
        )
    return not reason


def _entry(
    inventory: Inventory, descriptor: int, item: os.DirEntry[str], path: str, findings: Findings
) -> Entry:
    root, status = inventory.root, item.stat(follow_symlinks=False)
    mode, marks = status.st_mode, signature(status)
    if stat.S_ISREG(mode):
        return Entry(
            path, status.st_size, _content_kind(root, path, item.name, status.st_size), root, path, marks
        )
    if stat.S_ISDIR(mode):
        return Entry(path, 0, "folder", root, path, marks)
    if stat.S_ISLNK(mode):
        return _link(inventory, path, os.readlink(item.name, dir_fd=descriptor), marks, findings)
    kind = _SPECIAL.get(stat.S_IFMT(mode), "special")
    findings.add("special-file", path, f"It is a {kind}, not a file.")
    return Entry(path, 0, kind, root, path, marks)


def _link(inventory: Inventory, path: str, target: str, marks: Signature, findings: Findings) -> Entry:
    """A link is never followed, except from a Hub snapshot to a blob of the same repository."""
    root = inventory.root
    joined = os.path.normpath(os.path.join(root, os.path.dirname(path), target))
    repository = root.parent.parent
    blob = Path(joined)
    if (
        root.parent.name == "snapshots"
        and repository.name.startswith("models--")
        and blob.parent == repository / "blobs"
    ):
        store, inner = _blob(repository, blob.name)
        with open_regular(store, inner) as handle:
            status = os.fstat(handle.fileno())
            kind = kinds.classify(path, handle.read(kinds.HEAD), status.st_size)
        return Entry(path, status.st_size, kind, store, inner, signature(status))
    if os.path.isabs(target) or not f"{joined}/".startswith(f"{root}/"):
        findings.add("link-outside", path)
    else:
        inventory.links[path] = os.path.relpath(joined, root)
        findings.add("link-inside", path)
    return Entry(path, 0, "link", root, path, marks)


def _blob(repository: Path, name: str) -> tuple[Path, str]:
    """Where a Hub cache keeps the bytes of a blob, as root and path below it.

    That is the repository's own folder, or, since huggingface_hub 2, a store that all repositories of the
    cache share.
    """
    inner = f"blobs/{name}"
    try:
        target = Path(os.path.normpath(repository / "blobs" / os.readlink(repository / inner)))
    except OSError:
        return repository, inner
    shared = f"blobs/{target.name[:2]}/{target.name}"
    if _SHARED_BLOB.fullmatch(target.name) and target == repository.parent / shared:
        return repository.parent, shared
    return repository, inner


def _content_kind(root: Path, path: str, name: str, size: int) -> str:
    with open_regular(root, path) as handle:
        return kinds.classify(name, handle.read(kinds.HEAD), size)


def single(path: Path, name: str) -> Inventory:
    """The inventory of one regular file, without its neighbours; ``name`` is what the user calls it.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path.parent, path.name) as handle:
        status = os.fstat(handle.fileno())
        kind = kinds.classify(name, handle.read(kinds.HEAD), status.st_size)
    entry = Entry(name, status.st_size, kind, path.parent, path.name, signature(status))
    return Inventory(path.parent, {name: entry}, total=status.st_size)
