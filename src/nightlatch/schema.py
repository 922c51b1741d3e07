"""What all records share: they are frozen, refuse unknown keys, and hold texts and lists of a bounded length.

A run folder may come from anybody: a record that is longer than these bounds is refused when it is read.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

SCHEMA_VERSION: Literal[2] = 2
"""Of every record; 1 told placements, patterns and pairs in words that other parts read back."""

SENTENCE, TEXT, MOST = 4_000, 20_000, 300
"""Most characters of a sentence for people, which is cut there, of a text that counts as it is, which is
refused beyond; and entries of a list that is for people."""


def _first(value: object) -> object:
    """The first of a list that is too long."""
    return value[:MOST] if isinstance(value, (tuple, list)) else value


def _unicode(value: object) -> object:
    """A text whose halves of characters, which no file can hold, are written as escapes."""
    return (
        value.encode("utf-8", "backslashreplace").decode()
        if isinstance(value, str) and not value.isascii()
        else value
    )


def _cut(value: object) -> object:
    """A sentence that is too long, with the number of characters that were left out."""
    value = _unicode(value)
    if isinstance(value, str) and len(value) > SENTENCE:
        return f"{value[: SENTENCE - 40]}... ({len(value) - SENTENCE + 40} more characters)"
    return value


Sentence = Annotated[str, BeforeValidator(_cut), StringConstraints(max_length=SENTENCE)]
Text = Annotated[str, BeforeValidator(_unicode), StringConstraints(max_length=TEXT)]
Sentences = Annotated[tuple[Sentence, ...], Field(max_length=1_000)]
Texts = Annotated[tuple[Text, ...], Field(max_length=10_000)]
Some = Annotated[tuple[Text, ...], Field(max_length=MOST), BeforeValidator(_first)]
"""Texts for people, of which the first ``MOST`` are kept."""
Value = float | int | Text | bool | Annotated[list[float | int | Text], Field(max_length=1_000)] | None
"""What a part's parameter may be."""


class Record(BaseModel):
    """Frozen; unknown keys are refused, so that a typing error in a file does not pass as a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
