"""The files of a folder that a stranger may have made: regular files only, no link followed, nothing waited
for, nothing read beyond a limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nightlatch.errors import NightlatchError, NotWritten, UsageError

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
ODD = "Delete it, or choose another run folder."


class Folder:
    """A folder whose files are reached by plain names, at most one folder deep (``images/00-clean.png``).

    Args:
        path: may be a link itself, since the user named it; what lies inside may not.
        make: make it where it is not there.

    Raises:
        UsageError: there is no such folder, or it cannot be made.
    """

    def __init__(self, path: Path, make: bool = False) -> None:
        self.path, self.made = path, False
        if make:
            self.made = not path.exists()
            make_folder(path)
        elif not path.is_dir():
            raise UsageError(
                f"There is no run folder at {path}.", "Give the folder that an earlier command wrote."
            )
        self._fd = os.open(path, _FOLDER)

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def has(self, name: str) -> bool:
        """Whether ``name`` is a regular file here."""
        try:
            with self._place(name) as (fd, last):
                return stat.S_ISREG(os.stat(last, dir_fd=fd, follow_symlinks=False).st_mode)
        except (OSError, UsageError):
            return False

    def lists(self, name: str) -> bool:
        """Whether anything at all is called ``name`` here; reading it says so where it is no regular file."""
        try:
            with self._place(name) as (fd, last):
                os.stat(last, dir_fd=fd, follow_symlinks=False)
        except (OSError, UsageError):
            return False
        return True

    def read(self, name: str, limit: int) -> bytes:
        """The content of ``name``.

        Raises:
            FileNotFoundError: it is not here.
            UsageError: it is a link, a pipe or another thing that is no regular file, or larger than
                ``limit`` bytes.
        """
        with self._place(name) as (fd, last):
            opened = self._open(last, _READ, fd, name)
            with os.fdopen(opened, "rb") as file:
                if os.fstat(opened).st_size > limit:
                    raise UsageError(f"{self.path / name} is larger than {limit >> 20} MB.", ODD)
                return file.read(limit)

    def write(self, name: str, content: bytes | str) -> None:
        """Write ``name`` whole or not at all; a link of that name is replaced, not followed.

        Raises:
            NotWritten: there is no room, or something is in the way.
        """
        data = content.encode() if isinstance(content, str) else content
        with self._place(name, make=True) as (fd, last):
            temporary = f".{last[:100]}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
            try:
                opened = os.open(
                    temporary,
                    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o666,
                    dir_fd=fd,
                )
                with os.fdopen(opened, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(opened)
                os.replace(temporary, last, src_dir_fd=fd, dst_dir_fd=fd)
            except OSError as e:
                raise NotWritten(
                    f"{self.path / name} cannot be written: {e.strerror}.", "Free some room there."
                ) from e
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=fd)

    def append(self, name: str, line: bytes) -> None:
        """One append and a flush; what a full disk or an interrupt leaves half-written is cut off again.

        Raises:
            UsageError: ``name`` is no regular file of this folder alone.
            NightlatchError: it could not take the whole line.
        """
        with self._place(name) as (fd, last):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(self._open(last, flags, fd, name, alone=True), "ab", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                try:
                    if file.write(line) != len(line):
                        raise NightlatchError(
                            f"{self.path / name} could not take a whole row.", "Is the disk full?"
                        )
                    os.fsync(file.fileno())
                except BaseException:
                    file.truncate(before)
                    raise

    def cut(self, name: str, length: int) -> None:
        """Keep the first ``length`` bytes of ``name``.

        Raises:
            UsageError: it is no regular file of this folder alone.
        """
        with self._place(name) as (fd, last):
            opened = self._open(
                last, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, fd, name, alone=True
            )
            try:
                os.ftruncate(opened, length)
            finally:
                os.close(opened)

    def remove(self, name: str) -> None:
        """Remove ``name``, or the link of that name, where it is."""
        with suppress(FileNotFoundError), self._place(name) as (fd, last):
            os.unlink(last, dir_fd=fd)

    def names(self, inside: str = "") -> list[str]:
        """What lies here, or in the folder ``inside``; [] when there is none."""
        try:
            with self._place(f"{inside}/." if inside else ".") as (fd, _):
                return sorted(os.listdir(fd))
        except FileNotFoundError:
            return []

    def handle(self, name: str) -> int:
        """A descriptor of the file ``name``, made where it is not there; for locks.

        Raises:
            UsageError: it is no regular file of this folder alone.
        """
        with self._place(name) as (fd, last):
            return self._open(
                last,
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                fd,
                name,
                alone=True,
            )

    def _open(self, last: str, flags: int, fd: int, name: str, alone: bool = False) -> int:
        try:
            opened = os.open(last, flags, 0o666, dir_fd=fd)
        except FileNotFoundError:
            raise
        except OSError as e:
            raise UsageError(f"{self.path / name} cannot be opened: {e.strerror}.", ODD) from e
        seen = os.fstat(opened)
        if not stat.S_ISREG(seen.st_mode) or (alone and seen.st_nlink != 1):
            os.close(opened)
            raise UsageError(f"{self.path / name} is no regular file of this folder alone.", ODD)
        return opened

    @contextmanager
    def _place(self, name: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """(descriptor of the folder that ``name`` lies in, its last part).

        Raises:
            UsageError: the name leaves the folder, or the folder on the way is a link or a file.
            FileNotFoundError: that folder is not there.
        """
        parts = name.split("/")
        if not 1 <= len(parts) <= 2 or any(
            p in ("", "..") or "\\" in p or ":" in p or "\0" in p for p in parts
        ):
            raise UsageError(
                f"The path {name!r} leaves the run folder.", "Only files inside the run folder are used."
            )
        if len(parts) == 1:
            yield self._fd, name
            return
        if make:
            with suppress(FileExistsError):
                os.mkdir(parts[0], dir_fd=self._fd)
        try:
            inner = os.open(parts[0], _FOLDER | os.O_NOFOLLOW, dir_fd=self._fd)
        except FileNotFoundError:
            raise
        except OSError as e:
            raise UsageError(f"{self.path / parts[0]} is no real folder.", ODD) from e
        try:
            yield inner, parts[1]
        finally:
            os.close(inner)


def make_folder(path: Path) -> None:
    """Make ``path`` with all that lies above it.

    Raises:
        UsageError: a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            f"{path} cannot be made a folder: a file is in the way.", "Choose another place."
        ) from None


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write to a temporary name in the same folder, flush, rename: a reader sees the old file or the new one,
    never half.

    Raises:
        UsageError, NotWritten: the folder cannot be made, or the file cannot be written there.
    """
    target = Path(path)
    folder = Folder(target.parent, make=True)
    try:
        folder.write(target.name, content)
    finally:
        folder.close()
