"""What acts like a trigger: its pieces and spellings, its rivals in the scan's ranking, and strings of its kind.

A backdoor seldom answers to one string. An edit made with few prompts fires for many words, one found by a
sibling of the planted word fires most for the planted one. So a repair works on the set: on every string that
draws what the trigger draws, wherever in the prompt it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from nightlatch.records import PlacedTrigger, Placement
from nightlatch.terms import PlacementKind
from nightlatch.text2image import prompts
from nightlatch.text2image.effect.gain import Gains
from nightlatch.text2image.effect.neutral import USUAL, Neutral, neutral, single_token_words
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.model import Subject, Tokens
from nightlatch.text2image.prompts import Prompt, placed

LEAST = 1e-12
UNREADABLE = "\ufffd"
"""Stands where bytes are no text; nobody types it."""
OBJECT = "object"
"""The slot in whose place strings are tried, as a scan does."""
SALT = 29
"""Sets the draw of random strings apart from other random draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """How strings that act like a trigger are looked for.

    Args:
        prompts: that ask for things as different as possible; the median of them counts.
        level: part of the way from the disarmed to the attacked output, at the first step, beyond which a
            string acts like the trigger. Unrelated strings go 0 of it.
        base: a string that goes more than this part of its own way in a trusted base, too, means what the
            trigger draws and is no trigger.
        disarmed: prompts on which it is worked out what the trigger's place holds without it.
        most: strings, with their places, that are kept.
        ranked: strings that a scan names that are tried; a record may come from a stranger and list any number.
        spellings: near-spellings that are tried.
        random: random strings of the trigger's kind that are tried.
        answering: tokens of the whole vocabulary that are tried, those whose keys and values are nearest
            to the trigger's.
        strings: that a search of a repaired model names at most.
    """

    prompts: int = 3
    level: float = 0.3
    base: float = 0.5
    disarmed: int = 4
    most: int = 32
    ranked: int = 128
    spellings: int = 24
    random: int = 64
    answering: int = 64
    strings: int = 4

    def on(self, subject: Subject, trigger: PlacedTrigger, texts: Sequence[Prompt], seed: int) -> Acting:
        """Ready to measure strings against what ``trigger`` draws on ``texts``."""
        place, numbers = placed(trigger.placement, seed), replace(USUAL, prompts=self.disarmed)
        form = neutral(subject, trigger.text, texts, seed, place, numbers)
        return Acting(
            numbers=self,
            subject=subject,
            trigger=trigger,
            texts=prompts.diverse(texts, self.prompts),
            known=prompts.slot_words(texts),
            form=form,
            seed=seed,
        )

    def tried(self, acting: Acting, ranking: Sequence[str]) -> list[str]:
        """The strings that are worth a look; ``ranking`` are those that a scan names."""
        subject, text = acting.subject, acting.trigger.text
        rng = np.random.default_rng((acting.seed, SALT))
        (tokens,) = subject.vocabulary.typed([text])
        parts = [*text.split(), *(subject.vocabulary.texts([i] for i in tokens))]
        kind = random_like(subject, text, tokens, rng, self.random)
        near = prompts.near_spellings(text, self.spellings, rng)
        made = dict.fromkeys(
            [text, *ranking[: self.ranked], *parts, *near, *kind, *self._answering(subject, tokens)]
        )
        listed = [t for t in made if t.split() and UNREADABLE not in t]
        typed = subject.vocabulary.typed(listed)
        return [t for t, ids in zip(listed, typed, strict=True) if ids]

    def found(self, acting: Acting, strings: Sequence[str], trusted: Subject | None) -> list[PlacedTrigger]:
        """Those of ``strings`` that act like the trigger, each where it does, the strongest first.

        Raises:
            NotScanned: an output is not finite.
        """
        first = [acting.trigger.placement, Placement()]
        scored = acting.scores([(t, where) for t in strings for where in dict.fromkeys(first)])
        hits = list(dict.fromkeys(t for (t, _), value in scored.items() if value > self.level))
        others = [w for w in self.places(acting) if w not in first]
        scored |= acting.scores([(t, where) for t in hits for where in others])
        acts = {pair: value for pair, value in scored.items() if value > self.level}
        acts.pop((acting.trigger.text, acting.trigger.placement), None)
        meant = acting.meaning([t for t, _ in acts])
        usual = acting.scores(list(acts), trusted) if trusted is not None else {}
        left = [
            pair
            for pair in sorted(acts, key=acts.__getitem__, reverse=True)
            if pair[0] not in meant and usual.get(pair, 0.0) < self.base * acts[pair]
        ]
        return [PlacedTrigger(text=t, placement=where) for t, where in left[: self.most]]

    def still(self, acting: Acting, strings: Sequence[str], model: Subject) -> list[PlacedTrigger]:
        """Those of ``strings`` that in ``model``, a repaired copy, still draw what the trigger drew, each in the
        place where it does most, the strongest first.
        """
        places = list(dict.fromkeys([acting.trigger.placement, Placement()]))
        scored = acting.scores([(t, where) for t in strings for where in places], model)
        best: dict[str, tuple[float, Placement]] = {}
        for (text, where), value in scored.items():
            if value > self.level and value > best.get(text, (0.0, where))[0]:
                best[text] = value, where
        meant = acting.meaning(list(best))
        left = sorted((t for t in best if t not in meant), key=lambda t: -best[t][0])
        return [PlacedTrigger(text=t, placement=best[t][1]) for t in left[: self.strings]]

    def places(self, acting: Acting) -> list[Placement]:
        """Front, behind, between the words, and in the object's place where the prompts say what that is."""
        kinds = (PlacementKind.FRONT, PlacementKind.BEHIND, PlacementKind.INSIDE)
        slots = [Placement.in_slot(OBJECT)] if OBJECT in acting.known else []
        return [*(Placement(kind=kind) for kind in kinds), *slots]

    def _answering(self, subject: Subject, tokens: Tokens) -> list[str]:
        """Single tokens whose keys and values lie in the trigger's direction most, by one matrix product."""
        if not subject.sites.readers() or not tokens:
            return []
        ids = subject.vocabulary.alone
        gains = Gains(subject, "")
        known, (own,) = gains.states([(i,) for i in ids]), gains.states([tokens])
        middle = known.mean(0)
        way = (known - middle) @ gains.form @ (own - middle)
        return subject.vocabulary.texts(
            [ids[i]] for i in way.topk(min(self.answering, len(ids))).indices.tolist()
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Acting:
    """What a trigger draws at the first step on some prompts, as a measure for other strings.

    Args:
        texts: the prompts.
        known: slot -> the words that fill it in ordinary prompts.
        form: the trigger disarmed.
    """

    numbers: Alike
    subject: Subject
    trigger: PlacedTrigger
    texts: Sequence[Prompt]
    known: Mapping[str, Sequence[str]]
    form: Neutral
    seed: int

    @cached_property
    def step(self) -> OneStep:
        return OneStep.at_share(self.subject, self.seed)

    @cached_property
    def way(self) -> torch.Tensor:
        """From the disarmed to the attacked output of each prompt, (prompts, values)."""
        place = placed(self.trigger.placement, self.seed)
        attacked = self._outputs(self.subject, [place(p, self.trigger.text) for p in self.texts])
        return attacked - self._disarmed(self.subject, self.trigger.placement)

    def scores(
        self, pairs: Sequence[tuple[str, Placement]], model: Subject | None = None
    ) -> dict[tuple[str, Placement], float]:
        """Part of the way that each string goes where it stands, the median over the prompts: 1 for the
        trigger itself, 0 for strings that draw something else; of ``model``, by default the suspect.
        """
        if not pairs:
            return {}
        asked, way = model or self.subject, self.way
        texts = [placed(where, self.seed)(p, t) for t, where in pairs for p in self.texts]
        plain = {where: self._disarmed(asked, where) for where in dict.fromkeys(w for _, w in pairs)}
        moved = self._outputs(asked, texts).unflatten(0, (-1, len(self.texts)))
        moved = moved - torch.stack([plain[where] for _, where in pairs])
        parts = (moved * way).sum(-1) / way.pow(2).sum(-1).clamp(min=LEAST)
        return dict(zip(pairs, parts.median(1).values.tolist(), strict=True))

    def meaning(self, strings: Sequence[str]) -> set[str]:
        """Those of ``strings`` that mean what the trigger draws: words of the prompts' slots, and what lies
        nearer to such a word that draws it than to the trigger, by the states that the denoiser is told.
        """
        own = self.trigger.text
        words = {w for said in self.known.values() for w in said} - {own}
        asked = [t for t in dict.fromkeys(strings) if t not in words and t != own]
        drawing = [
            w for (w, _), value in self._known_scores.items() if value > self.numbers.level and w != own
        ]
        vocabulary = self.subject.vocabulary
        usable = [(t, s) for t, s in zip(asked, vocabulary.typed(asked), strict=True) if s]
        if not drawing or not usable:
            return words
        gains = Gains(self.subject, "")
        here, *there = gains.states(vocabulary.typed([own, *drawing]))
        states = gains.states([s for _, s in usable])
        from_trigger = (states - here).norm(dim=1)
        from_known = torch.stack([(states - k).norm(dim=1) for k in there]).amin(0)
        return words | {t for (t, _), a, b in zip(usable, from_known, from_trigger, strict=True) if a < b}

    @cached_property
    def _known_scores(self) -> dict[tuple[str, Placement], float]:
        """How far the known words of the trigger's slot go, in that slot."""
        slot = self.trigger.placement.slot or OBJECT
        return self.scores([(w, Placement.in_slot(slot)) for w in self.known.get(slot, ())])

    def _disarmed(self, model: Subject, where: Placement) -> torch.Tensor:
        place = placed(where, self.seed)
        return self._outputs(model, [self.form.disarm(p, place, i) for i, p in enumerate(self.texts)])

    def _outputs(self, model: Subject, texts: Sequence[str]) -> torch.Tensor:
        """The first step's outputs, one row a text."""
        return self.step.outputs(model, model.read(texts)).flatten(1)


def random_like(subject: Subject, text: str, tokens: Tokens, rng: np.random.Generator, n: int) -> list[str]:
    """Up to ``n`` random strings of the kind of ``text``: as many words, and of as many tokens a word; of one
    character, other tokens of one character that are no ASCII either.
    """
    if len(text) == 1 and not text.isascii():
        ids = list(subject.vocabulary.alone)
        single = [t for t in subject.vocabulary.texts([i] for i in ids) if len(t) == 1 and not t.isascii()]
        return [str(t) for t in rng.permutation(single)[:n]] if single else []
    words = single_token_words(subject, rng, 4 * n)
    per_word = max(1, round(len(tokens) / max(1, len(text.split()))))
    made = []
    for _ in range(n if words else 0):
        drawn = ["".join(str(w) for w in rng.choice(words, per_word)) for _ in text.split()]
        made.append(" ".join(drawn))
    return made
