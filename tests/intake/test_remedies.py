"""A remedy is something that can be done: every command in one is a command, every function one that the
library has.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import diffusers
import pytest
import typer

from nightlatch.cli import app
from nightlatch.intake import RULES, folders, layout_table, layouts, lone
from nightlatch.intake.adapters import lora, relatives
from nightlatch.intake.configs import foreign, index, optional
from nightlatch.intake.files import described, weights
from nightlatch.intake.rules import UNTOLD

OTHER_PROGRAMS = {"git lfs pull", "hf auth login"}
MODULES: tuple[ModuleType, ...] = (
    folders,
    layouts,
    lone,
    lora,
    relatives,
    foreign,
    index,
    optional,
    described,
    weights,
)
COMMAND = re.compile(r"'((?:nightlatch|git|hf) [^']{1,120})'")
FUNCTION = re.compile(r"\b(?:save|load)_[a-z_]{3,40}\b")


def remedies() -> Iterator[tuple[str, str]]:
    """Every remedy of the table of rules and of the tables of kinds, and every text with a command in the
    modules that write remedies.
    """
    for name, rule in RULES.items():
        yield name, rule.remedy
    for layout in layout_table.TABLE:
        yield layout.words, layout.remedy
    for module in MODULES:
        for text in COMMAND.findall(inspect.getsource(module)):
            yield module.__name__, f"'{text}'"


@pytest.mark.parametrize(("where", "remedy"), list(remedies()), ids=lambda v: str(v)[:40])
def test_a_remedy_can_be_followed(where: str, remedy: str) -> None:
    known: Any = typer.main.get_command(app)
    for command in COMMAND.findall(remedy):
        program, *words = command.split()
        if program != "nightlatch":
            assert command in OTHER_PROGRAMS, where
            continue
        verb = known.commands[words[0]]
        options = {o for p in verb.params for o in p.opts}
        assert {w for w in words if w.startswith("--")} <= options, (where, command)
    for function in FUNCTION.findall(remedy):
        assert hasattr(diffusers.StableDiffusionPipeline, function), (where, function)
    for option in re.findall(r"(?<!\S)--[a-z-]+", remedy):
        assert any(option in p.opts for verb in known.commands.values() for p in verb.params), (where, option)


def test_whoever_must_act_is_told_how() -> None:
    for name, rule in RULES.items():
        assert rule.remedy or rule.severity == "note", name
        assert rule.remedy or name not in UNTOLD, name
        assert not rule.remedy or rule.remedy.endswith(".")


def test_what_is_only_not_supported_is_not_blamed() -> None:
    """No word of refusing, deleting or comparing by hand about a file of another kind."""
    for layout in layout_table.TABLE:
        assert not re.search(r"(?i)refus|delet|remove|do not load|compare", layout.remedy), layout.words
    for name in UNTOLD:
        assert RULES[name].severity == "note"
