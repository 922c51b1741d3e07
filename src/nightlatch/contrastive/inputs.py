"""What a user names beside the model: trusted pairs, suspicious pairs, and a list of those that are
poisoned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightlatch.contrastive import table
from nightlatch.contrastive.find import FINDERS
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.errors import UsageError

FINDER = "common-cause"
"""What looks for poison when nobody says which finder: it needs no clean model."""
NAMED = 0.005
"""Share of suspicious pairs that is taken for poison when no list is given: about the least with which
attacks of the literature work.
"""
FEWEST = 4
KINDS = {"trusted": "--trusted", "pairs": "--pairs", "poison": "--poison"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Pairs at the model's size; ``poison`` are the suspicious pairs that are named or found, None without
    suspicious pairs.
    """

    trusted: Pairs
    poison: Pairs | None = None

    @classmethod
    def read(cls, files: Mapping[str, Path], subject: Subject, seed: int) -> Inputs:
        """From the files that the user names.

        Raises:
            UsageError: no trusted pairs, a list without the pairs that it is about, or a list that names
                none of them.
            UnreadableModel: a file is no set of pairs.
        """
        if "trusted" not in files:
            raise UsageError(
                "An image-text model is cleaned and measured with trusted pairs.",
                "Name a folder of them with --trusted.",
            )
        trusted = table.read(files["trusted"], subject.size)
        if "pairs" not in files:
            if "poison" in files:
                raise UsageError(
                    "--poison lists pairs of a set that is not given.", "Name the set with --pairs."
                )
            return cls(trusted=trusted)
        pairs = table.read(files["pairs"], subject.size)
        if "poison" in files:
            return cls(trusted=trusted, poison=named(pairs, files["poison"]))
        found = FINDERS.create(FINDER)(subject, pairs, seed)
        return cls(trusted=trusted, poison=pairs.at(found.top(max(FEWEST, round(NAMED * len(pairs))))))

    def halves(self, seed: int) -> tuple[Inputs, Inputs]:
        """(what a repair may see, what only verification sees)."""
        kept, rest = self.trusted.split(0.5, seed)
        if self.poison is None:
            return Inputs(trusted=kept), Inputs(trusted=rest)
        mine, theirs = self.poison.split(0.5, seed)
        return Inputs(trusted=kept, poison=mine), Inputs(trusted=rest, poison=theirs)


def named(pairs: Pairs, file: Path) -> Pairs:
    """The pairs that a list names: lines of JSON with "name" (as 'data scan' writes them) or plain names.

    Raises:
        UsageError: it cannot be read, or names none of them.
    """
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{file} cannot be read as text.", "Give the list that 'data scan' wrote.") from e
    listed = {_name(line) for line in lines}
    rows = [i for i, name in enumerate(pairs.names) if name in listed]
    if len(rows) < 2:
        raise UsageError(
            f"{file} names {len(rows)} of the {len(pairs)} pairs.",
            "It must list at least two, by their names.",
        )
    return pairs.at(rows)


def _name(line: str) -> str:
    try:
        value = json.loads(line)
    except ValueError:
        return line
    return str(value.get("name", "")) if isinstance(value, dict) else line
