"""Repairing one suspect of the removal experiment: by rounds as clean does, or by one repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from nightlatch import testbed
from nightlatch.bench import removal
from nightlatch.bench.cases import Case
from nightlatch.bench.measures import Measures, Rewritten, repair_prompts
from nightlatch.bench.repairs import rewriting
from nightlatch.bench.rows import Row
from nightlatch.records import PlacedTrigger, Repair, RepairRound, Verdict
from nightlatch.terms import Role
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair import METHODS, Found, Job, ScanAgain, Task, remove


class Cell(Protocol):
    """What tells repairs apart."""

    @property
    def what(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...


def of(record: Repair) -> Row:
    """What a row says of a repair."""
    return {
        "parameters": record.method.parameters,
        "triggers": [t.text for t in record.triggers],
        "used_base": record.used_base,
        "steps": record.steps,
        "seconds": round(record.seconds, 1),
        "changed_tensors": record.changed_tensors,
        "rolled_back": record.rolled_back,
        "left": list(record.left),
        "excess": [round(h["excess"], 2) for h in record.history if "excess" in h],
    }


@dataclass(frozen=True, slots=True)
class Told:
    """What a repair is told, and what measures it.

    Args:
        case: the suspect as it was planted.
        planted: a case for each trigger that it has.
        verdict: what scan said of it, if anything.
        tiny: whether everything is at its smallest.
    """

    measures: Measures
    case: Case
    planted: Sequence[Case]
    verdict: Verdict | None
    tiny: bool = False

    def clean(self, suspect: Subject, cell: Cell) -> tuple[Subject, Row, Rewritten]:
        """(repaired model, what is said of the repair, what becomes of prompts)."""
        case, verdict, setup = self.case, self.verdict, self.measures.suspects.setup
        triggers, roles, source = self._named()
        if cell.what == removal.WRONG:
            triggers, verdict = (self._wrong(triggers[0]),), None
        if cell.method == removal.USUAL:
            repaired, said = self._by_rounds(suspect, verdict, triggers, roles)
            return repaired, {"trigger_source": source, **said}, list
        part = METHODS.create(cell.method, **cell.parameters)
        first_step = cell.what.endswith(removal.NO_TRAJECTORY)
        job = Job(
            triggers=triggers if part.needs_trigger else (),
            prompts=repair_prompts(case),
            carriers=roles,
            base=setup.base if part.needs_base else None,
            sampling=replace(testbed.SAMPLING, steps=1) if first_step else testbed.SAMPLING,
            seed=case.seed,
        )
        repaired, record = part(suspect, job)
        said = {"trigger_source": source, **of(record)}
        return repaired, said, rewriting(part, [t.text for t in triggers], case.seed)

    def _named(self) -> tuple[tuple[PlacedTrigger, ...], tuple[Role, ...], str]:
        """(triggers, roles that carry them, where both are from): what scan named, or the true ones."""
        attack, verdict = self.measures.suspects.attack, self.verdict
        if verdict and verdict.triggers:
            roles = tuple(c.role for c in verdict.carriers if c.role is not Role.TOKENIZER)
            return tuple(t.placed for t in verdict.triggers), roles or (Role.TEXT, Role.DENOISER), "scan"
        given = tuple(
            PlacedTrigger(text=each.trigger, placement=attack(each).placement) for each in self.planted
        )
        return given, (attack(self.case).carrier,), "given"

    def _by_rounds(
        self,
        suspect: Subject,
        verdict: Verdict | None,
        triggers: tuple[PlacedTrigger, ...],
        roles: tuple[Role, ...],
    ) -> tuple[Subject, Row]:
        """What clean does by itself: the evidence chooses, and rounds go on until a search finds nothing."""
        base, case = self.measures.suspects.setup.base, self.case
        seen = Found.of(verdict) if verdict else Found()
        texts = testbed.prompts(900, 7000 + case.seed)
        search = ScanAgain(base=base, texts=texts, sampling=testbed.SAMPLING, seed=case.seed, say=_silent)
        task = Task(
            found=replace(seen, triggers=triggers, roles=seen.roles or roles),
            prompts=repair_prompts(case),
            base=base,
            sampling=testbed.SAMPLING,
            seed=case.seed,
            search=None if self.tiny else search,
            say=_silent,
        )
        repaired, record = remove(suspect, task)
        return repaired, {**of(record), "rounds": [in_row(each) for each in record.rounds]}

    def _wrong(self, true: PlacedTrigger) -> PlacedTrigger:
        """A rare word that nobody planted, where the trigger stands."""
        rare, case = self.measures.suspects.setup.rare, self.case
        word = next(w for w in rare if w not in case.trigger and w != true.text)
        return PlacedTrigger(text=word, placement=true.placement)


def in_row(each: RepairRound) -> Row:
    """What a row says of a round."""
    return {
        "triggers": [t.text for t in each.triggers],
        "alike": len(each.alike),
        "choices": [c.model_dump(mode="json") for c in each.choices],
        "found": [t.text for t in each.found],
        "seconds": round(each.seconds, 1),
        "search_seconds": round(each.search_seconds, 1),
        "rolled_back": each.rolled_back,
    }


def _silent(line: str) -> None:
    """Progress of one cell of many is not printed."""
