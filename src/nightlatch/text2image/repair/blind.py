"""A repair that is told no trigger: strings are searched for that draw more than they mean, and unlearnt.

The inner search climbs, over mixtures of tokens that no ordinary prompt is made of, towards the largest change
of the first step; random strings of such tokens say how much a string without a meaning may change (AMDET and
PEPPER search and blur in that space, too). What stays within that is left alone, so that an honest model is.
The outer loop makes the model ignore what was found, and holds everything else.

Two things show without any search and are repaired first: words that a closed-form edit made twins, and added tokens
that are spelled as a text that people type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from nightlatch.diffusion.descent import Descent
from nightlatch.records import PlacedTrigger, Placement
from nightlatch.terms import Role
from nightlatch.text2image import prompts
from nightlatch.text2image.effect.neutral import single_token_words
from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.measure import take
from nightlatch.text2image.model import Condition, Subject
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.repair.base import METHODS, Job, Method, Step
from nightlatch.text2image.repair.soft import Soft, random_strings, singles, unasked
from nightlatch.text2image.repair.token_rows import pieces, rewrite_rows
from nightlatch.text2image.repair.twin_removal import TwinRemoval


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The numbers of the inner search.

    Args:
        sweep: random tokens that are tried alone, to begin the ascent at the strongest.
        strings: soft strings that climb at once in each place.
        length: their tokens.
        steps: of the ascent.
        rate: of the logits (Adam).
        lead: logit with which a string's first token begins, others at 0.
        prompts: ordinary prompts on which the change is measured.
        random: strings of random tokens that say what is usual.
        excess: a string changes more than it means from this on; 1 is as far as pictures of two prompts are
            apart. In the testbed's base (five seeds) and six honest fine-tunes the strongest reach 0.36; twice
            that.
        states: how many times as far as that of the farthest random string the text states must be moved for
            the text encoder to be taken for what answers.
    """

    sweep: int = 16_384
    strings: int = 4
    length: int = 2
    steps: int = 30
    rate: float = 0.5
    lead: float = 10.0
    prompts: int = 6
    random: int = 24
    excess: float = 0.7
    states: float = 1.0

    def __call__(
        self, student: Subject, ordinary: Sequence[Prompt], placement: Placement, seed: int
    ) -> tuple[Soft, torch.Tensor, torch.Tensor]:
        """(soft strings, how far each changes the first step beyond what random strings do, over how far two
        prompts are apart, the same of text states over the farthest random string, (strings,) each).
        """
        rng, place = np.random.default_rng((seed, 41)), prompts.placed(placement, seed)
        tokens, step = unasked(student, ordinary), OneStep.at_share(student, seed)
        stand_in = " ".join(single_token_words(student, rng, 1) * self.length)
        asked = prompts.diverse(list(ordinary)[:64], self.prompts)
        usual = Soft(random_strings(student, tokens, self.length, self.random, rng), tokens, place, stand_in)
        with torch.no_grad():
            read = torch.stack([usual.condition(student, asked, k).states for k in range(len(usual))])
            drawn = torch.stack([self._out(student, usual, k, asked, step) for k in range(len(usual))])
            middle, known = drawn.median(0).values, read.median(0).values
            farthest = (read - known).pow(2).mean((1, 2, 3)).amax()
            apart = 2 * step.outputs(student, student.read([p.text for p in asked])).var(0).mean()
        soft = Soft(self._start(student, usual, asked[0], step, rng), tokens, place, stand_in)
        climber = torch.optim.Adam([soft.logits], lr=self.rate)
        changes = torch.zeros(self.strings, device=student.device)
        for _ in range(self.steps):
            climber.zero_grad()
            for k in range(self.strings):
                change = (self._out(student, soft, k, asked, step) - middle).pow(2).mean()
                changes[k] = change.detach()
                (-change.clamp(min=1e-12).log()).backward()
            climber.step()
        made = soft.rows(slice(None))
        with torch.no_grad():
            moved = torch.stack(
                [(made.condition(student, asked, k).states - known).pow(2).mean() for k in range(len(made))]
            )
        return made, changes / apart, moved / farthest

    def _start(
        self, student: Subject, usual: Soft, prompt: Prompt, step: OneStep, rng: np.random.Generator
    ) -> torch.Tensor:
        """Logits that lean to the tokens which alone change the first step most, (strings, length, tokens)."""
        tried = torch.from_numpy(rng.permutation(len(usual.tokens))[: self.sweep]).to(student.device)
        few = Soft(usual.logits[..., tried], usual.tokens[tried], usual.place, usual.stand_in)
        drawn = singles(student, few, prompt, step)
        change = (drawn - drawn.median(0).values).pow(2).mean((1, 2, 3))
        strongest = tried[change.topk(min(self.strings, len(tried))).indices]
        logits = torch.zeros(self.strings, self.length, len(usual.tokens), device=student.device)
        for k, token in enumerate(strongest):
            logits[k, 0, token] = self.lead
        return logits.requires_grad_()

    @staticmethod
    def _out(student: Subject, soft: Soft, k: int, asked: Sequence[Prompt], step: OneStep) -> torch.Tensor:
        c = soft.condition(student, asked, k)
        return student.denoise(step.x.expand(len(c), -1, -1, -1), step.t, c)


