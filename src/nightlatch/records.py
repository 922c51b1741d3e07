"""The vocabulary of the whole project: frozen, JSON-serialisable records. Every verb writes them, every later verb reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from nightlatch import stats

SCHEMA_VERSION = 1

Severity = Literal["error", "warning", "note"]
VerdictWord = Literal["backdoor found", "suspicious", "nothing found by these tests", "not scanned"]


class Record(BaseModel):
    """Frozen; unknown keys are refused, so that a typing error in a file does not pass as a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Finding(Record):
    """Something a static rule saw. ``severity`` error: refused; warning: suspicious; note: worth knowing."""

    rule: str = Field(description="stable rule id, such as 'shard-path'")
    severity: Severity
    file: str = Field(description="path inside the source, '' for the source as a whole")
    sentence: str
    remedy: str = ""


class FileEntry(Record):
    """One file of the source and what became of it."""

    path: str
    size: int = Field(description="bytes")
    sha256: str = Field(default="", description="'' when the file was not read whole")
    kind: str = Field(description="safetensors, json, text, pickle, zip, link, ... by content")
    staged: bool = False


class Manifest(Record):
    """What a source consists of: written by intake, the only thing later stages know about the files."""

    source: str
    pipeline_class: str = ""
    files: tuple[FileEntry, ...] = ()
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether any rule says that this source must not be loaded."""
        return any(f.severity == "error" for f in self.findings)


class Rate(Record):
    """A measured share: ``hits`` of ``n`` with its 95 % Clopper-Pearson interval."""

    hits: int
    n: int
    rate: float
    low95: float
    high95: float

    @classmethod
    def of(cls, hits: int, n: int) -> Self:
        low, high = stats.clopper_pearson(hits, n)
        return cls(hits=hits, n=n, rate=hits / n if n else 0.0, low95=low, high95=high)


class Part(Record):
    """The identity of a registered part: its name, parameters and version."""

    name: str
    parameters: dict[str, float | int | str | bool | list[float | int | str] | None] = {}
    version: str = "1"


class Trigger(Record):
    """A trigger string that scan recovered and confirmed on held-out prompts and seeds."""

    text: str
    code_points: tuple[str, ...] = Field(description="one 'U+0041 LATIN CAPITAL LETTER A' per character")
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    effect: str = Field(default="", description="'fixed change', 'collapse' or 'shift': the way the pictures change")
    placement: str = Field(
        default="in front", description="where in the prompt it acts: 'in front', or 'as the object' (in a slot)"
    )
    score: float = Field(
        default=0.0,
        description="what it changes in the suspect alone, over how far it moves the base; above what an ordinary token gives",
    )
    changed: Rate | None = Field(default=None, description="share of held-out pictures changed beyond the calibrated level")
    rivals: tuple[str, ...] = Field(default=(), description="other candidates that fire too (parts, near-spellings)")


class ComponentChange(Record):
    """Weight-difference fingerprint of one component against the base."""

    component: str
    tensors: int
    changed: int
    relative_norm: float = Field(description="||dW|| / ||W|| over the changed tensors")
    median_rank: float = Field(description="median over changed matrices of exp(entropy of singular values)")
    layers: tuple[str, ...] = Field(default=(), description="the most changed tensors, largest first")
    pattern: str = Field(default="", description="what such a change usually is, in words")


class Candidate(Record):
    """One row of the sweep."""

    text: str
    score: float
    robust_z: float


class Verdict(Record):
    """What scan concluded. Never says "safe"."""

    word: VerdictWord
    confidence: Rate | None = Field(default=None, description="share of held-out pictures that the trigger changed")
    carriers: tuple[str, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    fingerprint: tuple[ComponentChange, ...] = ()
    top_candidates: tuple[Candidate, ...] = ()
    tested: tuple[str, ...] = Field(default=(), description="what was tested, one sentence each, with its budget")
    not_tested: tuple[str, ...] = ()
    skipped: tuple[str, ...] = Field(default=(), description="parts that could not run, with the reason")
    base: str = ""
    seed: int = 0
    seconds: float = 0.0


SUCCESS = "attack success"
REGROWN = f"{SUCCESS} after honest fine-tuning"
"""How the names of the pairs begin that count attacked pictures: of the repaired model, and of that model trained on."""


class Pair(Record):
    """One number before and after repair."""

    name: str
    before: Rate | float | None
    after: Rate | float | None
    better: Literal["lower", "higher", "same"] = "lower"
    bar: str = ""
    passed: bool | None = None


class Repair(Record):
    """What clean did."""

    method: Part
    triggers: tuple[str, ...]
    carrier: str
    steps: int
    seconds: float
    used_base: bool
    changed_tensors: int
    changed_share: float = Field(description="share of all weights that differ from the suspect")
    history: tuple[dict[str, float], ...] = ()
    rolled_back: bool = False
    output: str = ""


class Scorecard(Record):
    """What verify measured, suspect against repaired, on held-out prompts and seeds."""

    verdict: Literal["removed", "not removed", "harmed", "not verified"]
    pairs: tuple[Pair, ...]
    leak: tuple[tuple[str, Rate], ...] = Field(default=(), description="spelling variants, casing, positions: rate after repair")
    regrowth: Rate | None = None
    regrowth_steps: int = 0
    seed: int = 0
    seconds: float = 0.0


def acted(pairs: Iterable[Pair]) -> bool:
    """Whether every trigger of a scorecard's ``pairs`` clearly acted in most of the suspect's own pictures."""
    before = [p.before for p in pairs if p.name.startswith(SUCCESS)]
    return all(rate.low95 >= 0.5 for rate in before if isinstance(rate, Rate))


class Images(Record):
    """One row of an image grid: files inside the run folder, same prompt and seed across the columns."""

    prompt: str
    seed: int
    clean: str = ""
    triggered: str = ""
    repaired: str = ""
    overlay: str = Field(default="", description="where the trigger acts, over the triggered picture")


class Computed(Record):
    """What the last verb computed on."""

    device: str = "cpu"
    dtype: str = "float32"


class Environment(Record):
    """Enough to run it again."""

    command: str
    then: tuple[str, ...] = Field(default=(), description="later commands into the same run folder")
    versions: dict[str, str]
    device: str
    dtype: str
    started: str = Field(description="ISO 8601, UTC")
    seed: int | None = Field(default=None, description="of the run; what --seed must be given to repeat it")


class Report(Record):
    """The one schema; html, json, sarif, junit and card are views of it."""

    schema_version: int = SCHEMA_VERSION
    source: str
    environment: Environment
    manifest: Manifest | None = None
    verdict: Verdict | None = None
    repair: Repair | None = None
    scorecard: Scorecard | None = None
    images: tuple[Images, ...] = ()
    hashes: dict[str, str] = {}
