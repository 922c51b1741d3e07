"""How much memory this process may still take: what the system says is free, within its container's limit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_CONTAINERS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""Limit and use, of control groups of the second and of the first version."""


def free() -> int | None:
    """Bytes; None where the system does not say."""
    found = [n for n in (_of_system(), *(_of_container(*paths) for paths in _CONTAINERS)) if n is not None]
    return min(found, default=None)


def _of_system() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        lines = _SYSTEM.read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    return None


def _of_container(limit: Path, used: Path) -> int | None:
    with suppress(OSError, ValueError):
        return max(0, int(limit.read_text()) - int(used.read_text()))
    return None
