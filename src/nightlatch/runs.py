"""The run folder: a manifest, keyed rows that survive a kill, records written whole or not at all, and one writer at a time."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from nightlatch.errors import NightlatchError, UsageError

R = TypeVar("R", bound=BaseModel)
PACKAGES = ("nightlatch", "torch", "diffusers", "transformers", "safetensors", "numpy")
MANIFEST, ROWS, LOCK = "run.json", "rows.jsonl", "run.lock"


class Run:
    """A run folder, open for writing by one process at a time.

    Args:
        path: the folder; made when it is not there.
        command: what the user typed, for the manifest; by default this process's command line.
        write: False opens an existing folder for reading only: no lock, no repair, no new file.

    Raises:
        UsageError: another run is writing into the folder, or (reading) there is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str], *, command: str = "", write: bool = True) -> None:
        self.path, self.writable = Path(path), write
        self._lock: IO[bytes] | None = None
        if write:
            _make_folder(self.path)
            self._lock = _acquire(self.path)
        elif not self.path.is_dir():
            raise UsageError(f"There is no run folder at {self.path}.", "Give the folder that an earlier command wrote.")
        try:
            self._rows = _read_rows(self.path / ROWS, repair=write)
            if write:
                _note_session(self.path / MANIFEST, command or command_line())
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
        line = _dumps({"key": key, "row": row})
        _append(self.path / ROWS, line.encode() + b"\n")
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
            UsageError: there is none.
        """
        try:
            loaded: dict[str, Any] = json.loads((self.path / MANIFEST).read_text("utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{self.path} is not a run folder.", "Give the folder that scan, clean or verify wrote.") from None
        return loaded

    def note(self, name: str, value: Any) -> None:
        """Keep ``value`` as ``name`` in the manifest."""
        self._must_write()
        write_whole(self.path / MANIFEST, json.dumps({**self.manifest(), name: value}, indent=2) + "\n")

    def write(self, name: str, record: BaseModel) -> Path:
        """Write a record as ``name``.json, whole or not at all."""
        self._must_write()
        path = self._record_path(name)
        write_whole(path, record.model_dump_json(indent=2) + "\n")
        return path

    def wrote(self, name: str) -> bool:
        """Whether the record ``name`` is in the folder."""
        return self._record_path(name).is_file()

    def drop(self, *names: str) -> None:
        """Remove the records ``names`` where they are: what they say is no longer about what the folder is going to hold."""
        self._must_write()
        for name in names:
            self._record_path(name).unlink(missing_ok=True)

    def read(self, name: str, kind: type[R]) -> R:
        """Read the record ``name`` back.

        Raises:
            UsageError: it is not there, or it is not a ``kind``.
        """
        path = self._record_path(name)
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise UsageError(f"{self.path} holds no {path.name}.", "Run the verb that writes it first.") from None
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file as a whole"
            sentence = f"{path} is not a readable {kind.__name__} (first problem: {where})."
            raise UsageError(sentence, "Run the verb that writes it again, with this version.") from error

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self.writable = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _must_write(self) -> None:
        if not self.writable:
            raise UsageError(f"{self.path} is closed or open for reading only.")

    def _record_path(self, name: str) -> Path:
        file = name if name.endswith(".json") else f"{name}.json"
        if Path(file).name != file or file.startswith(".") or file == MANIFEST or "\0" in file:
            raise UsageError(f"{name!r} is not a name for a record.", "Use a plain word such as 'verdict'.")
        return self.path / file


def key(identity: Mapping[str, Any]) -> str:
    """The key of a unit of work: 16 hex digits of the SHA-256 of its identity as canonical JSON."""
    text = _dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write to a temporary name in the same folder, flush, rename: a reader sees the old file or the new one, never half."""
    target = Path(path)
    _make_folder(target.parent)
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_figures(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], command: str, seed: int) -> None:
    """Write a table of results: one JSON list, one row per line, each starting with ``command``, ``seed``, ``commit``.

    A row that brings one of these three keys itself (its own seed, say) keeps its own value.
    """
    head = {"command": command, "seed": seed, "commit": commit()}
    lines = [_dumps({**head, **row}, ensure_ascii=False) for row in rows]
    write_whole(path, "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n")


def add_figure(path: str | os.PathLike[str], row: Mapping[str, Any], command: str, seed: int) -> None:
    """Add one row to a table of results, keeping the rows that are there."""
    before = json.loads(Path(path).read_text("utf-8")) if Path(path).is_file() else []
    write_figures(path, [*before, row], command, seed)


def command_line() -> str:
    """What the user typed, as one line that a shell understands; the program by its name, without its folder."""
    return shlex.join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Python and the packages that decide the result, without importing any of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def commit() -> str:
    """Short commit of the checkout that the package runs from, 'unknown' when it is installed or has no commit."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown" if done.returncode == 0 else "unknown"


def _plain(value: Any) -> Any:
    """Containers, records, numpy numbers and non-finite floats as what JSON has; non-finite ones as in the records: strings."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, BaseModel):
        return _plain(json.loads(value.model_dump_json()))
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _dumps(value: Any, *, sort_keys: bool = False, ensure_ascii: bool = True) -> str:
    separators = (",", ":") if sort_keys else (", ", ": ")
    return json.dumps(_plain(value), sort_keys=sort_keys, ensure_ascii=ensure_ascii, allow_nan=False, separators=separators)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{path} cannot be made a folder: a file is in the way.", "Choose another place.") from None


def _acquire(folder: Path) -> IO[bytes]:
    """The kernel drops the lock when the process ends, however it ends, so a lock is never stale."""
    file = (folder / LOCK).open("ab")
    try:
        _lock_file(file)
    except OSError:
        file.close()
        raise UsageError(f"Another run is writing into {folder}.", "Wait for it, or choose another folder.") from None
    return file


if sys.platform == "win32":
    import msvcrt

    def _lock_file(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock_file(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _append(path: Path, line: bytes) -> None:
    """One append and a flush; what a full disk or an interrupt leaves half-written is cut off again."""
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise NightlatchError(f"{path} could not take a whole row.", "Is the disk full?")
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise


def _read_rows(path: Path, *, repair: bool) -> dict[str, dict[str, Any]]:
    """Rows by key. A last line without its end is what a kill leaves: dropped, and with ``repair`` cut off the file."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            entry = json.loads(line)
            rows[str(entry["key"])] = dict(entry["row"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"Line {number} of {path} is damaged.", "Delete that line; its work is then done again.") from None
    if repair and whole < len(content):
        os.truncate(path, whole)
    return rows


def _note_session(path: Path, command: str) -> None:
    """The first run writes the manifest, each resumption adds itself."""
    now = {"command": command, "versions": versions(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        manifest = json.loads(path.read_text("utf-8"))
        manifest["resumed"] = [*manifest["resumed"], now]
    except FileNotFoundError:
        manifest = {**now, "resumed": []}
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is not the manifest of a run.", "Choose another folder.") from None
    write_whole(path, json.dumps(manifest, indent=2) + "\n")
