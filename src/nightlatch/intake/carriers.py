"""What else can carry a backdoor: hidden adapters, further weights, tokens and tokenizers become things for a scan to try."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from nightlatch.records import Finding, Manifest
from nightlatch.safetext import unshow

Kind = Literal["adapter", "variant", "lora", "embedding", "weights", "token", "tokenizer"]

_ATTEMPTS: Mapping[Kind, str] = {
    "adapter": "Scan the base alone, and then the base with this adapter applied.",
    "variant": "Scan the model again with this file as the weights of its component.",
    "lora": "Scan it as a LoRA on this model.",
    "embedding": "Load the embedding into the text encoder and try its token first.",
    "weights": "Scan this file as a model of its own.",
    "token": "Try the token as a trigger before any other word.",
    "tokenizer": "Try the rewritten texts, and compare with CLIP's own tokenizer on the same prompts.",
}
_ADDED = re.compile(r"The added token '(.*)' (?:reads like a word|is not one of CLIP's)\.", re.S)
_SPECIAL = re.compile(r"'.*?' is '(.*)', which a prompt may hold by itself\.", re.S)
_REPLACED = re.compile(r"it replaces '(.*)' by '(.*)'\. ", re.S)
_OTHER_ID = re.compile(r", e\.g\. '(.*)'\.", re.S)
_EMBEDDING = re.compile(r"A textual-inversion embedding for '(.*)' lies beside", re.S)
_MORE = re.compile(r"[\d,]+ further findings of this rule are not listed\.")


@dataclass(frozen=True, slots=True)
class SubjectHint:
    """One thing to try beside the model as it is staged.

    Args:
        kind: what carries it.
        file: path inside the source, as it is really called; '' when the name was too long to be recorded or several are meant.
        attempt: what to try, one sentence.
        texts: strings to try as triggers, as they really are (show them escaped only).
    """

    kind: Kind
    file: str
    attempt: str
    texts: tuple[str, ...] = ()


def subjects(manifest: Manifest) -> tuple[SubjectHint, ...]:
    """The hints of all findings, in their order, each once; findings that were only counted give a hint without a file."""
    hints: dict[SubjectHint, None] = {}
    for finding in manifest.findings:
        read = _READERS.get(finding.rule)
        if read is None:
            continue
        hint = read(finding)
        if _MORE.fullmatch(finding.sentence):
            hint = SubjectHint(hint.kind, "", f"More were found than are listed; read them from the files. {hint.attempt}")
        hints[hint] = None
    return tuple(hints)


def _hint(kind: Kind, finding: Finding, *texts: str) -> SubjectHint:
    """A hint whose texts are un-escaped; those that were cut cannot be known and are left out."""
    real = [unshow(t) for t in texts]
    kept = dict.fromkeys(t.removesuffix("</w>") for t in real if t)
    return SubjectHint(kind, unshow(finding.file) or "", _ATTEMPTS[kind], tuple(t for t in kept if t))


def _adapter(finding: Finding) -> SubjectHint:
    return _hint("adapter", finding)


def _variant(finding: Finding) -> SubjectHint:
    return _hint("variant", finding)


def _token(finding: Finding) -> SubjectHint:
    found = _ADDED.fullmatch(finding.sentence) or _SPECIAL.fullmatch(finding.sentence)
    return _hint("token", finding, *(found.groups() if found else ()))


def _tokenizer(finding: Finding) -> SubjectHint:
    """Both sides of a replacement, or the token that has another id."""
    found = _REPLACED.search(finding.sentence) or _OTHER_ID.search(finding.sentence)
    return _hint("tokenizer", finding, *(found.groups() if found else ()))


def _extra(finding: Finding) -> SubjectHint:
    """A further weights file: a LoRA, an embedding (its token, or the file's name as some programs have it), or a model."""
    if finding.sentence.startswith("A LoRA "):
        return _hint("lora", finding)
    if not finding.sentence.startswith("A textual-inversion embedding"):
        return _hint("weights", finding)
    found = _EMBEDDING.match(finding.sentence)
    return _hint("embedding", finding, *(found.groups() if found else ()), PurePosixPath(finding.file).stem)


_READERS: Mapping[str, Callable[[Finding], SubjectHint]] = {
    "hidden-adapter": _adapter,
    "second-variant": _variant,
    "ambiguous-weights": _variant,
    "extra-weights": _extra,
    "added-token": _token,
    "special-token": _token,
    "tokenizer-rewrite": _tokenizer,
}
