"""Carriers that no weight shows: a tokenizer that reads in its own way, strings that files suggest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nightlatch import testbed, verbs
from nightlatch.errors import UsageError
from nightlatch.plan import Options
from nightlatch.records import Carrier, Verdict
from nightlatch.runs import Run
from nightlatch.terms import Role
from nightlatch.text2image.model import loaders
from nightlatch.text2image.scan import Board, Judge, TrustedBase
from nightlatch.text2image.scan.look import BEHIND, INSIDE, USUAL
from nightlatch.text2image.scan.stages import Suggested


def swap(folder: Path, first: str, second: str) -> None:
    """Exchange the ids of two words in every form in which the vocabulary is saved."""
    for path in (folder / "tokenizer").glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        table = content["model"]["vocab"] if path.name == "tokenizer.json" else content
        a, b = f"{first}</w>", f"{second}</w>"
        if a in table:
            table[a], table[b] = table[b], table[a]
            path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@pytest.fixture(scope="module")
def renamed(tiny_folder, tmp_path_factory):
    """The same weights with a tokenizer that takes cats for buses and buses for cats."""
    folder = tmp_path_factory.mktemp("suspects") / "renamed"
    shutil.copytree(tiny_folder, folder)
    swap(folder, "cat", "bus")
    return folder


def named(question, **numbers):
    """(the strings in the order in which the stage yields them, their scores)."""
    found, *others = Suggested(**numbers).run(question, Board(question, Judge()))
    assert [f.view for f in (found, *others)] == [USUAL, BEHIND, INSIDE]
    assert all(set(f.texts) <= {*question.hints, *question.reread} for f in others)
    return list(found.texts), list(found.texts.values())


def test_what_is_read_differently_is_found_without_a_search(renamed, tiny_v):
    differ = TrustedBase(base=tiny_v).reread(loaders.load(renamed))
    assert {"bus", "cat"} <= set(differ)
    assert all("cat" in text or "bus" in text for text in differ)
    assert TrustedBase(base=tiny_v).reread(tiny_v) == ()


def test_a_tokenizer_is_scanned_though_no_weight_differs(renamed, tiny_v, judged):
    """Only what the tokenizer reads in its own way is tried: no weight answers to anything."""
    verdict = judged(loaders.load(renamed), tiny_v)
    ran = {r.part.name: r for r in verdict.parts}
    assert ran["suggested"].strings == 6 and not ran["suggested"].skipped, "two strings in three places"
    assert ran["confirmation"].strings >= 2, "both were drawn"
    assert "weights" in ran["single-tokens"].skipped
    assert any("strings" in line and "tokenizer" in line for line in verdict.tested)


def test_strings_that_files_suggest_come_first_and_loudest_first(renamed, tiny_v, ask):
    question = ask(loaders.load(renamed), tiny_v, hints=["happy", "cat"])
    question.__dict__["reread"] = ("bus",)
    texts, scores = named(question, strings=3)
    assert texts == ["cat", "happy", "bus"]
    assert scores[0] > 0
    assert named(question, strings=1)[0] == ["cat"]


def test_a_tokenizer_is_put_back_rather_than_unlearned(renamed, tmp_path):
    with Run(tmp_path / "run") as run:
        carrier = Carrier(component="tokenizer", role=Role.TOKENIZER)
        run.write("verdict", Verdict(word="backdoor found", carriers=(carrier,), seconds=1.0))
        options = Options(settings={"prompts": "emoji", "steps": testbed.SAMPLING.steps})
        with pytest.raises(UsageError, match="acts in the tokenizer"):
            verbs.clean(run, renamed, tmp_path / "out", options, lambda line: None, triggers=("cat",))
    assert not (tmp_path / "out").exists()


def test_of_a_long_list_nobody_knows_before_which_strings_are_left_out(tiny_v, ask):
    many = [f"word{i}" for i in range(9)]
    tried = []
    for seed in range(12):
        question = ask(tiny_v, tiny_v, hints=many, seed=seed)
        question.__dict__["reread"] = ()
        tried.append(set(named(question, strings=9, looked=4)[0]))
    assert all(len(t) == 4 for t in tried)
    assert set.union(*tried) == set(many)
