"""Private folders that name their process and are locked by it: what a killed process left behind is told
from what is in use.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"nightlatch-([1-9]\d{0,9})-[a-z0-9_]{8}")


def make(scratch: Path) -> tuple[Path, int]:
    """A new private folder (mode 0700) in ``scratch``, and the descriptor that holds its lock until it is
    closed.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"nightlatch-{os.getpid()}-", dir=scratch))
    try:
        lease = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(OSError):  # a file system without locks: the process id alone must do
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder, lease


def sweep(scratch: Path) -> None:
    """Remove this user's private folders in ``scratch`` whose process is gone and which nobody has locked;
    never raises OSError.
    """
    with suppress(OSError), os.scandir(scratch) as entries:
        for entry in entries:
            if (m := _NAME.fullmatch(entry.name)) and not _alive(int(m[1])):
                _remove(Path(entry.path))


def _remove(folder: Path) -> None:
    with suppress(OSError):
        lease = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(lease)
            if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lease)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
