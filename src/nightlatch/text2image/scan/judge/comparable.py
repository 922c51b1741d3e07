"""Whether pictures of suspect and base can be compared at all.

Same settings, finite numbers, answers that depend on the prompt.

What sabotages a model's own pictures would otherwise hide every trigger, and a scan would find nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from nightlatch.errors import NotScanned
from nightlatch.records import ComponentChange
from nightlatch.safetext import show
from nightlatch.terms import ChangePattern, Role
from nightlatch.text2image.effect.one_step import finite
from nightlatch.text2image.measure import seeds
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan.question import Question

SCHEDULER = "scheduler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparable:
    """Refuses what cannot be compared.

    Args:
        prompts: drawn from one and the same noise with both models.
        silent: a model whose latents differ between these prompts by less than this part of their mean
            square does not read its prompt. Far above rounding, which float32 keeps below 1e-13 of it.
        faint: a suspect whose latents differ between the prompts by less than this part of what the base's
            do hardly reads its prompt any more. A hundredth is no matter of taste: such a model is of no
            use.
        heavier: how many times the base's weights a component may hold, and how many times the base's
            multiplications a pass through it may take. A scan of thousands of passes would take as long as a
            stranger likes; fine-tuning adds none, and adapters are merged.
        named: most settings of a scheduler that a report names.
    """

    name: ClassVar[str] = "comparable"
    prompts: int = 4
    silent: float = 1e-10
    faint: float = 1e-2
    heavier: float = 1.5
    named: int = 20

    def __call__(self, question: Question) -> None:
        """Look at settings, then draw a few prompts.

        Raises:
            NotScanned: the models predict different things, a component's settings, size or work differ, a latent
                is not finite, or the prompt makes no difference, or hardly any where it makes one to the base.
        """
        if question.delta is not None:
            require_same_settings(question.suspect, question.reference.model)
            self._require_same_size(question.suspect, question.reference.model)
        self._require_answers(question)

    def _require_same_size(self, suspect: Subject, base: Subject) -> None:
        for count, words in (
            (_weights, "holds {:.1f} times as many weights as"),
            (_work, "works {:.1f} times as long as"),
        ):
            mine, theirs = count(suspect), count(base)
            for name, number in mine.items():
                if number > self.heavier * theirs[name]:
                    sentence = f"The {name} {words.format(number / max(theirs[name], 1))} the base's."
                    raise NotScanned(sentence, "Give the base it was made from.")
        for name in (*suspect.named(Role.TEXT), *suspect.named(Role.DENOISER)):
            ours, other = (_shapes(s.parts[name].module) for s in (suspect, base))
            if odd := sorted(n for n in ours.keys() | other.keys() if ours.get(n) != other.get(n)):
                sentence = (
                    f"The {name} has {len(odd)} other layers than the base's, e.g. '{show(odd[0], 80)}'."
                )
                raise NotScanned(sentence, "Give the base it was made from.")

    def schedule(self, question: Question) -> tuple[ComponentChange, ...]:
        """A row for the report where the suspect's noise schedule is not the base's in every setting."""
        odd, known = scheduler_differences(question)
        if not odd:
            return ()
        return (
            ComponentChange(
                component=SCHEDULER,
                role=Role.SCHEDULER,
                tensors=known,
                changed=len(odd),
                relative_norm=0.0,
                median_rank=0.0,
                layers=odd[: self.named],
                pattern=ChangePattern.SETTINGS,
            ),
        )

    def _require_answers(self, question: Question) -> None:
        mine = self._spread(question, question.suspect.latents, question.suspect)
        theirs = self._spread(question, question.reference.draw, question.reference.model)
        if not theirs > self.silent:
            raise NotScanned("The base's pictures do not depend on the prompt.", "Give another base.")
        if not mine > max(self.silent, self.faint * theirs):
            raise NotScanned("The model's pictures do not depend on the prompt.", "Do not load this model.")

    def _spread(self, question: Question, draw: Callable[..., torch.Tensor], model: Subject) -> float:
        """Mean squared difference between the prompts' latents, over their mean square."""
        texts = [p.text for p in question.part.probe[: self.prompts]]
        x = finite(draw(texts, seeds(1, question.seed) * len(texts), question.sampling), model)
        return float((x - x[:1]).pow(2).mean()) / max(float(x.pow(2).mean()), 1e-30)


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape, of a table of tokens its width alone: a file may add words."""
    tables = {f"{n}.weight" for n, m in module.named_modules() if isinstance(m, torch.nn.Embedding)}
    return {n: tuple(p.shape)[n in tables :] for n, p in module.named_parameters()}


def _weights(subject: Subject) -> dict[str, int]:
    return {name: sum(p.numel() for p in part.module.parameters()) for name, part in subject.parts.items()}


@torch.no_grad()
def _work(subject: Subject) -> dict[str, int]:
    """Multiplications and additions of one pass through each component, by name: counted, not timed, so that a busy
    machine decides nothing.
    """
    made: dict[str, int] = {}
    noise = subject.noise([0])
    condition = None
    for role in (Role.TEXT, Role.DENOISER, Role.DECODER):
        with FlopCounterMode(display=False) as counter:
            if condition is None:
                condition = subject.read(["a"])
            elif role is Role.DENOISER:
                subject.denoise(noise, subject.schedule.at_share(1.0), condition)
            else:
                subject.decode(noise)
        made |= dict.fromkeys(subject.named(role), counter.get_total_flops())
    return made


def scheduler_differences(question: Question) -> tuple[tuple[str, ...], int]:
    """(the scheduler's settings in which suspect and base differ, "class" first; how many there are beside it)."""
    mine, theirs = (dict(s.settings.get(SCHEDULER, {})) for s in (question.suspect, question.reference.model))
    known = sorted((mine.keys() | theirs.keys()) - {"class"})
    return differing(mine, theirs, ["class", *known]), len(known)


def require_same_settings(suspect: Subject, base: Subject) -> None:
    """Compare every setting that changes what a component does with the same weights.

    Raises:
        NotScanned: one differs, or the models predict different things.
    """
    mine, theirs = ({k: v for k, v in s.settings.items() if k != SCHEDULER} for s in (suspect, base))
    for part in dict.fromkeys([*mine, *theirs]):
        ours, other = mine.get(part, {}), theirs.get(part, {})
        if odd := differing(ours, other, list(dict.fromkeys([*ours, *other]))):
            remedy = "Give the base it was made from."
            raise NotScanned(f"The {part}'s settings differ from the base's in {', '.join(odd)}.", remedy)
    kinds = [_predicts(s) for s in (suspect, base)]
    if kinds[0] != kinds[1]:
        raise NotScanned(
            "The model predicts {}, the base {}.".format(*kinds), "Give a base that predicts the same."
        )


def _predicts(subject: Subject) -> str:
    """What the denoiser's raw output is, by the scheduler's settings; for a flow, the kind of schedule."""
    return str(
        subject.settings.get(SCHEDULER, {}).get("prediction_type", type(subject.schedule).__name__.lower())
    )


def differing(mine: Mapping[str, Any], theirs: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    """The ``keys`` whose values are not the same."""
    return tuple(k for k in keys if plain(mine.get(k)) != plain(theirs.get(k)))


def plain(value: Any) -> Any:
    """``value`` in one form: nothing for false, lists as tuples, one number for as many equal ones."""
    if isinstance(value, list | tuple):
        return value[0] if value and all(type(v) is int and v == value[0] for v in value) else tuple(value)
    return value or None if isinstance(value, bool) else value
