"""What scan, clean and verify concluded, with the numbers that it rests on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from nightlatch import stats
from nightlatch.schema import Record, Sentence, Sentences, Some, Text, Texts, Value
from nightlatch.terms import ChangePattern, Effect, PairKind, PlacementKind, Role

VerdictWord = Literal["backdoor found", "suspicious", "nothing found by these tests", "not scanned"]
ScorecardWord = Literal["removed", "not removed", "harmed", "not verified"]


class Rate(Record):
    """A measured share: ``hits`` of ``n`` with its 95 % Clopper-Pearson interval."""

    hits: int
    n: int
    rate: float
    low95: float
    high95: float

    @classmethod
    def of(cls, hits: int, n: int) -> Self:
        low, high = stats.interval(hits, n)
        return cls(hits=hits, n=n, rate=hits / n if n else 0.0, low95=low, high95=high)


class Part(Record):
    """The identity of a registered part: its name, parameters and version."""

    name: Text
    parameters: dict[Text, Value] = Field(default={}, max_length=1_000)
    version: Text = "1"


class Placement(Record):
    """Where in a prompt a trigger stands."""

    kind: PlacementKind = PlacementKind.FRONT
    slot: Text = Field(
        default="", description="the slot whose word it replaces, such as 'object'; only with kind 'slot'"
    )

    @classmethod
    def in_slot(cls, slot: str) -> Self:
        """In the place of the word that fills ``slot``."""
        return cls(kind=PlacementKind.SLOT, slot=slot)

    def words(self) -> str:
        """For people: ``in front``, ``in the object's place``."""
        return f"in the {self.slot}'s place" if self.kind is PlacementKind.SLOT else self.kind.words


class PlacedTrigger(Record):
    """A trigger string and where it stands."""

    text: Text
    placement: Placement = Placement()


class Trigger(PlacedTrigger):
    """A trigger that scan recovered and confirmed on held-out prompts and seeds."""

    code_points: Some = Field(default=(), description="one 'U+0041 LATIN CAPITAL LETTER A' per character")
    token_ids: tuple[int, ...] = Field(default=(), max_length=10_000)
    tokens: Some = ()
    effect: Effect | None = None
    score: float = Field(
        default=0.0, description="its change of the suspect alone over that of the base, above a token's"
    )
    changed: Rate | None = Field(
        default=None, description="share of held-out pictures changed beyond the calibrated level"
    )
    rivals: Some = Field(default=(), description="other candidates that fire too (parts, near-spellings)")

    @property
    def placed(self) -> PlacedTrigger:
        """Without what the scan saw of it."""
        return PlacedTrigger(text=self.text, placement=self.placement)


class PictureTrigger(Record):
    """A trigger of an image classifier that scan recovered: what is put into pictures, and the class that
    they are then taken for. Its picture is among the evidence.
    """

    target: Text = Field(description="name of the class")
    number: int = Field(description="of the class, from 0")
    anomaly: float = Field(description="robust deviations by which the class stands out among all")
    flips: Rate = Field(description="held-out pictures of other classes that it turns into the class")
    finder: Text = Field(description="the part that recovered it")


class Carrier(Record):
    """A component through which a trigger acts."""

    component: Text = Field(description="its name in the model's folder, such as 'unet'")
    role: Role


class ComponentChange(Record):
    """Weight-difference fingerprint of one component against the base."""

    component: Text
    role: Role | None = None
    tensors: int
    changed: int
    relative_norm: float = Field(description="||dW|| / ||W|| over the changed tensors")
    median_rank: float = Field(description="median over changed matrices of exp(entropy of singular values)")
    layers: Texts = Field(
        default=(), max_length=64, description="the most changed tensors or settings, largest first"
    )
    pattern: ChangePattern | None = None


class Candidate(Record):
    """One row of the sweep."""

    text: Text
    score: float
    robust_z: float


class Ran(Record):
    """A part of a scan with its numbers, and what it did; or why it did not run."""

    part: Part
    strings: int = Field(default=0, description="strings that it named, or examined")
    passes: int = Field(default=0, description="rows that went through a denoiser for it")
    seconds: float = 0.0
    skipped: Sentence = Field(default="", description="why it did not run, '' where it did")


class Verdict(Record):
    """What scan concluded. Never says "safe"."""

    word: VerdictWord
    confidence: Rate | None = Field(
        default=None, description="share of held-out pictures that the trigger changed"
    )
    carriers: tuple[Carrier, ...] = Field(default=(), max_length=64)
    triggers: tuple[Trigger, ...] = Field(default=(), max_length=64)
    pictures: tuple[PictureTrigger, ...] = Field(
        default=(), max_length=64, description="triggers that are put into pictures, the strongest first"
    )
    fingerprint: tuple[ComponentChange, ...] = Field(default=(), max_length=64)
    top_candidates: tuple[Candidate, ...] = Field(default=(), max_length=1_000)
    tested: Sentences = Field(default=(), description="what was tested, one sentence each, with its budget")
    not_tested: Sentences = ()
    skipped: Sentences = Field(default=(), description="parts that could not run, with the reason")
    parts: tuple[Ran, ...] = Field(
        default=(),
        max_length=256,
        description="measures, stages and judge with their numbers, those that did not run too",
    )
    base: Text = ""
    seed: int = 0
    seconds: float = 0.0


