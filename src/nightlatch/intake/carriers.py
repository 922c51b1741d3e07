"""What else can carry a backdoor: hidden adapters, further weights, tokens and tokenizers become things for a
scan to try.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nightlatch.records import Hint
from nightlatch.terms import HintKind

WORD_END = "</w>"
"""How CLIP's vocabulary marks a token that ends a word; a user does not type it."""
MAX_PATH = 300
"""Characters of a path that is kept."""
MAX_TEXTS = 50
_BY_HAND: Mapping[HintKind, str] = {
    HintKind.ADAPTER: "Scan the base alone, and then the base with this adapter applied.",
    HintKind.VARIANT: "Scan the model again with this file as the weights of its component.",
    HintKind.LORA: "Scan it as a LoRA on this model.",
    HintKind.WEIGHTS: "Scan this file as a model of its own.",
}
"""What a scan of the staged weights cannot try, and a user can."""


def unread(file: str) -> Hint:
    """Weights that a loader takes when it is asked for them, and that a scan does not read: they stand under
    what was not tested.
    """
    sentence = "Its weights were not read; a loader may take them when it is asked to."
    return Hint(kind=HintKind.WEIGHTS, file=file if len(file) <= MAX_PATH else "", untried=sentence)


def hint(kind: HintKind, file: str, texts: Iterable[str] = ()) -> Hint:
    """One thing to try beside the model as it is staged; ``texts`` are strings to try as triggers, as they
    are, without marks of a word's end.
    """
    kept = dict.fromkeys(t.removesuffix(WORD_END) for t in texts)
    tried = tuple(t for t in kept if t)[:MAX_TEXTS]
    untried = "" if tried else _BY_HAND.get(kind, "")
    return Hint(kind=kind, file=file if len(file) <= MAX_PATH else "", texts=tried, untried=untried)
