"""One small generic registry: parts by name, near-name errors, and parts from other packages by entry
point.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from nightlatch.errors import UsageError
from nightlatch.records import Part

T = TypeVar("T")
ENTRY_POINTS = "nightlatch.parts"
"""The group in which another package names its modules that register parts."""


class Registry(Generic[T]):
    """Names of one kind of part (attacks, repairs, ...) to keyword-only frozen dataclasses.

    Args:
        kind: what a part is called, in the singular.
        base: the class that all parts derive from.
        elsewhere: parts by name and the module that registers them, imported when they are asked for.
    """

    def __init__(self, kind: str, base: type[T], elsewhere: Mapping[str, str] | None = None) -> None:
        self.kind, self.base, self.elsewhere = kind, base, dict(elsewhere or {})
        self._parts: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator, above ``@dataclass``; refuses a second part of the same name and one that is no
        keyword-only frozen dataclass of the base.

        Raises:
            ValueError: there is a part of that name.
            TypeError: it is no such dataclass.
        """

        def add(part: type[T]) -> type[T]:
            if name in self._parts:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            if not issubclass(part, self.base):
                raise TypeError(f"{self.kind} {name!r} must derive from {self.base.__name__}")
            made = vars(part).get("__dataclass_params__")
            if made is None or not made.frozen or not all(f.kw_only for f in dataclasses.fields(part)):  # type: ignore[arg-type]
                raise TypeError(f"{self.kind} {name!r} must be a dataclass(frozen=True, kw_only=True)")
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

    def find(self, name: str) -> type[T]:
        """The class of that name.

        Raises:
            UsageError: there is none; names the nearest.
        """
        if name not in self._parts and name in self.elsewhere:
            import_module(self.elsewhere[name])
        if name not in self._parts:
            plug_ins()
        if name not in self._parts:
            raise UsageError(f"There is no {self.kind} {name!r}.", _nearest(name, list(self.names())))
        return self._parts[name]

    def names(self) -> tuple[str, ...]:
        """All names, those of other packages included."""
        plug_ins()
        return tuple(dict.fromkeys([*self._parts, *self.elsewhere]))

    def __iter__(self) -> Iterator[type[T]]:
        return (self.find(name) for name in self.names())


@cache
def plug_ins() -> tuple[str, ...]:
    """Import what other packages offer, once; returns a sentence on each module that could not be imported,
    for a part must not fail quietly.
    """
    failed = []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: (p.name, p.value)):
        try:
            point.load()
        except Exception as e:
            failed.append(
                f"The parts {point.name!r} of {point.value} cannot be loaded: {type(e).__name__}: {e}."
            )
    return tuple(failed)


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


def describe(part: type[Any]) -> str:
    """A line for people: the name, the docstring's first paragraph, and the package where it is another
    one.
    """
    about = " ".join((part.__doc__ or "").strip().partition("\n\n")[0].split())
    package = part.__module__.partition(".")[0]
    foreign = "" if package == "nightlatch" else f" [{package}]"
    return f"{part.name:24}{about}{foreign}"
