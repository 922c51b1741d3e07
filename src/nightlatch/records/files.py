"""What a source consists of, and what static rules saw in it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nightlatch.schema import Record, Sentence, Text, Texts
from nightlatch.terms import HintKind

Severity = Literal["error", "warning", "note"]


class Hint(Record):
    """Something that lies in the source and that a scan should try beside the weights as they are staged."""

    kind: HintKind
    file: Text = Field(
        default="",
        description="path inside the source; '' when several are meant or the name is not to be kept",
    )
    texts: Texts = Field(
        default=(), description="strings to try as triggers, as they really are; show them escaped only"
    )
    untried: Sentence = Field(default="", description="why a scan cannot try it, '' where it can")


class Finding(Record):
    """Something a static rule saw. ``severity`` error: refused; warning: suspicious; note: worth knowing."""

    rule: Text = Field(description="stable rule id, such as 'shard-path'")
    severity: Severity
    file: Text = Field(description="path inside the source, '' for the source as a whole")
    sentence: Sentence
    remedy: Sentence = ""
    payload: Hint | None = Field(default=None, description="what a scan should try because of it")
    unsupported: bool = Field(
        default=False, description="the source is of a kind that is not scanned; nobody is to blame"
    )


class FileEntry(Record):
    """One file of the source and what became of it."""

    path: Text
    size: int = Field(description="bytes")
    sha256: Text = Field(default="", description="'' when the file was not read whole")
    kind: Text = Field(description="safetensors, json, text, pickle, zip, link, ... by content")
    staged: bool = False


class Manifest(Record):
    """What a source consists of: written by intake, the only thing later stages know about the files."""

    source: Text
    pipeline_class: Text = ""
    files: tuple[FileEntry, ...] = Field(default=(), max_length=100_000)
    findings: tuple[Finding, ...] = Field(default=(), max_length=20_000)
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether any rule says that this source must not be loaded."""
        return any(f.severity == "error" for f in self.findings)

    @property
    def unsupported(self) -> bool:
        """Whether it is of a kind that is not scanned, so that nothing is known about it."""
        return any(f.unsupported for f in self.findings)

    @property
    def hints(self) -> tuple[Hint, ...]:
        """What the findings give a scan to try, in their order, each once."""
        return tuple(dict.fromkeys(f.payload for f in self.findings if f.payload is not None))
