"""What a report is made of: pictures, the machine, and everything that the verbs wrote."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nightlatch.records.files import Manifest
from nightlatch.records.results import PlacedTrigger, Repair, Scorecard, Verdict
from nightlatch.schema import SCHEMA_VERSION, Record, Sentence, Sentences, Text


class Images(Record):
    """One row of an image grid: files inside the run folder, same prompt and seed across the columns."""

    prompt: Text
    seed: int
    trigger: PlacedTrigger | None = None
    asked: Text = Field(default="", description="the prompt with the trigger, as it was drawn")
    clean: Text = ""
    triggered: Text = ""
    repaired: Text = ""
    overlay: Text = Field(default="", description="where the trigger acts, over the triggered picture")


class Computed(Record):
    """What the last verb computed on."""

    device: Text = "cpu"
    dtype: Text = "float32"


class Environment(Record):
    """Enough to run it again."""

    command: Sentence
    then: Sentences = Field(default=(), description="later commands into the same run folder")
    versions: dict[Text, Text] = Field(max_length=100)
    device: Text
    dtype: Text
    started: Text = Field(description="ISO 8601, UTC")
    run: Text = Field(default="", description="the run folder, as it was named")
    seed: int | None = Field(default=None, description="of the run; what --seed must be given to repeat it")


class Report(Record):
    """The one schema; html, json, sarif, junit and card are views of it."""

    schema_version: Literal[2] = SCHEMA_VERSION
    scope: Literal["files", "model"] = Field(
        default="model", description="whether only the files were asked about, or behaviour too"
    )
    source: Text
    environment: Environment
    manifest: Manifest | None = None
    verdict: Verdict | None = None
    repair: Repair | None = None
    scorecard: Scorecard | None = None
    images: tuple[Images, ...] = Field(default=(), max_length=1_000)
    hashes: dict[Text, Text] = Field(default={}, max_length=100)
