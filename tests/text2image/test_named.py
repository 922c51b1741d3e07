"""Carriers that no weight shows: a tokenizer that reads words in its own way, and strings that the files suggest."""

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
from nightlatch.text2image import adapters
from nightlatch.text2image.scan import Budget, scan
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.named import named, reread

QUICK = Budget(contexts=2, keep=8, confirm=2, pictures=8)


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


def test_what_is_read_differently_is_found_without_a_search(renamed, tiny_v):
    differ = reread(adapters.load(renamed), tiny_v)
    assert {"bus", "cat"} <= set(differ)
    assert all("cat" in text or "bus" in text for text in differ)
    assert reread(tiny_v, tiny_v) == []


def test_a_tokenizer_is_scanned_though_no_weight_differs(renamed, tiny_v, texts, few_steps):
    verdict = scan(adapters.load(renamed), tiny_v, texts, few_steps, QUICK, say=lambda line: None)
    assert any("strings" in line and "tokenizer" in line for line in verdict.tested)
    assert not verdict.triggers or [c.role for c in verdict.carriers] == [Role.TOKENIZER]


def test_strings_that_files_suggest_come_first_and_loudest_first(renamed, tiny_v, texts):
    gauge = Gauge(adapters.load(renamed), tiny_v, texts[:2], ("tokenizer",))
    made = named(gauge, ["happy", "cat"], ["bus"], 3)
    assert [c.text for c in made] == ["cat", "happy", "bus"]
    assert made[0].score > 0
    assert [c.text for c in named(gauge, ["happy", "cat"], ["bus"], 1)] == ["cat"]


def test_a_tokenizer_is_put_back_rather_than_unlearned(renamed, tmp_path):
    with Run(tmp_path / "run") as run:
        found = Verdict(word="backdoor found", carriers=(Carrier(component="tokenizer", role=Role.TOKENIZER),))
        run.write("verdict", found)
        options = Options(settings={"prompts": "emoji", "steps": testbed.SAMPLING.steps})
        with pytest.raises(UsageError, match="acts in the tokenizer"):
            verbs.clean(run, renamed, tmp_path / "out", options, lambda line: None, triggers=("cat",))
    assert not (tmp_path / "out").exists()


def test_of_a_long_list_nobody_knows_before_which_strings_are_left_out(tiny_v, texts, monkeypatch):
    monkeypatch.setattr("nightlatch.text2image.scan.named.LOOKED", 4)
    many = [f"word{i}" for i in range(9)]
    tried = [{c.text for c in named(Gauge(tiny_v, tiny_v, texts[:2], (), seed=s), many, [], 9)} for s in range(12)]
    assert all(len(t) == 4 for t in tried)
    assert set.union(*tried) == set(many)
