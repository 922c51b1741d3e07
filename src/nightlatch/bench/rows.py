"""Rows by what they are about: made once, kept as soon as they exist, tried again where they failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from nightlatch import provenance, runs
from nightlatch.errors import NightlatchError

Say = Callable[[str], None]
Row = dict[str, Any]


class Store(Protocol):
    """Where rows are kept: a run folder, or the process that holds it."""

    def has(self, key: str) -> bool:
        """Whether the row is there."""

    def row(self, key: str) -> dict[str, Any]:
        """The row."""

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one experiment.

    Args:
        store: where they are kept.
        about: what all of them depend on, beside what each is about.
        extra: what each is given that it does not depend on, such as device and threads.
        say: called when one is begun and when one fails.
        failures: one sentence for each that failed.
    """

    store: Store
    about: Mapping[str, Any]
    say: Say
    extra: Mapping[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def known(self, identity: Mapping[str, Any]) -> Row:
        """The row of ``identity``; empty where it was not made."""
        key = runs.key({**identity, **self.about})
        return self.store.row(key) if self.store.has(key) else {}

    def row(self, identity: Mapping[str, Any], make: Callable[[], Row]) -> Row:
        """The row of ``identity``, made now unless it is there; empty where that failed, which is said and
        counted.
        """
        if known := self.known(identity):
            return known
        key = runs.key({**identity, **self.about})
        self.say(" ".join(str(v) for v in identity.values()))
        try:
            made = {"commit": provenance.commit(), **self.extra, **make()}
            self.store.add(key, {**identity, **self.about, **made})
        except (NightlatchError, RuntimeError, ValueError) as e:
            self.failures.append(f"{' '.join(map(str, identity.values()))}: {type(e).__name__}: {e}")
            self.say(self.failures[-1])
            return {}
        return self.store.row(key)
