"""Byte-pair vocabularies: one id per token, every token made by its merges and by nothing else, as CLIP's is
built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, pairwise, repeat
from typing import Any, NamedTuple, TypeAlias, overload

from nightlatch.intake.carriers import WORD_END, hint
from nightlatch.intake.findings import Findings
from nightlatch.safetext import show
from nightlatch.terms import HintKind

END = WORD_END
START_TOKEN, END_TOKEN = "<|startoftext|>", "<|endoftext|>"
STANDARD_SPECIAL = frozenset({START_TOKEN, END_TOKEN, "<|pad|>", "<s>", "</s>", "<unk>", "<pad>", "!"})
MAX_TOKEN = 512
MAX_MERGES = 100_000
MAX_LETTERS = 2_000_000
"""Letters of all merges together, which bound the time that following them takes; CLIP's 48,894 have a sixth
of it.
"""
SMALL = 5_000
"""Vocabularies of a real model are larger; smaller ones, as tests have, need not begin with the bytes."""

STANDARD_MERGES = 48_894
STANDARD = "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"
"""SHA-256 of CLIP's own merges, one pair a line (the published bpe_simple_vocab_16e6 without its head and
tail).
"""
STANDARD_START = "5c37c1d09abc6cdb6d83ce885d97a85c9eba76bfeaac490b1d5b0d25907112b9"
"""The same of its first 1,000."""

Pair: TypeAlias = tuple[str, str]


class Known(Sequence[Pair]):
    """CLIP's own merges, which are taken apart only when somebody looks at one of them. ``text``: one pair a
    line.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def pairs(self) -> list[Pair]:
        return [(left, right) for left, right in (pair.split(" ") for pair in self.text.split("\n"))]

    @overload
    def __getitem__(self, i: int) -> Pair: ...
    @overload
    def __getitem__(self, i: slice) -> list[Pair]: ...
    def __getitem__(self, i: int | slice) -> Pair | list[Pair]:
        return self.pairs[i]

    def __len__(self) -> int:
        return STANDARD_MERGES

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)


class Table(NamedTuple):
    """One vocabulary (token to id) with the merges that belong to it, in order; ``path`` is where it was
    read.
    """

    path: str
    vocab: Mapping[str, Any]
    merges: Sequence[Pair]


def byte_values() -> dict[str, bytes]:
    """The byte that each of the 256 characters of CLIP's vocabulary stands for, in the vocabulary's order
    (Radford et al. 2019, GPT-2): printable ones for themselves, the other bytes, in order, as the characters
    from U+0100 on.
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = sorted(set(range(256)) - set(plain))
    return {chr(b): bytes([b]) for b in plain} | {chr(256 + i): bytes([b]) for i, b in enumerate(rest)}


def merges_from_text(data: bytes) -> Sequence[Pair] | None:
    """The pairs of a merges.txt, in order; None when a line is not a pair. Only the first line may be a
    version.
    """
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    if lines[0].startswith("#version"):
        del lines[0]
    if any(line.startswith("#version") for line in lines):
        return None
    return merges_from_list([line.rstrip("\r") for line in lines if line.strip()])


def merges_from_list(value: Any) -> Sequence[Pair] | None:
    """The pairs of merges written as 'a b' or as ['a', 'b'], in order; None when an item is neither."""
    if not isinstance(value, list):
        return None
    types = {*map(type, value)}
    if types == {str} and len(value) == STANDARD_MERGES and _digest(text := "\n".join(value)) == STANDARD:
        return Known(text)
    if types <= {str}:
        if {*map(str.count, value, repeat(" "))} - {1}:
            return None
        flat = " ".join(value).split(" ") if value else []
        return None if "" in flat else list(zip(flat[::2], flat[1::2], strict=True))
    if types != {list} or {*map(len, value)} != {2} or {*map(type, chain.from_iterable(value))} != {str}:
        return None
    if len(value) == STANDARD_MERGES and _digest(text := "\n".join(map(" ".join, value))) == STANDARD:
        return Known(text)
    return list(map(tuple, value)) if all(map(all, value)) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def is_standard(table: Table) -> bool:
    """Whether merges and ids are CLIP's own, which need no further look."""
    if not isinstance(table.merges, Known):
        return False
    tokens = [*_canonical(), *table.merges.text.replace(" ", "").split("\n"), START_TOKEN, END_TOKEN]
    return table.vocab == dict(zip(tokens, range(len(tokens)), strict=True)) and {
        *map(type, table.vocab.values())
    } == {int}


def _nearly_standard(merges: Sequence[Pair]) -> bool:
    """Whether merges that are not CLIP's own are as many, or begin as those do: two of them exchanged are a
    learned encoding like any other.
    """
    if isinstance(merges, Known):
        return False
    return (
        len(merges) == STANDARD_MERGES or _digest("\n".join(map(" ".join, merges[:1000]))) == STANDARD_START
    )