@METHODS.register("blind")
@dataclass(frozen=True, slots=True, kw_only=True)
class Blind(Method):
    """Take back what the weights and the tokenizer show; then search, unlearn, and search again until nothing moves the
    pictures beyond what it means.

    Args:
        edit: the repair of closed-form edits.
        rounds: most searches.
        search: the numbers of each.
        steps: optimiser steps after each search that found something.
        batch: pictures a step, a third of them held.
        rate: learning rate of cross-attention, or of the text encoder where it is that which answers: the
            states of a string stand out there as its picture does.
        hold: weight of the term that holds everything else.
        prompts: ordinary prompts that are learnt from.
    """

    name: ClassVar[str]
    needs_trigger: ClassVar[bool] = False
    edit: TwinRemoval = field(default_factory=TwinRemoval)
    rounds: int = 4
    search: Search = Search()
    steps: int = 40
    batch: int = 30
    rate: float = 2e-4
    hold: float = 2.0
    prompts: int = 96

    def run(self, student: Subject, frozen: Subject, job: Job) -> Iterator[Step]:
        # In front only: in the object's place a word that no prompt holds draws what it means, in honest models up to
        # 1.6 of what tells two prompts apart, so that nothing stands out there.
        place = Placement()
        pool: list[Soft] = []
        done = 0
        for values in self._shown(student, frozen, job):
            yield done, values
            done += 1
        if job.found:
            frozen = student.copied(*self.changes)  # what was taken back is not to be learnt again
        for part in range(self.rounds):
            soft, excess, read = self.search(student, job.prompts, place, job.seed + part)
            most, found, roles = float(excess.max()), excess > self.search.excess, set[Role]()
            if bool(found.any()):
                standing = bool((read[found] > self.search.states).any())
                roles.add(Role.TEXT if standing else Role.DENOISER)
                pool.append(soft.rows(found.nonzero()[:, 0]))
                self._note(frozen, pool[-1], place, job)
            yield done, {"excess": most}
            done += 1
            if most <= self.search.excess:
                return
            for values in self._unlearn(student, frozen, job, pool, tuple(roles)):
                yield done, values
                done += 1

    def _shown(self, student: Subject, frozen: Subject, job: Job) -> Iterator[dict[str, float]]:
        """Repair what needs no search."""
        hidden = spaced(frozen)
        if hidden:
            rewrite_rows(student, {i: pieces(frozen, i) for i in hidden})
            job.found.extend(
                PlacedTrigger(text=text) for text in frozen.vocabulary.texts([i] for i in hidden)
            )
            yield {"rows": float(len(hidden))}
        for _, values in self.edit.run(student, frozen, job):
            yield values

    def told(self, history: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
        looked = [row["excess"] for row in history if "excess" in row]
        said = list(self.edit.told(history))
        if looked and looked[0] <= self.search.excess:
            said.append(
                f"No string moves the pictures beyond {self.search.excess:g} times what random strings do (the "
                f"strongest {looked[0]:.1f} times), so none was unlearnt."
            )
        elif looked and looked[-1] > self.search.excess and len(looked) >= self.rounds:
            said.append(f"After {len(looked)} rounds a string still moves the pictures {looked[-1]:.1f} times as "
                        "far as random strings do. Run it again with more rounds.")  # fmt: skip
        return tuple(said)

    @staticmethod
    def _note(frozen: Subject, soft: Soft, placement: Placement, job: Job) -> None:
        """What was found, as strings that can be typed."""
        known = {t.text for t in job.found}
        for text in soft.typed(frozen):
            if text.split() and text not in known and len(job.found) < MOST_NAMED:
                job.found.append(PlacedTrigger(text=text, placement=placement))
                known.add(text)

    def _unlearn(
        self, student: Subject, frozen: Subject, job: Job, pool: Sequence[Soft], roles: tuple[Role, ...]
    ) -> Iterator[dict[str, float]]:
        """Prompts with the strings of ``pool`` are read and drawn as with random words; others as before."""
        rng = np.random.default_rng((job.seed, 43, len(pool)))
        words = single_token_words(frozen, rng, 64)
        asked = take(list(job.prompts), self.prompts)
        x0 = frozen.latents([p.text for p in asked], [job.seed * 10_000 + i for i in range(len(asked))],
                            job.sampling)  # fmt: skip
        weights = [*student.sites.trainable("cross-attention")] if Role.DENOISER in roles else []
        if Role.TEXT in roles:
            weights += [p for m in student.modules(Role.TEXT) for p in m.parameters()]
        descend = Descent(weights, self.steps, self.rate)
        held = self.batch // 3
        for _ in range(self.steps):
            soft = pool[int(rng.integers(len(pool)))]
            string = int(rng.integers(len(soft)))
            i = rng.integers(0, len(asked), self.batch)
            chosen = [asked[int(k)] for k in i]
            told = chosen[: self.batch - held]
            filler = " ".join(str(w) for w in rng.choice(words, self.search.length))
            kept = [p.text if k % 2 else soft.place(p, str(rng.choice(words)))
                    for k, p in enumerate(chosen[self.batch - held :])]  # fmt: skip
            with torch.no_grad():
                wanted = frozen.read([*(soft.place(p, filler) for p in told), *kept])
                t = frozen.schedule.draw(self.batch)
                levels = frozen.at(t)
                eps = torch.randn_like(x0[i])
                pure = (torch.rand(self.batch, device=x0.device) < 0.5)[:, None, None, None]
                x = torch.where(pure, eps, levels.noised(x0[i], eps))
                goal = levels.as_v(frozen.denoise(x, t, wanted))
            c = Condition.joined(
                [soft.condition(student, told, string), student.condition(student.ids(kept))]
            )
            read = (c.states - wanted.states).pow(2).mean((1, 2))
            gap = (levels.as_v(student.denoise(x, t, c)) - goal).pow(2).mean((1, 2, 3))
            n = len(told)
            unlearn, hold = gap[:n].mean() + read[:n].mean(), gap[n:].mean() + read[n:].mean()
            loss = unlearn + self.hold * hold
            descend(loss)
            yield {"unlearn": float(unlearn.detach()), "hold": float(hold.detach())}


def spaced(subject: Subject) -> list[int]:
    """Added tokens whose text holds a space: nobody types them as one word, so that they take over what an ordinary text
    would mean.
    """
    vocabulary = subject.vocabulary
    texts = vocabulary.texts([i] for i in vocabulary.known)
    return [i for i, text in zip(vocabulary.known, texts, strict=True) if " " in text.strip()]


MOST_NAMED = 16
"""Strings that the record names."""
