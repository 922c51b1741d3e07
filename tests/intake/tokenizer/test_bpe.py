"""The merges of a byte-pair encoding: what is learned passes, what is edited does not; and no table of links
costs its square.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from intake_fixtures import work

from nightlatch.intake.files import collisions
from nightlatch.intake.findings import Findings
from nightlatch.intake.tokenizer import bpe

LEARNED = [
    ("c", "a"),
    ("ca", "t</w>"),
    ("a", "t</w>"),
    ("s", "at</w>"),
    ("h", "a"),
    ("ha", "ha"),
    ("a", "a"),
    ("aa", "aa"),
]


def sentences(vocab: list[str], merges: Sequence[bpe.Pair]) -> str:
    findings = Findings()
    bpe.check(findings, bpe.Table("t", {t: i for i, t in enumerate(vocab)}, merges), None)
    return " ".join(f.sentence for f in findings.result())


def test_learned_merges_pass() -> None:
    assert bpe._unreachable(LEARNED) == []


@pytest.mark.parametrize(
    ("merges", "odd"),
    [
        ([("c", "a"), ("a", "t</w>"), ("c", "at</w>")], ["cat</w>"]),
        ([("a", "t</w>"), ("c", "a"), ("ca", "t</w>")], ["cat</w>"]),
        ([("ca", "t</w>"), ("c", "a")], ["cat</w>"]),
        ([("a", "a"), ("a", "aa")], ["aaa"]),
        ([("c", "a"), ("h", "a"), ("c", "a")], ["ca"]),
        ([("t</w>", "a")], ["t</w>a"]),
    ],
)
def test_edited_merges_do_not(merges: list[bpe.Pair], odd: list[str]) -> None:
    assert bpe._unreachable(merges) == odd


def test_a_second_way_to_a_token_is_none_less() -> None:
    """A token that a blocked merge makes first and a sound one makes later is reachable."""
    assert bpe._unreachable([("a", "t</w>"), ("c", "a"), ("ca", "t</w>"), ("c", "at</w>")]) == []


def standard(merges: list[bpe.Pair], **changed: int) -> bool:
    """Of a vocabulary that follows from the merges, but for what is ``changed``; as a file lists them."""
    tokens = [*bpe._canonical(), *map("".join, merges), bpe.START_TOKEN, bpe.END_TOKEN]
    read = bpe.merges_from_list([" ".join(pair) for pair in merges])
    assert read is not None
    assert list(read) == merges
    return bpe.is_standard(bpe.Table("t", {t: i for i, t in enumerate(tokens)} | changed, read))


def test_known_merges_are_known_as_a_whole_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "STANDARD_MERGES", len(LEARNED))
    monkeypatch.setattr(bpe, "STANDARD", bpe._digest("\n".join(map(" ".join, LEARNED))))
    assert standard(LEARNED)
    assert not standard([*LEARNED[:2], *LEARNED[3:], LEARNED[2]])
    assert not standard([*LEARNED[:-1], ("a", "aaa")])
    assert not standard(LEARNED, aa=513)
    assert not standard(LEARNED, sks=520)
    assert not standard(LEARNED[:-1])
    whole = [*bpe._canonical(), *map("".join, LEARNED), bpe.START_TOKEN, bpe.END_TOKEN]
    known = bpe.merges_from_list([" ".join(pair) for pair in LEARNED])
    assert isinstance(known, bpe.Known)
    assert sentences(whole, known) == ""
    assert "have other ids" in sentences([*whole[:-1], "sks", whole[-1]], known)
    assert "are made by no merge" in sentences([*whole, "sks"], known)


def test_a_consistent_exchange_of_two_words_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges, ids and letters agree with each other; only CLIP's own tell that two words have changed
    places.
    """
    monkeypatch.setattr(bpe, "STANDARD_MERGES", len(LEARNED))
    exchanged = [LEARNED[4], *LEARNED[:4], *LEARNED[5:]]
    whole = [*bpe._canonical(), *map("".join, exchanged), bpe.START_TOKEN, bpe.END_TOKEN]
    assert (
        sentences(whole, exchanged)
        == "Its merges are as many as CLIP's, or begin as those do, and are others: a word may have another word's id."
    )
    monkeypatch.setattr(bpe, "STANDARD_MERGES", 10_000)
    assert sentences(whole, exchanged) == ""
    monkeypatch.setattr(bpe, "STANDARD_START", bpe._digest("\n".join(map(" ".join, exchanged))))
    assert "and are others" in sentences(whole, exchanged)


@pytest.mark.parametrize(
    "odd",
    [
        ["a b c"],
        ["ab"],
        ["a b", "c d e", "f"],
        [" b"],
        ["a "],
        [["a", ""]],
        [["a"]],
        ["a b", ["a", "b"]],
        [5],
    ],
)
def test_what_is_not_a_list_of_pairs(odd: list[object]) -> None:
    assert bpe.merges_from_list(odd) is None


def test_toy_vocabularies_pass() -> None:
    """As the tests of transformers have them: some words that no merge makes, start and end wherever they
    are.
    """
    letters = [
        "l",
        "o",
        "w",
        "e",
        "r",
        "s",
        "t",
        "i",
        "d",
        "n",
        "lo",
        "l</w>",
        "w</w>",
        "r</w>",
        "t</w>",
        "low</w>",
        "er</w>",
    ]
    vocab = [*letters, "lowest</w>", "newer</w>", "wider", "<unk>", "<|startoftext|>", "<|endoftext|>"]
    assert sentences(vocab, [("l", "o"), ("lo", "w</w>"), ("e", "r</w>")]) == ""


def test_clip_vocabulary_must_be_whole() -> None:
    joined = ["".join(pair) for pair in LEARNED]
    whole = [*bpe._canonical(), *joined, bpe.START_TOKEN, bpe.END_TOKEN]
    assert sentences(whole, LEARNED) == ""
    assert "are made by no merge" in sentences([*whole, "secret</w>"], LEARNED)
    assert "other ids" in sentences([*bpe._canonical(), *joined, bpe.END_TOKEN, bpe.START_TOKEN], LEARNED)


def test_large_vocabulary_of_another_kind() -> None:
    assert "does not begin" in sentences([chr(0x4E00 + i) for i in range(6000)], [])


def test_a_long_chain_of_links_is_followed_once() -> None:
    links = {str(i): str(i + 1) for i in range(20_000)}
    findings = Findings()
    collisions.circles(links, findings)
    assert not findings.result()
    collisions.circles({**links, "20000": "0"}, findings)
    assert findings.count("inventory-limit") == 20_001
    assert work(lambda: collisions.circles(links, Findings())) < 20 * len(links)
