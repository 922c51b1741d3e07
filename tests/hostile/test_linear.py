"""Nothing that a stranger writes makes a rule work for longer than in proportion to its length."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from intake_fixtures import edit_json, edit_tensors, pack, work

import nightlatch.intake
from nightlatch import safetext
from nightlatch.intake import check
from nightlatch.intake.configs import index

MANY = 1_000
"""Repeats that are bounded below this cost a constant factor."""
UNET = "unet/diffusion_pytorch_model.safetensors"
CHARACTERS = [chr(i) for i in range(256)]


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every compiled pattern that a module of intake holds, alone or in a tuple."""
    names = [m.name for m in pkgutil.walk_packages(nightlatch.intake.__path__, "nightlatch.intake.")]
    for module in [*map(importlib.import_module, names), safetext]:
        for name, value in vars(module).items():
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, re.Pattern):
                    yield f"{module.__name__}.{name}", item


def taken(item: Any) -> set[str]:
    """The characters below 256 that one item of a pattern may take; all of them where that is not plain to
    see.
    """
    kind, value = item
    if kind is code.LITERAL:
        return {chr(value)}
    if kind is code.IN:
        return {c for c in CHARACTERS if _in(value, c)}
    return set(CHARACTERS)


def _in(members: Any, c: str) -> bool:
    found = False
    for kind, value in members:
        if kind is code.LITERAL:
            found |= ord(c) == value
        elif kind is code.RANGE:
            found |= value[0] <= ord(c) <= value[1]
        elif kind is code.CATEGORY:
            found |= bool(
                re.match(
                    {code.CATEGORY_DIGIT: r"\d", code.CATEGORY_WORD: r"\w", code.CATEGORY_SPACE: r"\s"}.get(
                        value, "(?s:.)"
                    ),
                    c,
                )
            )
    return not found if members and members[0][0] is code.NEGATE else found


def faults(items: Any, inside: bool = False, anchored: bool = False) -> Iterator[str]:
    """Repeats without a bound that stand in another repeat, at the start of a search, or before something
    that they could take as well.
    """
    listed = list(items)
    for n, (kind, value) in enumerate(listed):
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
            _, most, inner = value
            unbounded = most is code.MAXREPEAT or most >= MANY
            if unbounded and inside:
                yield "a repeat in a repeat"
            if unbounded and n == 0 and not anchored:
                yield "a repeat at the start"
            if unbounded and len(inner) == 1 and n + 1 < len(listed):
                follows = listed[n + 1]
                if follows[0] is not code.AT and taken(inner[0]) & taken(follows):
                    yield "a repeat before what it takes itself"
            yield from faults(inner, inside or unbounded, True)
        elif kind is code.SUBPATTERN:
            yield from faults(value[-1], inside, anchored or n > 0)
        elif kind is code.BRANCH:
            for branch in value[1]:
                yield from faults(branch, inside, anchored or n > 0)


def is_whole(name: str) -> bool:
    """Patterns that are only ever matched against a whole text, from its start."""
    return name.rpartition(".")[2] in {"_PLAIN"}


def test_patterns_take_time_in_proportion_to_the_text() -> None:
    found = dict(patterns())
    assert len(found) >= 20
    for name, pattern in found.items():
        text = pattern.pattern
        tree = parser.parse(text, pattern.flags & ~re.UNICODE if isinstance(text, bytes) else pattern.flags)
        first = list(tree)[:1]
        anchored = bool(first) and first[0][0] is code.AT
        assert not list(faults(tree, anchored=anchored or is_whole(name))), (name, text)


@pytest.mark.parametrize("pattern", [r"<\s*/?\s*[a-z]", r"(a+)+$", r"\s*x", r"(?:a|b*)*", r"a.*b"])
def test_patterns_that_are_not_linear_are_seen(pattern: str) -> None:
    assert list(faults(parser.parse(pattern)))


def metadata(text: Callable[[int], str]) -> Callable[[Path, int], Path]:
    def build(model: Path, size: int) -> Path:
        edit_tensors(model / UNET, lambda t: None, metadata={"format": "pt", "note": text(size)})
        return model

    return build


def card(text: Callable[[int], str]) -> Callable[[Path, int], Path]:
    def build(model: Path, size: int) -> Path:
        (model / "README.md").write_text(text(size), newline="")
        return model

    return build


def names(text: Callable[[int], str]) -> Callable[[Path, int], Path]:
    def build(model: Path, size: int) -> Path:
        one = {text(i): ["F32", [1], bytes(4)] for i in range(size // 2_000)}
        (model.parent / "names.safetensors").write_bytes(pack(one))
        return model.parent / "names.safetensors"

    return build


def neighbour(model: Path, size: int) -> Path:
    (model.parent / "a.safetensors").write_bytes(pack({"x": ["F32", [1], bytes(4)]}))
    (model.parent / "a.yaml").write_text("target:" * (size // 7))
    return model.parent / "a.safetensors"


def normalizer(model: Path, size: int) -> Path:
    step = {"type": "Replace", "pattern": {"String": "a" * size}, "content": "b"}
    edit_json(model / "tokenizer/tokenizer.json", lambda v: v["normalizer"]["normalizers"].append(step))
    return model


INPUTS: dict[str, Callable[[Path, int], Path]] = {
    "tag": metadata(lambda n: "<" + " " * n),
    "tags": metadata(lambda n: "<" * n),
    "braces": metadata(lambda n: "{" * n),
    "escapes": metadata(lambda n: "\x1b[" * (n // 2)),
    "carriage-returns": card(lambda n: "---\n" + "\r" * n),
    "line-ends": card(lambda n: "---\n" + "\r\n" * (n // 2)),
    "keys": card(lambda n: "---\n" + "prior" * (n // 5)),
    "anchors": card(lambda n: "---\n" + "&a " * (n // 3) + "prior:"),
    "half-pairs": names(lambda i: f"{'lora_' * 80}{i}.lora_down.weight"),
    "blocks": names(lambda i: f"{'blocks.0.' * 50}{i}"),
    "settings": neighbour,
    "replacement": normalizer,
}


@pytest.mark.parametrize("name", INPUTS)
def test_work_is_bounded_by_the_size(model: Path, name: str) -> None:
    """Hundreds of kilobytes cost about as many calls as kilobytes, or as many times more as they are
    longer.
    """
    small, large = 20_000, 400_000
    calls = {size: work(lambda size=size: check(INPUTS[name](model, size))) for size in (small, large)}
    assert calls[large] < 1.5 * large / small * calls[small]


def test_a_key_of_the_card_is_found_in_every_spelling() -> None:
    for text in (
        "prior: x",
        "\nprior: x",
        "a: b\r'prior' : x",
        '{a: 1, "prior": x}',
        "? prior\n: x",
        "&b !c prior: x",
    ):
        assert index._has_key(text), text
    for text in ("a prior: x", "superior: x", "text about a prior", "prior art", "x: prior"):
        assert not index._has_key(text), text
