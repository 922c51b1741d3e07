"""Where a bad input is built: a copy of the honest model, a folder outside with a secret, and a place for the
marker.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from intake_fixtures import load_tensors, pack

SECRET = "the-secret-of-another-file"


@dataclass
class Arena:
    """``source`` is what gets checked: the model folder unless a builder says otherwise."""

    arena: Path
    built: Path

    def __post_init__(self) -> None:
        self.model = Path(shutil.copytree(self.built / "pipeline", self.arena / "model"))
        self.source: Path | str = self.model
        self.marker, self.outside = self.arena / "marker", self.arena / "outside"
        self.outside.mkdir()
        self.secret = self.outside / "secret.txt"
        self.secret.write_text(f'{{"{SECRET}": "{SECRET}"')

    def file(self, name: str) -> Path:
        return self.model / name

    def write(self, name: str, data: bytes) -> Path:
        path = self.file(name)
        path.write_bytes(data)
        return path

    def sparse(self, name: str, size: int, start: bytes = b"") -> Path:
        """A file of ``size`` bytes that takes no room on the disk."""
        path = self.file(name)
        with path.open("wb") as f:
            f.write(start)
            f.truncate(size)
        return path

    def split(self, folder: str, stem: str) -> None:
        """Replace the single weights file by two shards with a correct index."""
        single = self.file(f"{folder}/{stem}.safetensors")
        items = list(load_tensors(single).items())
        single.unlink()
        table = {}
        for i, part in enumerate((items[::2], items[1::2]), start=1):
            name = f"{stem}-{i:05d}-of-00002.safetensors"
            self.write(f"{folder}/{name}", pack(dict(part)))
            table |= {tensor: name for tensor, _ in part}
        value = {"metadata": {"total_size": 1}, "weight_map": table}
        self.write(f"{folder}/{stem}.safetensors.index.json", json.dumps(value).encode())


def hears_interrupts() -> None:
    """Called in a child before it starts: a shell's background jobs ignore Ctrl-C, and their children with
    them.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class BadInput:
    """One row: the number in the list of known bad inputs (or 'own'), the rule that must name it, the exit
    code.
    """

    number: str
    rule: str
    code: int
    name: str
    build: Callable[[Arena], None]


CASES: list[BadInput] = []


def bad(
    number: str, rule: str, code: int = 2, *, name: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a builder."""

    def register(build: Callable[..., None]) -> Callable[..., None]:
        CASES.append(BadInput(number, rule, code, name or build.__name__, build))
        return build

    return register
