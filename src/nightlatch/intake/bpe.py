"""Byte-pair vocabularies: one id per token, no id beyond the table, ids in the order in which CLIP gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightlatch.intake.rules import Findings
from nightlatch.safetext import show

END = "</w>"
MAX_TOKEN = 512


def byte_characters() -> list[str]:
    """The printable character for each of the 256 bytes, in the order of CLIP's vocabulary (Radford et al. 2019, GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def merged_from_text(data: bytes) -> list[str] | None:
    """The tokens that a merges.txt makes, in order; None when a line is not a pair."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    return merged_from_list([line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#version")])


def merged_from_list(value: Any) -> list[str] | None:
    """The tokens that merges written as 'a b' or as ['a', 'b'] make, in order; None when an item is neither."""
    if not isinstance(value, list):
        return None
    types = {*map(type, value)}
    if types <= {str}:
        return [pair.replace(" ", "") for pair in value] if {pair.count(" ") for pair in value} <= {1} else None
    sound = types == {list} and {*map(len, value)} == {2} and {type(text) for pair in value for text in pair} == {str}
    return list(map("".join, value)) if sound else None


def check(findings: Findings, path: str, vocab: Mapping[str, Any], merged: list[str], rows: int | None) -> bool:
    """Findings for one vocabulary and the tokens its merges make; ``rows`` of the embedding table. False: it is no map at all."""
    ids = list(vocab.values())
    if not ids or not {*map(type, ids)} <= {int} or min(ids) < 0 or len(set(ids)) != len(ids):
        findings.add("tokenizer-map", path, "Its ids are not one distinct whole number per token.")
        return False
    if min(map(len, vocab)) == 0 or max(map(len, vocab)) > MAX_TOKEN:
        findings.add("tokenizer-map", path, f"A token is empty or longer than {MAX_TOKEN} characters.")
        return False
    if rows is not None and max(ids) >= rows:
        last = show(str(max(ids)), 30)
        findings.add("token-range", path, f"The id {last} lies beyond the {rows:,} rows of the embedding table.")
    joined = list(dict.fromkeys(merged))
    if not vocab.keys() >= set(joined):
        findings.add("tokenizer-map", path, "A merge makes a token that the vocabulary does not hold.")
        return False
    if odd := _out_of_order(vocab, joined):
        sentence = f"{len(odd)} tokens have other ids than the order of CLIP's vocabulary gives them, e.g. '{show(odd[0], 200)}'."
        findings.add("tokenizer-rewrite", path, sentence)
    return True


def _out_of_order(vocab: Mapping[str, int], joined: list[str]) -> list[str]:
    """Tokens whose id is not where CLIP's construction puts it: 256 bytes, 256 final bytes, then one per merge.

    Vocabularies that do not begin with the bytes are only asked that later merges have larger ids.
    """
    characters = byte_characters()
    canonical = [*characters, *(c + END for c in characters)]
    in_place = sum(vocab.get(token) == i for i, token in enumerate(canonical))
    if in_place > 0.9 * len(canonical):
        tokens = [*canonical, *joined]
        got = list(map(vocab.get, tokens))
        return [] if got == list(range(len(tokens))) else [t for i, (t, n) in enumerate(zip(tokens, got, strict=True)) if n != i]
    ids = [vocab[token] for token in joined]
    return [token for token, here, after in zip(joined, ids, ids[1:], strict=False) if here > after]
