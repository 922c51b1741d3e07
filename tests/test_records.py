"""Records: what a stranger's file may hold, and what is told by values instead of sentences."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from nightlatch.records import (
    Candidate,
    Finding,
    Hint,
    Manifest,
    PlacedTrigger,
    Placement,
    Repair,
    Trigger,
    Verdict,
)
from nightlatch.schema import MOST, SENTENCE, TEXT
from nightlatch.terms import HintKind, PlacementKind


def test_a_sentence_is_cut_and_says_so() -> None:
    verdict = Verdict(word="not scanned", skipped=("a" * (SENTENCE + 1),))
    assert len(verdict.skipped[0]) <= SENTENCE
    assert verdict.skipped[0].endswith("more characters)")
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


@pytest.mark.parametrize(
    "hostile",
    [
        {"base": "a" * (TEXT + 1)},
        {"tested": ["a"] * 1_001},
        {"triggers": [{"text": "a"}] * 65},
        {
            "fingerprint": [
                {"component": "unet", "tensors": 1, "changed": 1, "relative_norm": 0.1, "median_rank": 1.0}
            ]
            * 65
        },
        {"top_candidates": [{"text": "a", "score": 1.0, "robust_z": 1.0}] * 1_001},
    ],
    ids=lambda update: next(iter(update)),
)
def test_lists_and_texts_have_a_bound(hostile: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Verdict.model_validate({"word": "suspicious", **hostile})


def test_every_text_and_list_of_every_record_has_a_bound() -> None:
    """A new field cannot be forgotten: its schema must say how long it may be."""
    from nightlatch.records import Report

    def unbounded(schema: object, at: str) -> list[str]:
        if isinstance(schema, list):
            return [x for item in schema for x in unbounded(item, at)]
        if not isinstance(schema, dict):
            return []
        kind, found = schema.get("type"), list[str]()
        closed = {"enum", "const"} & schema.keys()
        if kind == "string" and not closed and "maxLength" not in schema:
            found.append(at)
        if kind == "array" and "maxItems" not in schema:
            found.append(at)
        if kind == "object" and "properties" not in schema and "maxProperties" not in schema:
            found.append(at)
        return found + [x for key, item in schema.items() for x in unbounded(item, f"{at}.{key}")]

    assert unbounded(Report.model_json_schema(), "Report") == []


def test_hints_are_those_of_the_findings_each_once() -> None:
    hint = Hint(kind=HintKind.TOKENIZER, file="tokenizer/tokenizer.json", texts=("a' by 'b", "cat"))
    found = [
        Finding(rule="tokenizer-rewrite", severity="warning", file=hint.file, sentence=s, payload=hint)
        for s in "xy"
    ]
    plain = Finding(rule="note", severity="note", file="", sentence="z")
    manifest = Manifest(source="m", findings=(plain, *found))
    assert Manifest.model_validate_json(manifest.model_dump_json()).hints == (hint,)


def test_what_is_for_people_is_cut_rather_than_refused() -> None:
    long = Trigger(text="x" * 2_000, code_points=("U+0078",) * 2_000, rivals=("y",) * 400)
    assert (len(long.text), len(long.code_points), len(long.rivals)) == (2_000, MOST, MOST)
    assert Trigger.model_validate_json(long.model_dump_json()) == long


def test_half_a_character_is_escaped_rather_than_lost() -> None:
    row = Candidate(text="a\ud800b\u0430", score=1.0, robust_z=0.0)
    assert row.text == "a\\ud800b\u0430"
    assert Candidate.model_validate_json(row.model_dump_json()) == row


def test_a_placement_is_said_in_words() -> None:
    assert Placement().words() == "in front"
    assert Placement.in_slot("object").words() == "in the object's place"
    assert len({Placement(kind=kind).words() for kind in PlacementKind}) == len(PlacementKind)


def test_non_finite_numbers_survive() -> None:
    row = Candidate(text="a", score=float("inf"), robust_z=0.0)
    assert Candidate.model_validate_json(row.model_dump_json()) == row


def test_a_repair_as_version_1_wrote_it_is_read() -> None:
    old = {"method": {"name": "sau"}, "triggers": ["zudi"], "carrier": "unet, text_encoder", "steps": 1}
    more = {"seconds": 1.0, "used_base": False, "changed_tensors": 1, "changed_share": 0.1}
    read = Repair.model_validate({**old, **more})
    assert read.triggers == (PlacedTrigger(text="zudi"),) and read.carriers == ()
