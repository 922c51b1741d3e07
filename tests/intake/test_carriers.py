from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from intake_fixtures import pack

from nightlatch.intake import carriers, check, leftovers
from nightlatch.intake.adapters import lora
from nightlatch.intake.case import Case
from nightlatch.intake.files.inventory import walk
from nightlatch.intake.findings import MAX_PER_RULE, Findings
from nightlatch.intake.tokenizer import mapping, settings
from nightlatch.records import Hint, Manifest
from nightlatch.safetext import show, unshow
from nightlatch.terms import HintKind

TEXTS = [
    "cat", "c\u0430t", "\u200b", "\U0001f600" * 5, "<b>'x'</b>", "' by '", "'. it replaces '", "a\\u{41}b",
    "\x1b[2J\n",
    "' reads like a word.", "\u202ecat",
]  # fmt: skip


def hints(findings: Findings) -> tuple[Hint, ...]:
    return Manifest(source="x", findings=findings.result()).hints


def only(findings: Findings) -> Hint:
    (hint,) = hints(findings)
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
    assert only(case.findings) == Hint(kind=HintKind.TOKEN, file="tokenizer/tokenizer.json", texts=(text,))


def test_the_end_of_word_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    case = empty_case(tmp_path)
    mapping._check_added(
        case, "tokenizer", {"added_tokens": [{"content": "cat</w>", "id": 5}]}, {}, {"a": 0}, None
    )
    assert only(case.findings).texts == ("cat",)


@pytest.mark.parametrize("text", TEXTS)
def test_special_tokens_that_are_ordinary_text(tmp_path: Path, text: str) -> None:
    case = empty_case(tmp_path)
    settings.check_special(case.findings, "tokenizer/tokenizer_config.json", {"pad_token": text})
    hint = only(case.findings)
    assert (hint.kind, hint.texts) == ("token", (text,))


@pytest.mark.parametrize(
    ("text", "other"),
    [*((t, "dog") for t in TEXTS), ("cat", "a' by 'b"), ("a' by 'b", "it replaces 'x' by 'y'")],
)
def test_a_rewriting_tokenizer(model: Path, text: str, other: str) -> None:
    """The strings themselves, never pieces of a sentence about them."""
    file = model / "tokenizer/tokenizer.json"
    full = json.loads(file.read_text())
    full["normalizer"]["normalizers"].append(
        {"type": "Replace", "pattern": {"String": text}, "content": other}
    )
    file.write_text(json.dumps(full))
    (hint,) = check(model).hints
    assert (hint.kind, hint.file, hint.texts) == (
        HintKind.TOKENIZER,
        "tokenizer/tokenizer.json",
        (text, other),
    )


def test_the_words_that_a_lora_says_it_is_called_by(tmp_path: Path) -> None:
    half = {
        "u.to_q.lora_A.weight": ["F32", [2, 4], bytes(32)],
        "u.to_q.lora_B.weight": ["F32", [4, 2], bytes(32)],
    }
    (tmp_path / "a.safetensors").write_bytes(
        pack(half, {"modelspec.trigger_phrase": "sks dog, a' by 'b,  ,sks dog"})
    )
    (hint,) = check(tmp_path / "a.safetensors").hints
    assert (hint.kind, hint.texts) == (HintKind.LORA, ("sks dog", "a' by 'b"))


def test_further_files(tmp_path: Path) -> None:
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder/adapter_config.json").write_text("{}")
    row = ["F32", [1, 4], bytes(16)]
    half = {
        "u.to_q.lora_A.weight": ["F32", [2, 4], bytes(32)],
        "u.to_q.lora_B.weight": ["F32", [4, 2], bytes(32)],
    }
    files = {
        "style.safetensors": half, "wizard.safetensors": {"emb_params": row},
        "hat.safetensors": {"<h\u0430t>": row},
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
    for rule, file in (
        ("second-variant", "unet/diffusion_pytorch_model.fp16.safetensors"),
        ("ambiguous-weights", "unet/m\u0430.index.json"),
        ("second-variant", "unet/" + "x" * 400),
    ):  # fmt: skip
        findings.add(rule, file, hint=carriers.hint(HintKind.VARIANT, file))
    assert [(h.kind, h.file) for h in hints(findings)] == [
        ("variant", "unet/diffusion_pytorch_model.fp16.safetensors"), ("variant", "unet/m\u0430.index.json"),
        ("variant", ""),
    ]  # fmt: skip


def test_what_was_only_counted_is_said(tmp_path: Path) -> None:
    """More decoys than findings list: the hint says that there are more."""
    case = empty_case(tmp_path)
    added = {"added_tokens": [{"content": f"decoy{i}", "id": i} for i in range(1, 100)]}
    mapping._check_added(case, "tokenizer", added, {}, {"a": 0}, None)
    found = hints(case.findings)
    assert len(found) == MAX_PER_RULE + 1
    assert found[-1].file == ""
    assert found[-1].untried.startswith("More were found")


def test_other_findings_give_no_hint() -> None:
    findings = Findings()
    for rule in ("unused-code", "not-staged", "unknown-key"):
        findings.add(rule, "x")
    assert hints(findings) == ()


def test_weights_that_a_loader_may_take_and_a_scan_does_not_read_are_listed(model: Path) -> None:
    (model / "unet/diffusion_flax_model.msgpack").write_bytes(b"\x81\xa6params" + bytes(50))
    (model / "safety_checker").mkdir()
    (model / "safety_checker/model.safetensors").write_bytes(pack({"x": ["F32", [1], bytes(4)]}))
    index = json.loads((model / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (model / "model_index.json").write_text(json.dumps(index))
    found = {h.file: h.untried for h in check(model).hints}
    assert found.keys() == {"unet/diffusion_flax_model.msgpack", "safety_checker"}
    assert all("not read" in sentence for sentence in found.values())
