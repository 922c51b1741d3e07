"""The run folder: a manifest, keyed rows that survive a kill, records written whole or not at all, and one
writer at a time.

``Run`` is the only writer of a run folder, pictures and report files included. What lies in one may come from
a stranger: everything is read and written through ``Folder``, which follows no link and reads nothing beyond
a limit.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from nightlatch.errors import UsageError
from nightlatch.folder import Folder
from nightlatch.provenance import command_line, dumps, now, versions
from nightlatch.schema import SCHEMA_VERSION

R = TypeVar("R", bound=BaseModel)
MANIFEST, ROWS, LOCK, PICTURES = "run.json", "rows.jsonl", "run.lock", "images"
MOST_RECORD, MOST_ROWS, MOST_PICTURE = 64 << 20, 512 << 20, 8_000_000
"""Bytes of a record, of all rows, and of one picture: a manifest of 100,000 files has 40 MB, a picture of
1024 x 1024 two or three.
"""
RECORDS = ("manifest", "computed", "verdict", "repair", "scorecard", "evidence")
"""What the verbs write into a run folder, in order; each is about what those before it say."""
_PICTURE = re.compile(r"[0-9a-z][0-9a-z._-]{0,99}\.png")


class Run:
    """A run folder, open for writing by one process at a time.

    Args:
        path: the folder; made when it is not there.
        command: what the user typed, for the manifest; by default this process's command line.
        write: False opens an existing folder for reading only: no lock, no repair, no new file.
        note: whether this command stands in the manifest; False opens an existing run only.

    Raises:
        UsageError: another run is writing into the folder, (reading) there is no such folder, or something in
            it is no regular file.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, command: str = "", write: bool = True, note: bool = True
    ) -> None:
        self.path, self.writable = Path(path), write
        self._lock = -1
        self._folder = Folder(self.path, make=write and note)
        try:
            if write:
                self._lock = self._acquire()
            self._rows = self._read_rows(repair=write)
            if write and note:
                self._note_session(command or command_line())
            elif write:
                self.manifest()
        except BaseException:
            self.close()
            raise

    def has(self, key: str) -> bool:
        """Whether a row with this key is there already, so that the work can be skipped."""
        return key in self._rows

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Append one row and flush it to the disk; a half-written row never stays behind.

        Raises:
            UsageError: the key is there already, or the folder is open for reading only.
        """
        self._must_write()
        if key in self._rows:
            raise UsageError(f"Row {key} is in {self.path / ROWS} already.", "Ask has(key) first.")
        line = dumps({"key": key, "row": row})
        self._folder.append(ROWS, line.encode() + b"\n")
        self._rows[key] = json.loads(line)["row"]

    def rows(self) -> list[dict[str, Any]]:
        """All rows, oldest first, as they read back from the file."""
        return list(self._rows.values())

    def row(self, key: str) -> dict[str, Any]:
        """The row with this key."""
        return self._rows[key]

    def manifest(self) -> dict[str, Any]:
        """Command, versions and start of the first run, and of each resumption.

        Raises:
            UsageError: there is none, or it is unusable.
        """
        try:
            loaded = json.loads(self._folder.read(MANIFEST, MOST_RECORD))
        except FileNotFoundError:
            raise UsageError(
                f"{self.path} is not a run folder.", "Give the folder that scan, clean or verify wrote."
            ) from None
        except (ValueError, RecursionError):
            loaded = None
        if not isinstance(loaded, dict) or not isinstance(loaded.get("resumed"), list):
            raise UsageError(
                f"{self.path / MANIFEST} is not the manifest of a run.", "Choose another folder."
            )
        return loaded

    def note(self, name: str, value: Any) -> None:
        """Keep ``value`` as ``name`` in the manifest."""
        self._must_write()
        self._folder.write(MANIFEST, json.dumps({**self.manifest(), name: value}, indent=2) + "\n")

    def write(self, name: str, record: BaseModel) -> Path:
        """Write a record as ``name``.json, whole or not at all."""
        return self.put(self._record(name), record.model_dump_json(indent=2) + "\n")

    def put(self, file: str, content: bytes | str) -> Path:
        """Write a file of that plain name, such as a view of the report, whole or not at all."""
        self._must_write()
        if file in (MANIFEST, ROWS, LOCK) or "/" in file:
            raise UsageError(f"{file!r} is not a name for a result.", "Use a plain word.")
        self._folder.write(file, content)
        return self.path / file

    def picture(self, file: str, png: bytes) -> str:
        """Write a picture; returns its path inside the run folder, as records name it."""
        self._must_write()
        name = self._picture(f"{PICTURES}/{file}")
        self._folder.write(name, png)
        return name

    def read_picture(self, name: str) -> bytes:
        """The picture of that path inside the run folder; b'' when it is missing or too large.

        Raises:
            UsageError: the path leaves the folder of pictures, or is no regular file.
        """
        try:
            return self._folder.read(self._picture(name), MOST_PICTURE)
        except FileNotFoundError:
            return b""

    def wrote(self, name: str) -> bool:
        """Whether the record ``name`` is in the folder, or something in its place that ``read`` refuses."""
        return self._folder.lists(self._record(name))

    def drop(self, *names: str) -> None:
        """Remove the records ``names`` where they are, and the pictures with the evidence: what they say is
        no longer about what the folder is going to hold."""
        self._must_write()
        for name in names:
            self._folder.remove(self._record(name))
        for file in self._folder.names(PICTURES) if "evidence" in names else ():
            if _PICTURE.fullmatch(file):
                self._folder.remove(f"{PICTURES}/{file}")

    def read(self, name: str, kind: type[R]) -> R:
        """Read the record ``name`` back.

        Raises:
            UsageError: it is not there, it is not a ``kind``, or another version of nightlatch wrote it.
        """
        file = self._record(name)
        path = self.path / file
        try:
            content = self._folder.read(file, MOST_RECORD)
        except FileNotFoundError:
            raise UsageError(f"{self.path} holds no {file}.", "Run the verb that writes it first.") from None
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file as a whole"
            sentence = f"{path} is not a readable {kind.__name__} (first problem: {where})."
            raise UsageError(sentence, "Run the verb that writes it again, with this version.") from error

    def sha256(self, name: str) -> str:
        """The hash of the record ``name``; '' when it is not there."""
        file = self._record(name)
        return (
            hashlib.sha256(self._folder.read(file, MOST_RECORD)).hexdigest() if self._folder.has(file) else ""
        )

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._folder.close()
        self.writable = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """A folder that was made for a command which then failed before its first result is taken away
        again.
        """
        if error is not None and self._folder.made and set(self._folder.names()) <= {MANIFEST, LOCK}:
            self._folder.remove(MANIFEST)
            self._folder.remove(LOCK)
            with suppress(OSError):
                self.path.rmdir()
        self.close()

    def _must_write(self) -> None:
        if not self.writable:
            raise UsageError(f"{self.path} is closed or open for reading only.")

    def _record(self, name: str) -> str:
        file = name if name.endswith(".json") else f"{name}.json"
        if not re.fullmatch(r"[a-zA-Z0-9][\w. -]*", file) or file == MANIFEST:
            raise UsageError(f"{name!r} is not a name for a record.", "Use a plain word such as 'verdict'.")
        return file

    def _picture(self, name: str) -> str:
        folder, _, file = name.partition("/")
        if folder != PICTURES or not _PICTURE.fullmatch(file):
            raise UsageError(
                f"The picture path {name!r} leaves the run folder.", "Only its own pictures are shown."
            )
        return name

    def _acquire(self) -> int:
        """The kernel drops the lock when the process ends, however it ends, so a lock is never stale."""
        handle = self._folder.handle(LOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise UsageError(
                f"Another run is writing into {self.path}.", "Wait for it, or choose another folder."
            ) from None
        return handle

    def _read_rows(self, *, repair: bool) -> dict[str, dict[str, Any]]:
        """Rows by key. A last line without its end is what a kill leaves: dropped, and with ``repair`` cut
        off the file.
        """
        try:
            content = self._folder.read(ROWS, MOST_ROWS)
        except FileNotFoundError:
            return {}
        whole = content.rfind(b"\n") + 1
        rows: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                entry = json.loads(line)
                rows[str(entry["key"])] = dict(entry["row"])
            except (ValueError, KeyError, TypeError, RecursionError):
                sentence = f"Line {number} of {self.path / ROWS} is damaged."
                raise UsageError(sentence, "Delete that line; its work is then done again.") from None
        if repair and whole < len(content):
            self._folder.cut(ROWS, whole)
        return rows

    def _note_session(self, command: str) -> None:
        """The first run writes the manifest, each resumption adds itself."""
        session = {"command": command, "versions": versions(), "started": now()}
        if self._folder.has(MANIFEST):
            manifest = self.manifest()
            manifest["resumed"] = [*manifest["resumed"], session][-1_000:]
        else:
            manifest = {"schema": SCHEMA_VERSION, **session, "resumed": []}
        self._folder.write(MANIFEST, json.dumps(manifest, indent=2) + "\n")


def key(identity: Mapping[str, Any]) -> str:
    """The key of a unit of work: 16 hex digits of the SHA-256 of its identity as canonical JSON."""
    return hashlib.sha256(dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
