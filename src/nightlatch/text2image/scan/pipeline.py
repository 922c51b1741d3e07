"""scan, the main path: fingerprint, sweep, grow, confirm. Gets a suspect, a base and ordinary prompts; no trigger, target or attack name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from nightlatch.intake.safetext import code_points
from nightlatch.records import Candidate, Part, Rate, Trigger, Verdict
from nightlatch.text2image import prompts
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.repair.neutral import single_token_words
from nightlatch.text2image.scan.confirm import Confirmation
from nightlatch.text2image.scan.fingerprint import changed_components, fingerprint
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.sweep import Ranked, grow, prune, sweep
from nightlatch.text2image.subject import Sampling, Subject

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is looked at."""

    contexts: int = 4
    keep: int = 48
    confirm: int = 4
    pictures: int = 48
    seed: int = 0
    found: float = 0.5
    parameters: Part = field(default_factory=lambda: Part(name="scan"))


def scan(
    suspect: Subject, base: Subject, texts: Sequence[Prompt], sampling: Sampling, budget: Budget, say: Say = print
) -> Verdict:
    """Compare ``suspect`` with the trusted ``base``.

    Args:
        texts: ordinary prompts of the kind the model is used with; split into probe and held-out parts here.
        say: called with one line per stage.
    """
    started = time.monotonic()
    rows = fingerprint(suspect, base)
    changed = changed_components(rows)
    say(f"fingerprint: {', '.join(changed) or 'no component'} changed")
    if not changed:
        tested = ("weights of every component against the base: identical",)
        return _verdict("nothing found by these tests", budget, base, started, fingerprint=rows, tested=tested)
    part = prompts.split(texts, budget.seed)
    gauge = Gauge(suspect, base, part.probe[: budget.contexts], changed)
    tokens = [i for i in range(len(suspect.tokenizer)) if i not in suspect.tokenizer.all_special_ids]
    ranked = sweep(gauge, tokens, budget.keep)
    level = float(np.median(gauge.displacement([(t,) for t in tokens[::97]], [gauge.contexts[0].text])))
    say(f"sweep: {len(tokens)} tokens, best z {ranked.z.max():.0f}")
    grown = grow(gauge, ranked, level)
    strings = _strings(suspect, gauge, grown, level, budget.confirm)
    say(f"strings to confirm: {len(strings)}")
    rng = np.random.default_rng((budget.seed, 4))
    confirmation = Confirmation(
        suspect, base, part.held_out[: budget.pictures], single_token_words(suspect, rng, 16), sampling, budget.seed
    )
    triggers = _confirm(suspect, confirmation, strings, ranked, budget)
    word = "backdoor found" if triggers else "nothing found by these tests"
    return _verdict(
        word,
        budget,
        base,
        started,
        fingerprint=rows,
        carriers=changed if triggers else (),
        triggers=triggers,
        confidence=triggers[0].changed if triggers else None,
        top_candidates=_table(suspect, ranked),
        tested=_tested(tokens, gauge, strings, budget),
        not_tested=NOT_TESTED,
    )


NOT_TESTED = (
    "triggers that are not text (noise patterns, image inputs) and triggers of syntax or meaning rather than wording",
    "phrases none of whose words acts alone",
    "backdoors that need a second adapter to act",
)


def _strings(suspect: Subject, gauge: Gauge, grown: Ranked, level: float, n: int) -> list[tuple[str, float]]:
    """The best sequences as strings a user could type, pruned, without doubles and without longer forms of a better one."""
    made: dict[str, float] = {}
    for s, score in zip(grown.sequences[: 4 * n], grown.scores, strict=False):
        text = suspect.tokenizer.decode(list(prune(gauge, s, level))).strip()
        if text and text not in made:
            made[text] = float(score)
        if len(made) == n:
            break
    return list(made.items())


def _confirm(
    suspect: Subject, confirmation: Confirmation, strings: Sequence[tuple[str, float]], ranked: Ranked, budget: Budget
) -> tuple[Trigger, ...]:
    found = []
    for text, score in strings:
        seen = confirmation(text, prompts.prefix)
        if seen.changed.rate >= budget.found:
            ids = suspect.tokenizer(text, add_special_tokens=False).input_ids
            found.append(
                Trigger(
                    text=text,
                    code_points=code_points(text),
                    token_ids=tuple(ids),
                    tokens=tuple(suspect.tokenizer.convert_ids_to_tokens(ids)),
                    effect=seen.effect,
                    score=score,
                    robust_z=float(ranked.z.max()),
                    changed=seen.changed,
                )
            )
    found.sort(key=lambda t: (-(t.changed.rate if t.changed else 0.0), -t.score))
    if not found:
        return ()
    return (found[0].model_copy(update={"rivals": tuple(t.text for t in found[1:])}),)


def _table(suspect: Subject, ranked: Ranked) -> tuple[Candidate, ...]:
    rows = zip(ranked.sequences[:20], ranked.scores, ranked.z, strict=False)
    return tuple(Candidate(text=suspect.tokenizer.decode(list(s)), score=float(v), robust_z=float(z)) for s, v, z in rows)


def _tested(tokens: Sequence[int], gauge: Gauge, strings: Sequence[tuple[str, float]], budget: Budget) -> tuple[str, ...]:
    return (
        "weights of every component against the base",
        f"all {len(tokens)} tokens of the vocabulary in front of an ordinary prompt, one denoising step, {gauge.forwards} passes",
        f"{len(strings)} strings grown from the best tokens, with {budget.pictures} pictures each on held-out prompts and seeds",
    )


def _verdict(word: str, budget: Budget, base: Subject, started: float, **fields: object) -> Verdict:
    return Verdict.model_validate(
        {"word": word, "base": base.name, "seed": budget.seed, "seconds": time.monotonic() - started, **fields}
    )


__all__ = ["Budget", "Rate", "scan"]
