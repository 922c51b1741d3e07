"""Byte-pair vocabularies: one id per token, no id beyond the table, ids in the order in which CLIP gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightlatch.intake.rules import Findings
from nightlatch.intake.safetext import show

END = "</w>"
MAX_TOKEN = 512


def byte_characters() -> list[str]:
    """The printable character for each of the 256 bytes, in the order of CLIP's vocabulary (Radford et al. 2019, GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def merges_from_text(data: bytes) -> list[tuple[str, str]] | None:
    """Pairs of a merges.txt; None when a line is not a pair."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    return merges_from_list([line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#version")])


def merges_from_list(value: Any) -> list[tuple[str, str]] | None:
    """Pairs of a tokenizer.json, written as 'a b' or as ['a', 'b']; None when an item is neither."""
    if not isinstance(value, list):
        return None
    pairs = [tuple(item.split(" ")) if type(item) is str else item for item in value]
    if not all(type(p) in (tuple, list) and len(p) == 2 and type(p[0]) is str and type(p[1]) is str for p in pairs):
        return None
    return [(p[0], p[1]) for p in pairs]


def check(findings: Findings, path: str, vocab: Mapping[str, Any], merges: list[tuple[str, str]], rows: int | None) -> None:
    """Findings for one vocabulary; ``rows`` is the size of the embedding table."""
    ids = list(vocab.values())
    if not ids or not {*map(type, ids)} <= {int} or min(ids) < 0 or len(set(ids)) != len(ids):
        findings.add("tokenizer-map", path, "Its ids are not one distinct whole number per token.")
        return
    if any(not 0 < len(token) <= MAX_TOKEN for token in vocab):
        findings.add("tokenizer-map", path, f"A token is empty or longer than {MAX_TOKEN} characters.")
        return
    if rows is not None and max(ids) >= rows:
        findings.add(
            "token-range", path, f"The id {show(str(max(ids)), 30)} lies beyond the {rows:,} rows of the embedding table."
        )
    joined = list(dict.fromkeys(a + b for a, b in merges))
    if not all(map(vocab.__contains__, joined)):
        findings.add("tokenizer-map", path, "A merge makes a token that the vocabulary does not hold.")
        return
    if odd := _out_of_order(vocab, joined):
        sentence = f"{len(odd)} tokens have other ids than the order of CLIP's vocabulary gives them, e.g. '{show(odd[0], 40)}'."
        findings.add("tokenizer-rewrite", path, sentence)


def _out_of_order(vocab: Mapping[str, int], joined: list[str]) -> list[str]:
    """Tokens whose id is not where CLIP's construction puts it: 256 bytes, 256 final bytes, then one per merge.

    Vocabularies that do not begin with the bytes are only asked that later merges have larger ids.
    """
    characters = byte_characters()
    canonical = [*characters, *(c + END for c in characters)]
    in_place = sum(vocab.get(token) == i for i, token in enumerate(canonical))
    if in_place > 0.9 * len(canonical):
        return [token for i, token in enumerate([*canonical, *joined]) if vocab.get(token) != i]
    got = [vocab[token] for token in joined]
    return [token for token, here, after in zip(joined, got, got[1:], strict=False) if here > after]