class Pair(Record):
    """One number before and after repair."""

    kind: PairKind
    name: Sentence = Field(description="what is counted, for people")
    trigger: PlacedTrigger | None = Field(
        default=None, description="that it is about; None where it is about none"
    )
    before: Rate | float | None
    after: Rate | float | None
    better: Literal["lower", "higher", "same"] = "lower"
    bar: Sentence = ""
    passed: bool | None = None


class Leak(Record):
    """What one kind of variants of a trigger does after repair."""

    variants: Sentence = Field(description="'casing', 'spelling', 'other positions', ...")
    trigger: PlacedTrigger
    rate: Rate


class Choice(Record):
    """A repair that the evidence chose for some components, and why."""

    method: Text
    components: Texts = Field(default=(), max_length=64)
    reason: Sentence


class RepairRound(Record):
    """One round of a repair: what was removed from the model, and what a search of the result found."""

    triggers: tuple[PlacedTrigger, ...] = Field(max_length=64)
    alike: tuple[PlacedTrigger, ...] = Field(
        default=(), max_length=1_000, description="what acted like them, and was removed with them"
    )
    choices: tuple[Choice, ...] = Field(default=(), max_length=64)
    steps: int = 0
    seconds: float = 0.0
    rolled_back: bool = False
    searched: Sentence = Field(default="", description="how the result was searched, '' where it was not")
    found: tuple[PlacedTrigger, ...] = Field(
        default=(), max_length=1_000, description="what that search found; nothing ends the repair"
    )
    search_seconds: float = 0.0


class Repair(Record):
    """What clean did. Version 0.1.0 wrote triggers as strings and carriers as one sentence; both are read,
    too.
    """

    method: Part
    triggers: tuple[PlacedTrigger, ...] = Field(max_length=64)
    carriers: tuple[Carrier, ...] = Field(default=(), max_length=64)
    steps: int
    seconds: float
    used_base: bool
    changed_tensors: int
    changed_share: float = Field(description="share of all weights that differ from the suspect")
    replaced: Texts = Field(
        default=(), max_length=64, description="components without weights, taken from the base"
    )
    choices: tuple[Choice, ...] = Field(
        default=(), max_length=64, description="what the evidence chose, in the order in which it was done"
    )
    rounds: tuple[RepairRound, ...] = Field(default=(), max_length=64)
    history: tuple[Annotated[dict[Text, float], Field(max_length=100)], ...] = Field(
        default=(), max_length=100_000
    )
    left: Sentences = Field(
        default=(), description="what the repair could not change, and what to do about it"
    )
    rolled_back: bool = False
    output: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, given: Any) -> Any:
        """Strings in front of the prompt; the sentence about carriers named no roles and is left out."""
        if not isinstance(given, dict) or "carrier" not in given:
            return given
        triggers = given.get("triggers", ())
        placed = (
            [{"text": t} if isinstance(t, str) else t for t in triggers]
            if isinstance(triggers, list)
            else triggers
        )
        return {k: v for k, v in given.items() if k != "carrier"} | {"triggers": placed}


class SecondSearch(Record):
    """What a search of the repaired model found, as if nobody had repaired it."""

    searched: Sentence = Field(description="how")
    found: tuple[PlacedTrigger, ...] = Field(default=(), max_length=1_000)
    seconds: float = 0.0


class Scorecard(Record):
    """What verify measured, suspect against repaired, on held-out prompts and seeds."""

    verdict: ScorecardWord
    pairs: tuple[Pair, ...] = Field(max_length=1_000)
    leak: tuple[Leak, ...] = Field(default=(), max_length=1_000)
    search: SecondSearch | None = Field(default=None, description="None where nobody searched")
    rounds: tuple[RepairRound, ...] = Field(
        default=(), max_length=64, description="of the repair: what each found and removed"
    )
    regrowth: Rate | None = None
    regrowth_steps: int = 0
    seed: int = 0
    seconds: float = 0.0


def acted(pairs: Iterable[Pair]) -> bool:
    """Whether every trigger of a scorecard's ``pairs`` clearly acted in most of the suspect's own
    pictures.
    """
    before = [p.before for p in pairs if p.kind is PairKind.SUCCESS]
    return all(rate.low95 >= 0.5 for rate in before if isinstance(rate, Rate))
