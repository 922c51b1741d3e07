"""Nothing that a stranger writes makes a rule work for longer than in proportion to its length."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import pytest
from intake_fixtures import edit_json, edit_tensors, pack, work

import nightlatch
from nightlatch.intake import check
from nightlatch.intake.configs import index

MANY = 1_000
"""Repeats that are bounded below this cost a constant factor."""
UNET = "unet/diffusion_pytorch_model.safetensors"
CHARACTERS = [chr(i) for i in range(256)]


SOURCE = Path(nightlatch.__file__).parent
WHOLE = {"match", "fullmatch"}


class Pattern(NamedTuple):
    """A pattern as it stands in the source; ``whole``: it is only ever tried at a text's start."""

    place: str
    text: str | bytes
    whole: bool


def patterns() -> Iterator[Pattern]:
    """Every pattern in the package's source, compiled or handed to a function of re."""
    for file in sorted(SOURCE.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        if "import re\n" not in source:
            continue
        tree = ast.parse(source)
        texts = {
            t.id: n.value.value
            for n in tree.body
            if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)
            for t in n.targets
            if isinstance(t, ast.Name) and isinstance(n.value.value, str)
        }
        searched = set(re.findall(r"(\w{1,40})\.(?:search|sub|split|findall|finditer)\(", source))
        whole = set(re.findall(r"(\w{1,40})\.(?:match|fullmatch)\(", source)) - searched
        names = {
            id(n.value): n.targets[0].id
            for n in ast.walk(tree)
            if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (function := _function(node.func)):
                at_start = names.get(id(node)) in whole if function == "compile" else function in WHOLE
                yield Pattern(f"{file.name}:{node.lineno}", _text(node.args[0], texts), at_start)


def _function(called: ast.expr) -> str:
    """The function of re that is called with a pattern; '' for every other call."""
    of_re = (
        isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "re"
    )
    return called.attr if of_re and called.attr not in ("escape", "error") else ""


def _text(argument: ast.expr, texts: Mapping[str, str]) -> str | bytes:
    """A pattern's text; what is escaped into it stands for one word."""
    if isinstance(argument, ast.Constant):
        assert isinstance(argument.value, str | bytes)
        return argument.value
    if isinstance(argument, ast.Call):
        return "word"
    assert isinstance(argument, ast.JoinedStr), ast.dump(argument)
    parts = [v.value if isinstance(v, ast.FormattedValue) else v for v in argument.values]
    return "".join(
        str(v.value) if isinstance(v, ast.Constant) else texts[v.id] if isinstance(v, ast.Name) else "word"
        for v in parts
    )


def taken(item: Any) -> set[str]:
    """The characters below 256 that one item of a pattern may begin with; all of them where that is not plain
    to see.
    """
    kind, value = item
    if kind is code.LITERAL:
        return {chr(value)}
    if kind is code.IN:
        return {c for c in CHARACTERS if _in(value, c)}
    if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
        return taken(value[2][0])
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


class Around(NamedTuple):
    """Where a part of a pattern stands: in a repeat, at the text's start only, after which items, and before
    something that must match.
    """

    inside: bool = False
    anchored: bool = False
    before: tuple[Any, ...] = ()
    more: bool = False


ANYWHERE = Around()


def faults(items: Any, around: Around = ANYWHERE) -> Iterator[str]:
    """Repeats without a bound that stand in another repeat, that a search starts again and again and that may
    then fail, or that stand before something that they could take as well.
    """
    listed = list(items)
    for n, (kind, value) in enumerate(listed):
        before, rest = (*around.before, *listed[:n]), listed[n + 1 :]
        here = around._replace(before=before, more=around.more or any(map(_must_match, rest)))
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
            _, most, inner = value
            unbounded = most is code.MAXREPEAT or most >= MANY
            takes = taken(inner[0]) if len(inner) == 1 else set(CHARACTERS)
            again = not around.anchored and here.more and not any(_apart(item, takes) for item in before)
            if unbounded and around.inside and not (n and _apart(listed[0], takes)):
                yield "a repeat in a repeat"
            if unbounded and again:
                yield "a repeat that a search starts at every place"
            if unbounded and len(inner) == 1 and any(takes & taken(item) for item in _next(rest)):
                yield "a repeat before what it takes itself"
            yield from faults(inner, here._replace(inside=around.inside or unbounded, anchored=True))
        elif kind is code.SUBPATTERN:
            yield from faults(value[-1], here)
        elif kind is code.BRANCH:
            for branch in value[1]:
                yield from faults(branch, here)


def _next(items: list[Any]) -> Iterator[Any]:
    """What may stand next: all items up to the first that must match, without marks of places."""
    for item in items:
        if item[0] is not code.AT:
            yield item
        if item[0] is not code.AT and _must_match(item):
            return


def _must_match(item: Any) -> bool:
    return not (item[0] in (code.MAX_REPEAT, code.MIN_REPEAT) and item[1][0] == 0)


def _apart(item: Any, characters: set[str]) -> bool:
    """Whether an item takes one character, and none of ``characters``: between two places where it matches, a
    repeat of them ends.
    """
    return item[0] in (code.LITERAL, code.IN) and not taken(item) & characters


def test_patterns_take_time_in_proportion_to_the_text() -> None:
    found = list(patterns())
    assert len(found) >= 45
    for place, text, whole in found:
        tree = list(parser.parse(text))
        anchored = whole or tree[0] == (code.AT, code.AT_BEGINNING_STRING)
        assert not list(faults(tree, Around(anchored=anchored))), (place, text)


@pytest.mark.parametrize(
    "pattern",
    [
        r"<\s*/?\s*[a-z]",
        r"(a+)+$",
        r"\s*x",
        r"(?:a|b*)*",
        r"a.*b",
        r"<[^>]*>",
        r"b(?s:.*?)^e",
        r"(?:a[ab]+)*c",
    ],
)
def test_patterns_that_are_not_linear_are_seen(pattern: str) -> None:
    assert list(faults(parser.parse(pattern)))


@pytest.mark.parametrize("pattern", [r"a+", r"[a-z]+(?:-[a-z]+)*", r"<[^<>]*>", r"x\d+y", r"\\u\{[0-9]+\}"])
def test_patterns_that_are_linear_pass(pattern: str) -> None:
    assert not list(faults(parser.parse(pattern)))


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


def single(prefix: str, text: Callable[[int], str]) -> Callable[[Path, int], Path]:
    def build(model: Path, size: int) -> Path:
        path = model.parent / "single.safetensors"
        path.write_bytes(pack({prefix: ["F32", [1], bytes(4)]}, {text(size): "a", "b": text(size)}))
        return path

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
    "tag of a checkpoint": single("model.diffusion_model.out.2.bias", lambda n: "<" + " " * n),
    "tag of a LoRA": single("lora_unet_mid_block.lora_down.weight", lambda n: "<" + " " * n),
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
