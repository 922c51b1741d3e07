from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from intake_fixtures import pack

from nightlatch.intake import leftovers
from nightlatch.intake.adapters import lora
from nightlatch.intake.carriers import SubjectHint, subjects
from nightlatch.intake.case import Case
from nightlatch.intake.files.inventory import walk
from nightlatch.intake.rules import MAX_PER_RULE, Findings
from nightlatch.intake.tokenizer import mapping, normalizer, settings
from nightlatch.records import Manifest
from nightlatch.safetext import show, unshow

TEXTS = [
    "cat", "c\u0430t", "\u200b", "\U0001f600" * 5, "<b>'x'</b>", "' by '", "'. it replaces '", "a\\u{41}b", "\x1b[2J\n",
    "' reads like a word.", "\u202ecat",
]  # fmt: skip


def hints(findings: Findings) -> tuple[SubjectHint, ...]:
    return subjects(Manifest(source="x", findings=findings.result()))


def only(findings: Findings) -> SubjectHint:
    (hint,) = hints(findings)
    assert hint.attempt.endswith(".")
    return hint


def empty_case(root: Path) -> Case:
    findings = Findings()
    return Case(walk(root, findings), findings)


@pytest.mark.parametrize("text", [*TEXTS, "", "\\", "\\\\u{41}", "\ud800", "x" * 200])
def test_unshow_is_the_inverse_of_show(text: str) -> None:
    assert unshow(show(text, 10_000)) == text


@pytest.mark.parametrize("text", ["x" * 300, "plain... (3 more characters)"])
def test_a_cut_text_cannot_be_known(text: str) -> None:
    assert unshow(show(text)) is None


def test_an_escape_beyond_unicode_is_not_one() -> None:
    assert unshow("\\u{FFFFFF}") is None


@pytest.mark.parametrize("text", TEXTS)
def test_added_tokens(tmp_path: Path, text: str) -> None:
    case = empty_case(tmp_path)
    full: dict[str, Any] = {"added_tokens": [{"content": text, "id": 5}]}
    mapping._check_added(case, "tokenizer", full, {}, {"a": 0}, None)
    assert only(case.findings) == SubjectHint(
        "token", "tokenizer/tokenizer.json", "Try the token as a trigger before any other word.", (text,)
    )


def test_the_end_of_word_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    case = empty_case(tmp_path)
    mapping._check_added(case, "tokenizer", {"added_tokens": [{"content": "cat</w>", "id": 5}]}, {}, {"a": 0}, None)
    assert only(case.findings).texts == ("cat",)


@pytest.mark.parametrize("text", TEXTS)
def test_special_tokens_that_are_ordinary_text(tmp_path: Path, text: str) -> None:
    case = empty_case(tmp_path)
    settings.check_special(case.findings, "tokenizer/tokenizer_config.json", {"pad_token": text})
    hint = only(case.findings)
    assert (hint.kind, hint.texts) == ("token", (text,))


@pytest.mark.parametrize("text", [t for t in TEXTS if "by" not in t])
def test_a_rewriting_tokenizer(built: Path, text: str) -> None:
    step = {"type": "Replace", "pattern": {"String": text}, "content": "dog"}
    findings, full = Findings(), json.loads((built / "pipeline/tokenizer/tokenizer.json").read_text())
    full["normalizer"]["normalizers"].append(step)
    for rule, sentence in normalizer.differences(full):
        findings.add(rule, "tokenizer/tokenizer.json", f"{sentence} This tokenizer class uses it.")
    hint = only(findings)
    assert (hint.kind, hint.file, hint.texts) == ("tokenizer", "tokenizer/tokenizer.json", (text, "dog"))


def test_further_files(tmp_path: Path) -> None:
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder/adapter_config.json").write_text("{}")
    row = ["F32", [1, 4], bytes(16)]
    half = {"u.to_q.lora_A.weight": ["F32", [2, 4], bytes(32)], "u.to_q.lora_B.weight": ["F32", [4, 2], bytes(32)]}
    files = {
        "style.safetensors": half, "wizard.safetensors": {"emb_params": row}, "hat.safetensors": {"<h\u0430t>": row},
        "merged.safetensors": {f"layer{i}.weight": row for i in range(5)},
    }  # fmt: skip
    for name, tensors in files.items():
        (tmp_path / name).write_bytes(pack(tensors))
    case = empty_case(tmp_path)
    leftovers.sweep(case, None, loadable=True)
    found = {h.file: (h.kind, h.texts) for h in hints(case.findings)}
    assert found == {
        "text_encoder/adapter_config.json": ("adapter", ()),
        "style.safetensors": ("lora", ()),
        "wizard.safetensors": ("embedding", ("wizard",)),
        "hat.safetensors": ("embedding", ("<h\u0430t>", "hat")),
        "merged.safetensors": ("weights", ()),
    }
    assert lora.looks_like_lora(half)


def test_second_variants_and_odd_names() -> None:
    findings = Findings()
    findings.add("second-variant", "unet/diffusion_pytorch_model.fp16.safetensors")
    findings.add("ambiguous-weights", "unet/m\u0430.index.json", "A shard index lies beside a complete single file.")
    findings.add("second-variant", "unet/" + "x" * 400)
    assert [(h.kind, h.file) for h in hints(findings)] == [
        ("variant", "unet/diffusion_pytorch_model.fp16.safetensors"), ("variant", "unet/m\u0430.index.json"), ("variant", ""),
    ]  # fmt: skip


def test_what_was_only_counted_is_said(tmp_path: Path) -> None:
    """More decoys than findings list: the hint says that there are more."""
    case = empty_case(tmp_path)
    added = {"added_tokens": [{"content": f"decoy{i}", "id": i} for i in range(1, 100)]}
    mapping._check_added(case, "tokenizer", added, {}, {"a": 0}, None)
    found = hints(case.findings)
    assert len(found) == MAX_PER_RULE + 1
    assert found[-1].file == ""
    assert found[-1].attempt.startswith("More were found")


def test_other_findings_give_no_hint() -> None:
    findings = Findings()
    for rule in ("unused-code", "not-staged", "unknown-key"):
        findings.add(rule, "x")
    assert hints(findings) == ()
