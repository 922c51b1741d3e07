"""From changed weights to strings worth drawing: the sweep over the vocabulary, growth to full strings, and phrases for edited keys and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nightlatch.records import Candidate, ComponentChange
from nightlatch.text2image.scan.fingerprint import changed_components
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.phrases import pairs
from nightlatch.text2image.scan.sweep import Tokens, grow, prune, sweep
from nightlatch.text2image.subject import Subject


@dataclass(frozen=True, slots=True)
class Found:
    """``strings`` to confirm with pictures, ``table`` of the sweep's best tokens, ``tested`` sentences for the report."""

    strings: tuple[Candidate, ...]
    table: tuple[Candidate, ...]
    tested: tuple[str, ...]


def candidates(gauge: Gauge, rows: tuple[ComponentChange, ...], keep: int, n: int, say: Callable[[str], None]) -> Found:
    """The ``n`` most displaced strings that a user could type, without doubles."""
    suspect = gauge.suspect
    tokens = [i for i in range(len(suspect.tokenizer)) if i not in suspect.tokenizer.all_special_ids]
    ranked = sweep(gauge, tokens, keep)
    level = gauge.level(tokens)
    say(f"sweep: {len(tokens)} tokens, largest robust z {ranked.z.max():.0f}")
    tested = [f"all {len(tokens)} tokens of the vocabulary in front of an ordinary prompt"]
    grown = grow(gauge, ranked, level)
    scored: dict[Tokens, float] = dict(zip(grown.sequences, map(float, grown.scores), strict=True))
    if edited_keys_and_values(rows):
        words = whole_words(suspect)
        phrases = pairs(suspect, gauge.base, words)
        values = gauge.displacement(phrases, ["", *(p.text for p in gauge.contexts[:1])]).mean(0) - level
        scored.update(zip(phrases, map(float, values), strict=True))
        tested.append(
            f"two-word phrases: the words to which the edit responds most with each of {len(words)} words before and after"
        )
        say(f"phrases: {len(phrases)} kept")
    strings = typed(gauge, scored, level, n, float(ranked.z.max()))
    singles = zip(ranked.sequences[:20], ranked.scores, ranked.z, strict=False)
    table = tuple(Candidate(text=decoded(suspect, s), score=float(v), robust_z=float(k)) for s, v, k in singles)
    return Found(strings, table, tuple(tested))


def typed(gauge: Gauge, scored: dict[Tokens, float], level: float, n: int, z: float) -> tuple[Candidate, ...]:
    """The best sequences as strings, scored as the tokens that a user's typing makes of them; many pieces never stand alone when typed."""
    suspect, contexts = gauge.suspect, [p.text for p in gauge.contexts[:2]]
    texts: dict[str, None] = {}
    for s in sorted(scored, key=scored.__getitem__, reverse=True)[: 8 * n]:
        texts[decoded(suspect, s)] = None
        if len(texts) <= 2 * n:
            texts[decoded(suspect, prune(gauge, s, level))] = None
    ids = {t: tuple(suspect.tokenizer(t, add_special_tokens=False).input_ids) for t in texts if t}
    usable = [t for t in ids if ids[t]]
    values = gauge.displacement([ids[t] for t in usable], contexts).mean(0) - level
    order = sorted(range(len(usable)), key=lambda i: (-float(values[i]), len(ids[usable[i]])))
    return tuple(Candidate(text=usable[i], score=float(values[i]), robust_z=z) for i in order[:n])


def edited_keys_and_values(rows: tuple[ComponentChange, ...]) -> bool:
    """Whether the fingerprint is that of a closed-form edit."""
    return changed_components(rows) == ("unet",) and any("closed-form" in r.pattern for r in rows)


def whole_words(subject: Subject) -> list[int]:
    """Ids of tokens that are whole words of two or more letters."""
    vocabulary = subject.tokenizer.get_vocab()
    return [i for t, i in vocabulary.items() if t.endswith("</w>") and len(t) > 5 and t.removesuffix("</w>").isalpha()]


def decoded(subject: Subject, sequence: Tokens) -> str:
    """The string a user would type for ``sequence``."""
    return str(subject.tokenizer.decode(list(sequence))).strip()
