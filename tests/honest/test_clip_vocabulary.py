"""CLIP's own vocabulary, 49,408 tokens, in the files of every age and as it is saved by what is installed here."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, __version__

from nightlatch.intake import check, exit_code
from nightlatch.intake.tokenizer.bpe import byte_values
from nightlatch.text2image.model import loaders
from nightlatch.text2image.model.stable_diffusion import StableDiffusion

PROMPTS = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "A photo  of a CAT": [320, 1125, 539, 320, 2368],
    "hello world!": [3306, 1002, 256],
}
"""Prompts and what CLIP's published tokenizer makes of them."""
START, END = "<|startoftext|>", "<|endoftext|>"
SETTINGS = {
    "bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END, "model_max_length": 77,
    "tokenizer_class": "CLIPTokenizer", "add_prefix_space": False, "errors": "replace", "do_lower_case": True,
}  # fmt: skip
Merges = list[tuple[str, str]]


@pytest.fixture(scope="module")
def genuine() -> tuple[dict[str, int], Merges]:
    """Ids and merges from OpenAI's own data file, in the order in which CLIP's code reads it."""
    found = importlib.util.find_spec("clip")
    assert found is not None
    assert found.origin is not None
    data = gzip.decompress((Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes())
    merges = [(a, b) for a, b in map(str.split, data.decode().split("\n")[1 : 49152 - 256 - 2 + 1])]
    letters = list(byte_values())
    tokens = [*letters, *(c + "</w>" for c in letters), *map("".join, merges), START, END]
    return {t: i for i, t in enumerate(tokens)}, merges


@pytest.fixture(scope="module")
def model(
    genuine: tuple[dict[str, int], Merges], tiny_v: StableDiffusion, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small pipeline with CLIP's whole vocabulary, saved by the installed libraries."""
    vocab, merges = genuine
    pipeline = tiny_v.copy().pipeline
    pipeline.tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
    config = pipeline.text_encoder.config.to_dict() | {
        "vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 49406, "eos_token_id": 49407,
        "pad_token_id": 49407,
    }  # fmt: skip
    pipeline.text_encoder = CLIPTextModel(CLIPTextConfig(**config))
    folder = tmp_path_factory.mktemp("genuine") / "model"
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def slow(folder: Path, vocab: dict[str, int], merges: Merges) -> None:
    """vocab.json and merges.txt, as published with Stable Diffusion 1.4."""
    head = ["#version: 0.2"]
    (folder / "merges.txt").write_text("\n".join([*head, *map(" ".join, merges)]) + "\n", encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")


def fast(folder: Path, merges: list[Any]) -> None:
    """The tokenizer.json that was saved here, its merges spelled as another age did."""
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["model"]["merges"] = merges
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def only_slow(folder: Path, vocab: dict[str, int], merges: Merges) -> None:
    for path in folder.iterdir():
        path.unlink()
    slow(folder, vocab, merges)
    (folder / "tokenizer_config.json").write_text(json.dumps(SETTINGS))
    special = {k: v for k, v in SETTINGS.items() if k.endswith("_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))


AGES: dict[str, Callable[[Path, dict[str, int], Merges], object]] = {
    "as saved here": lambda f, v, m: None,
    "merges as pairs": lambda f, v, m: fast(f, [list(p) for p in m]),
    "merges as strings": lambda f, v, m: fast(f, [" ".join(p) for p in m]),
    "slow files only": only_slow,
    "slow files beside": slow,
}


@pytest.mark.parametrize("age", AGES)
def test_the_genuine_vocabulary_of_every_age_draws_no_word(
    model: Path, genuine: tuple[dict[str, int], Merges], tmp_path: Path, age: str
) -> None:
    """Read by transformers to CLIP's published ids, checked without a finding, and the same once nightlatch has
    written it.
    """
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    AGES[age](folder / "tokenizer", *genuine)
    for source in (folder, tmp_path / "written"):
        if source != folder:
            loaders.load(folder).save(source)
        read = CLIPTokenizer.from_pretrained(source / "tokenizer", local_files_only=True)
        for prompt, ids in PROMPTS.items():
            assert read(prompt).input_ids == [49406, *ids, 49407], __version__
        found = check(source)
        assert exit_code(found) == 0
        assert [f.sentence for f in found.findings if "token" in f.rule] == []


@pytest.mark.parametrize("age", ["merges as pairs", "merges as strings", "slow files only"])
def test_two_words_that_are_exchanged_are_seen(
    model: Path, genuine: tuple[dict[str, int], Merges], tmp_path: Path, age: str
) -> None:
    """Ids and merges together, so that everything agrees but the words."""
    vocab, merges = genuine
    cat, dog = vocab["cat</w>"], vocab["dog</w>"]
    rows = dict(enumerate(merges))
    rows[cat - 512], rows[dog - 512] = rows[dog - 512], rows[cat - 512]
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    path = folder / "tokenizer/tokenizer.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    changed = {**vocab, "cat</w>": dog, "dog</w>": cat}
    value["model"]["vocab"], value["model"]["merges"] = changed, [list(p) for p in rows.values()]
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    AGES[age](folder / "tokenizer", changed, list(rows.values()))
    read = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    assert read("cat").input_ids[1] == dog
    found = check(folder)
    assert exit_code(found) == 1
    assert "tokenizer-rewrite" in {f.rule for f in found.findings}
