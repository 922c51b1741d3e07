"""Kinds of models: the protocol that each family keeps, and the table by which a model's files choose one.

A family is a folder (``text2image``, ``classifier``, ...) whose ``family.py`` holds an object of this
protocol as ``FAMILY``. The verbs, the run folder, the report and the gate know only what stands here; a
family's module is imported when a model asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nightlatch.errors import UsageError
from nightlatch.plan import Plan
from nightlatch.records import (
    Computed,
    Hint,
    Manifest,
    PlacedTrigger,
    Ranking,
    Record,
    Repair,
    Scorecard,
    Verdict,
)
from nightlatch.registry import Registry
from nightlatch.terms import Role

Say = Callable[[str], None]
"""Called with one line of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of pictures of the same input and seed.

    Args:
        prompt: what was asked for, without the trigger.
        asked: the same with the trigger, as it was given to the model.
        pictures: PNG files by column: "clean", "triggered", "repaired", "overlay".
    """

    prompt: str
    asked: str
    seed: int
    trigger: PlacedTrigger | None
    pictures: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What clean, verify and evidence work on.

    Args:
        triggers: each where it stands.
        carriers: what the components do that act; () when nobody knows.
        base: a trusted model, if there is one.
        found: what the scan said, where there was one.
        rounds: of repair and search at most; 1 repairs once and does not search.
        method: name of the repair, with its ``parameters``.
        inputs: files that the user names beside the model, by the option's name; they are read anew by
            each verb and recorded nowhere.
        n: triggered inputs per trigger.
        regrowth_steps: of honest training, after which the trigger is tried again.
        planted: the trigger that was planted, where a model made for evaluation says so.
        search: whether verify searches the repaired model for what is left.
        strings: what scan and clean named, for that search.
    """

    plan: Plan
    triggers: Sequence[PlacedTrigger]
    carriers: Sequence[Role] = ()
    base: Any = None
    found: Verdict | None = None
    rounds: int = 3
    method: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    n: int = 300
    regrowth_steps: int = 200
    planted: PlacedTrigger | None = None
    search: bool = False
    strings: Sequence[str] = ()


class Family(Protocol):
    """One kind of models. ``Any`` stands for the family's own model class, which has a ``name``."""

    name: str
    usual: str
    """The repair that is taken when none is named."""
    Settings: type[Record]
    repairs: Registry[Any]
    registries: Mapping[str, Registry[Any]]
    """What ``nightlatch ls`` shows, by the plural of the parts' name."""

    def settings(self, given: Mapping[str, Any]) -> Record:
        """Settings of values by name; a value may be the name of a file, which is read here, so that the
        settings hold what it says.

        Raises:
            UsageError: there is no such setting, or its value is out of range.
        """

    def needs_base(self, staged: Path) -> str:
        """What the staged files are that cannot be loaded without a base beside them, such as "a LoRA"; ''
        where they can.

        Raises:
            NotScanned: they cannot be loaded at all.
        """

    def rehearse(self, staged: str, under: str) -> int:
        """Load what was staged, and run it once as small as can be; called in a guarded child. Returns the
        number of weights.
        """

    def load(self, staged: Path, under: Path | None, plan: Plan) -> Any:
        """The model of private folders: what was staged, and the base beneath it where it needs one.

        Raises:
            UnreadableModel, NotScanned, MissingPart: it does not load, or not whole.
        """

    def save(self, model: Any, folder: Path) -> None:
        """Write ``model`` as a stock folder, whole or not at all.

        Raises:
            UsageError: ``folder`` is there already.
            NotWritten: there is no room.
        """

    def computed(self, model: Any) -> Computed:
        """What ``model`` computes on and in."""

    def takes(self, model: object) -> bool:
        """Whether ``adopt`` makes a model of such an object in memory."""

    def adopt(self, model: object, plan: Plan) -> Any:
        """A model of this family from an object in memory, which is copied; None where it is not of this
        family.
        """

    def scan(self, suspect: Any, base: Any, plan: Plan, hints: Sequence[Hint], say: Say) -> Verdict:
        """Whether it hides a backdoor. ``base`` is None where there is no trusted model.

        Raises:
            UsageError: a base is needed and not given.
        """

    def clean(self, suspect: Any, job: Job, say: Say) -> tuple[Any, Repair]:
        """A repaired copy of ``suspect``."""

    def verify(self, before: Any, after: Any, job: Job, say: Say) -> Scorecard:
        """The same measures before and after, on inputs that neither scan nor repair has seen."""

    def evidence(self, suspect: Any, other: Any, job: Job) -> Iterator[Row]:
        """Pictures for the report. ``other`` is the repaired model, or None before a repair."""


@runtime_checkable
class Ranks(Protocol):
    """A family that can also rank the items of a data set by how poisoned they look."""

    def rank(self, model: Any, source: Path, finder: str, most: int, plan: Plan, say: Say) -> Ranking:
        """The ``most`` suspicious items of ``source``; ``finder`` "" is the family's usual one.

        Raises:
            UsageError: there is no such finder, or too few items.
            UnreadableModel: ``source`` is no data set of this family.
        """


@runtime_checkable
class WritesAdapters(Protocol):
    """A family some of whose models are adapters, which can be handed back as such."""

    def save_adapter(self, model: Any, base: Any, file: Path) -> None:
        """Write what makes ``base`` into ``model``, as one file, whole or not at all.

        Raises:
            NotWritten: ``file`` is there already, something differs that an adapter cannot hold, or there is
                no room.
        """


@dataclass(frozen=True, slots=True)
class Entry:
    """A family, the module that holds it, and the classes that a model's files name when they are of it."""

    name: str
    module: str
    reads: Callable[[Manifest], bool]


PAIRED = frozenset({"CLIPModel", "SiglipModel"})
"""Classes of image-text models."""
CLASSIFIERS = ("ForImageClassification", "SmallResNet")
"""Ends of the names of classes of image classifiers."""
TABLE: Sequence[Entry] = (
    Entry(
        "classifier",
        "nightlatch.classifier.family",
        lambda manifest: manifest.pipeline_class.endswith(CLASSIFIERS),
    ),
    Entry("contrastive", "nightlatch.contrastive.family", lambda manifest: manifest.pipeline_class in PAIRED),
    Entry("text2image", "nightlatch.text2image.family", lambda manifest: True),
)
"""Asked in order; the last one takes what no other does."""


def named(name: str) -> Family:
    """The family of that name.

    Raises:
        UsageError: there is none.
    """
    for entry in TABLE:
        if entry.name == name:
            family: Family = import_module(entry.module).FAMILY
            return family
    raise UsageError(f"There is no family {name!r}.", f"Known: {', '.join(e.name for e in TABLE)}.")


def of(manifest: Manifest) -> Family:
    """The family of the model whose files ``manifest`` lists."""
    return named(next(entry.name for entry in TABLE if entry.reads(manifest)))


def registries() -> dict[str, Registry[Any]]:
    """All registries of all families, those of the table's last family first, by the plural of the parts'
    name; of a second family that has one of the same name, behind its own name.
    """
    found: dict[str, Registry[Any]] = {}
    for entry in reversed(TABLE):
        for kind, registry in named(entry.name).registries.items():
            found[kind if kind not in found else f"{entry.name}-{kind}"] = registry
    return found
