"""One small generic registry: parts by name, near-name errors, and parts from other packages by entry point."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from nightlatch.errors import UsageError
from nightlatch.records import Part

T = TypeVar("T")
ENTRY_POINTS = "nightlatch.parts"


class Registry(Generic[T]):
    """Names of one kind of part (attacks, repairs, ...) to keyword-only frozen dataclasses."""

    def __init__(self, kind: str, base: type[T]) -> None:
        self.kind, self.base = kind, base
        self._parts: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator; refuses a second part of the same name and one that is not a frozen dataclass of the base."""

        def add(part: type[T]) -> type[T]:
            if name in self._parts:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            if not issubclass(part, self.base):
                raise TypeError(f"{self.kind} {name!r} must derive from {self.base.__name__}")
            part.name = name  # type: ignore[attr-defined]
            self._parts[name] = part
            return part

        return add

    def create(self, name: str, **parameters: Any) -> T:
        """A part with its parameters.

        Raises:
            UsageError: no such part, or no such parameter; names the nearest.
        """
        part = self.find(name)
        known = [f.name for f in dataclasses.fields(part)]  # type: ignore[arg-type]
        for given in parameters:
            if given not in known:
                raise UsageError(f"{name} has no parameter {given!r}.", _nearest(given, known))
        return part(**parameters)

    def names(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def __iter__(self) -> Iterator[type[T]]:
        return iter(self._parts.values())

    def find(self, name: str) -> type[T]:
        if name not in self._parts and ":" in name:
            for point in entry_points(group=ENTRY_POINTS, name=name):
                point.load()
        if name not in self._parts:
            raise UsageError(f"There is no {self.kind} {name!r}.", _nearest(name, list(self._parts)))
        return self._parts[name]


def part_of(part: Any) -> Part:
    """The identity of a part, to be written into records: name, parameters, version."""
    return Part(name=part.name, parameters=dict(_parameters(part)), version=getattr(part, "version", "1"))


def _parameters(part: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a part; those of a group of numbers that it holds follow as ``group.field``."""
    for name in (f.name for f in dataclasses.fields(part)):
        value = getattr(part, name)
        if dataclasses.is_dataclass(value):
            yield from _parameters(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else str(value)


def _nearest(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}."