def check(findings: Findings, table: Table, rows: int | None) -> bool:
    """Findings for one vocabulary and its merges; ``rows`` of the embedding table. False: it is no map at
    all.
    """
    path, vocab, merges = table
    if is_standard(table) and (rows is None or rows >= len(vocab)):
        return True
    ids = list(vocab.values())
    if not ids or not {*map(type, ids)} <= {int} or min(ids) < 0 or len(set(ids)) != len(ids):
        findings.add("tokenizer-map", path, "Its ids are not one distinct whole number per token.")
        return False
    if min(map(len, vocab)) == 0 or max(map(len, vocab)) > MAX_TOKEN:
        findings.add("tokenizer-map", path, f"A token is empty or longer than {MAX_TOKEN} characters.")
        return False
    if rows is not None and max(ids) >= rows:
        last = show(str(max(ids)), 30)
        findings.add(
            "token-range", path, f"The id {last} lies beyond the {rows:,} rows of the embedding table."
        )
    if sum(map(len, chain.from_iterable(merges))) > MAX_LETTERS:
        findings.add("config-bound", path, f"Its merges hold more than {MAX_LETTERS:,} letters.")
        return False
    if not vocab.keys() >= {*map("".join, merges), *chain.from_iterable(merges)}:
        findings.add(
            "tokenizer-map", path, "A merge joins or makes a token that the vocabulary does not hold."
        )
        return False
    for what, odd in (
        ("have other ids than the order of CLIP's vocabulary gives them", _out_of_order(vocab, merges)),
        ("are made by no merge", _unmade(vocab, merges)),
        ("do not come from their own letters when the merges are applied", _unreachable(merges)),
    ):
        if odd:
            tried = hint(HintKind.TOKENIZER, path, odd)
            findings.add(
                "tokenizer-rewrite",
                path,
                f"{len(odd)} tokens {what}, e.g. '{show(odd[0], 200)}'.",
                hint=tried,
            )
    if _nearly_standard(merges):
        findings.add(
            "tokenizer-rewrite",
            path,
            "Its merges are as many as CLIP's, or begin as those do, and are others: a word may have another "
            "word's id.",
        )
    if not _built_like_clip(vocab) and len(vocab) > SMALL:
        findings.add(
            "tokenizer-rewrite", path, "Its vocabulary does not begin with the 512 byte tokens of CLIP's."
        )
    return True


def _canonical() -> list[str]:
    """The first 512 tokens of CLIP's vocabulary: every byte bare, then every byte at the end of a word."""
    characters = list(byte_values())
    return [*characters, *(c + END for c in characters)]


def _built_like_clip(vocab: Mapping[str, int]) -> bool:
    """Whether nearly all byte tokens have the ids that they have in CLIP's vocabulary."""
    tokens = _canonical()
    return sum(vocab.get(token) == i for i, token in enumerate(tokens)) > 0.9 * len(tokens)


def _out_of_order(vocab: Mapping[str, int], merges: Sequence[Pair]) -> list[str]:
    """Tokens whose id is not where CLIP's construction puts it: 256 bytes, 256 final bytes, one per merge,
    start and end.

    Vocabularies that do not begin with the bytes are only asked that later merges have larger ids.
    """
    joined = list(dict.fromkeys(map("".join, merges)))
    if _built_like_clip(vocab):
        tokens = [*_canonical(), *joined, *(t for t in (START_TOKEN, END_TOKEN) if t in vocab)]
        got = list(map(vocab.get, tokens))
        return (
            []
            if got == list(range(len(tokens)))
            else [t for i, (t, n) in enumerate(zip(tokens, got, strict=True)) if n != i]
        )
    ids = [vocab[token] for token in joined]
    return [token for token, (here, after) in zip(joined, pairwise(ids), strict=False) if here > after]


def _unmade(vocab: Mapping[str, int], merges: Sequence[Pair]) -> list[str]:
    """Tokens of several letters that no merge makes, so that no prompt gives them; small vocabularies may
    have some beside merges.
    """
    if merges and not _built_like_clip(vocab):
        return []
    rest = vocab.keys() - set(map("".join, merges)) - STANDARD_SPECIAL
    return sorted(token for token in rest if not _is_letter(token))


def _is_letter(token: str) -> bool:
    return len(token) == 1 or (len(token) == 1 + len(END) and token.endswith(END))


def _unreachable(merges: Sequence[Pair]) -> list[str]:
    """Tokens that byte-pair encoding of their own letters does not end with, and pairs that are listed twice.

    In a learned encoding every part is made before it is joined, and no earlier merge reaches across the seam
    of a pair (Sennrich et al. 2016); any other split of a token is an edit, after which its word is cut into
    other pieces.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    repeated = len(ranks) < len(merges)
    twice = (
        [left + right for rank, (left, right) in enumerate(merges) if ranks[left, right] != rank]
        if repeated
        else []
    )
    made: dict[str, tuple[str, str, int]] = {}
    odd: dict[str, None] = {}
    letters = {*filter(_is_letter, {*chain.from_iterable(merges)})}
    for rank, (left, right) in enumerate(merges):
        token = left + right
        if token not in made or token in odd:
            whole = (
                (left in made or left in letters)
                and (right in made or right in letters)
                and not left.endswith(END)
            )
            if whole and not _crossed(left, right, rank, ranks, made):
                made[token] = (left, right, rank)
                odd.pop(token, None)
            else:
                made.setdefault(token, (left, right, rank))
                odd[token] = None
    return list(dict.fromkeys([*twice, *odd]))


def _crossed(
    left: str, right: str, rank: int, ranks: Mapping[Pair, int], made: Mapping[str, tuple[str, str, int]]
) -> bool:
    """Whether an earlier merge joins the pieces on both sides of the seam before ``left`` and ``right`` are
    complete.

    Walks back in time from the complete halves, undoing the younger piece at the seam; of equals the left one
    is older.
    """
    left_end = right_end = rank
    while True:
        before, after = made.get(left), made.get(right)
        if before is not None and (after is None or before[2] > after[2]):
            left, left_end = before[1], before[2]
        elif after is not None:
            right, right_end = after[0], after[2]
        else:
            return False
        at = ranks.get((left, right), rank)
        if at < left_end and (at < right_end or at == right_end < rank):
            return True
