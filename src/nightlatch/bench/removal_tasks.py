"""The cells of the removal experiment: a suspect made, scanned and cleaned; cleaned otherwise; scanned again."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nightlatch import testbed
from nightlatch.bench import removal
from nightlatch.bench.cases import Case
from nightlatch.bench.measures import REGROWTH, Measures, Rewritten
from nightlatch.bench.passes import counted
from nightlatch.bench.removal_repairs import Told, of
from nightlatch.bench.rows import Row, Rows
from nightlatch.bench.setup import device_name
from nightlatch.errors import AttackFailed
from nightlatch.folder import write_whole
from nightlatch.provenance import plain
from nightlatch.records import Verdict
from nightlatch.terms import Role
from nightlatch.testbed import implant
from nightlatch.testbed.honest import fine_tune
from nightlatch.text2image.model import Subject
from nightlatch.text2image.repair import METHODS, Job
from nightlatch.text2image.scan import Confirmation, Judge, Question, TrustedBase, scan
from nightlatch.text2image.scan import plan as plans
from nightlatch.text2image.scan.judge import Influence
from nightlatch.text2image.verify import Regrowth

TABLE = "removal"
WEAK = 0.5
"""Attack success below which a suspect is not worth repairing."""
FEW = ("suggested",)
"""Stages of a scan that only walks through, and the judge of one."""
HASTY = Judge(confirmation=Confirmation(pictures=8), influence=Influence(prompts=4, words=2, alias_prompts=2))


@dataclass(frozen=True, slots=True)
class Removal:
    """One cell of one suspect; it can be sent to another process.

    Args:
        model: the suspect's name.
        what: "made", "again" (a second scan of the repaired model), "control", or a row of a repair.
        method: the repair, for those.
        parameters: of the repair.
        tiny: whether everything is at its smallest.
    """

    model: str
    what: str
    method: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tiny: bool = False

    def __call__(self, measures: Measures, rows: Rows) -> None:
        """Make the row unless it is there; whatever fails is said with its traceback, and ends nothing else."""
        started = time.monotonic()
        identity = {"table": TABLE, "model": self.model, "what": self.what}
        work = _Work(measures, rows, self)
        steps = {
            "made": work.made,
            "scanned": work.scanned,
            "again": work.again,
            "control": work.control,
            removal.BY_BASE: work.by_base,
            removal.HONEST: work.honest,
        }

        def make() -> Row:
            try:
                row = steps.get(self.what, work.repaired)()
                return dict(plain({**row, "wall_seconds": round(time.monotonic() - started, 1)}))
            except Exception:
                rows.say(f"{self.model}, {self.what}: {traceback.format_exc()}")
                raise

        try:
            row = rows.row(identity, make)
        except Exception as e:  # whatever it is, the other cells are done
            rows.failures.append(f"{self.model}, {self.what}: {type(e).__name__}: {e}")
            return
        if row:
            rows.say(f"{self.model}, {self.what}: {row['wall_seconds']} s, {shown(row)}")


def shown(row: Row) -> str:
    """What of a row is printed."""
    keys = ("success", "success_before", "success_after", "triggered_agreement", "clean_after", "regrowth")
    rates = [f"{k} {row[k]['rate']:.3f}" for k in keys if isinstance(row.get(k), dict)]
    return ", ".join([*rates, *(f"{k} {row[k]}" for k in ("triggers", "seconds", "excess") if k in row)])


@dataclass(frozen=True, slots=True)
class _Work:
    """What one cell does."""

    measures: Measures
    rows: Rows
    cell: Removal

    @property
    def folder(self) -> Path:
        """Where the suspect lies."""
        return self.measures.suspects.setup.models / self.cell.model

    @property
    def case(self) -> Case:
        """The suspect as it was planted, or is to be."""
        rare = self.measures.suspects.setup.rare
        made = (removal.quick if self.cell.tiny else removal.case)(self.cell.model, rare)
        row = self.known("made")
        return replace(made, trigger=row["trigger"], target=row["target"]) if row else made

    def known(self, what: str) -> Row:
        """Another row of the same suspect; empty where there is none."""
        return self.rows.known({"table": TABLE, "model": self.cell.model, "what": what})

    def suspect(self) -> Subject:
        """As it was saved; made again where an earlier call on another machine made it.

        Raises:
            AttackFailed: there is none, or it is too weak.
        """
        row, setup = self.known("made"), self.measures.suspects.setup
        if not self.folder.is_dir() and row:
            self.measures.suspects.make(self.case)
        if not row or (row["success"]["rate"] < WEAK and not self.cell.tiny):
            sentence = f"{self.cell.model} was not made, or its attack is too weak."
            raise AttackFailed(sentence, "Look at its row.")
        return setup.load(self.folder)

    def planted(self, case: Case) -> list[Case]:
        """A case for each trigger that the suspect has."""
        further = self.measures.suspects.attack(case).further()
        return [
            case,
            *(
                Case(attack=other.name, seed=case.seed, trigger=other.trigger, target=other.target, kind=case.kind,
                     drawn=True, label=f"{case.name} {i}")
                for i, other in enumerate(further, 2)
            ),
        ]  # fmt: skip

    # --- cells

    def made(self) -> Row:
        """The suspect, measured by its attack's own measure."""
        suspects, kind = self.measures.suspects, removal.KINDS[self.cell.model]
        case, refused = (self.case, []) if self.cell.tiny else suspects.settled(self.case)
        attack, (poisoned, seconds) = suspects.attack(case), suspects.make(case)
        rates = [self.measures.success(poisoned, each) for each in self.planted(case)]
        record = attack.measure(
            poisoned, suspects.setting(case), self.measures.held_out(case), seconds, rates[0]
        )
        further = attack.planted_too(suspects.setup.base, poisoned, suspects.setting(case), suspects.setup.n)
        implant.write_provenance(self.folder, record.model_copy(update={"also": further}))
        return {
            "family": kind.family, "attack": case.attack, "seed": case.seed, "kind_of_trigger": case.kind,
            "parameters": dict(case.parameters), "trigger": case.trigger, "target": case.target,
            "refused": refused, "carrier": suspects.setup.components(attack.carrier),
            "success": record.success.model_dump(), "success_each": [r.model_dump() for r in rates],
            "specificity": record.specificity.model_dump(), "seconds": round(seconds, 1),
        }  # fmt: skip

    def scanned(self) -> Row:
        """What scan says of the suspect."""
        return self._seen(self._judged(self.suspect()), self.folder / "verdict.json")

    def again(self) -> Row:
        """What a second scan says of the model that the default repair left."""
        repaired = self.measures.suspects.setup.load(self.folder.with_name(f"{self.cell.model}-cleaned"))
        return self._seen(self._judged(repaired), None)

    def control(self) -> Row:
        """What a model that never had the backdoor shows, and what honest training makes of it."""
        suspect, case, base = self.suspect(), self.case, self.measures.suspects.setup.base
        about = {"method": removal.CONTROL, "seconds": 0.0}
        return {**about, **self._outcome(base, suspect, case, list), **self._regrown(base, suspect, case)}

    def by_base(self) -> Row:
        """How often a model without the backdoor draws the target with the trigger; of several, the most."""
        base, case = self.measures.suspects.setup.base, self.case
        rates = [self.measures.success(base, each) for each in self.planted(case)]
        return {"success_base": max(rates, key=lambda r: r.rate).model_dump()}

    def honest(self) -> Row:
        """The blind repair of a model without a backdoor: the base, or an ordinary fine-tune of it."""
        base, seed = self.measures.suspects.setup.base, removal.SEED
        model = base if self.cell.model == removal.BASE else fine_tune(base, self.cell.model.split()[0], seed)
        prompts = testbed.prompts(200, 8000 + seed)
        part = METHODS.create(self.cell.method, **self.cell.parameters)
        job = Job(triggers=(), prompts=prompts, carriers=(Role.TEXT, Role.DENOISER),
                  sampling=testbed.SAMPLING, seed=seed)  # fmt: skip
        repaired, record = part(model, job)
        row = {"method": self.cell.method, **of(record), **self.measures.clean(model).row("before")}
        return {**row, **self.measures.clean(repaired).row("after")}

    def repaired(self) -> Row:
        """One repair, measured with what was planted."""
        cell, suspect, case = self.cell, self.suspect(), self.case
        (denoiser,) = suspect.modules(Role.DENOISER)
        with counted(denoiser) as passes:
            told = Told(self.measures, case, self.planted(case), self._verdict(), cell.tiny)
            repaired, said, rewritten = told.clean(suspect, cell)
        row = {
            "method": cell.method, **said, **passes.row(),
            **self._outcome(repaired, suspect, case, rewritten),
        }  # fmt: skip
        if cell.what == removal.DEFAULT:
            cleaned = self.folder.with_name(f"{cell.model}-cleaned")
            if not cleaned.exists():
                repaired.save(cleaned)
        if cell.what in (removal.DEFAULT, removal.BLIND, removal.SAU):
            row |= self._regrown(repaired, suspect, case)
        return row

    def _verdict(self) -> Verdict | None:
        """What scan said: its own record, or what its row keeps of it where that lies on another machine."""
        path, row = self.folder / "verdict.json", self.known("scanned")
        if path.is_file():
            return Verdict.model_validate_json(path.read_text("utf-8"))
        if not row:
            return None
        base = self.measures.suspects.setup.base
        roles = {name: part.role for name, part in base.parts.items()}
        roles |= {name: accessory.role for name, accessory in base.accessories.items()}
        pairs = zip(row["triggers"], row["placements"], strict=True)
        return Verdict.model_validate(
            {
                "word": row["verdict"],
                "triggers": [{"text": t, "placement": p} for t, p in pairs],
                "carriers": [{"component": c, "role": roles[c]} for c in row["carriers"]],
            }
        )

    def _judged(self, model: Subject) -> Verdict:
        """The scanner's verdict: it gets the model, the base and ordinary prompts, and nothing else."""
        setup, case = self.measures.suspects.setup, self.case
        tiny = self.cell.tiny
        question = Question(
            suspect=model,
            reference=TrustedBase(base=setup.base),
            texts=testbed.prompts(240 if tiny else 900, 7000 + case.seed),
            sampling=testbed.SAMPLING,
            seed=case.seed,
        )
        return scan(question, plans.of(FEW), HASTY) if tiny else scan(question)

    @staticmethod
    def _seen(verdict: Verdict, keep: Path | None) -> Row:
        if keep is not None:
            write_whole(keep, verdict.model_dump_json() + "\n")
        return {
            "verdict": verdict.word,
            "triggers": [t.text for t in verdict.triggers],
            "placements": [t.placement.model_dump(mode="json") for t in verdict.triggers],
            "carriers": [c.component for c in verdict.carriers],
            "seconds": round(verdict.seconds, 1),
        }

    def _outcome(self, repaired: Subject, suspect: Subject, case: Case, rewritten: Rewritten) -> Row:
        """Success of every planted trigger, what is asked, clean pictures; before and after."""
        measures, each = self.measures, self.planted(case)
        before = [measures.triggered(suspect, one)[0] for one in each]
        after = [measures.triggered(repaired, one, rewritten) for one in each]
        worst = max(range(len(each)), key=lambda i: after[i][0].rate)
        return {
            "success_before": before[worst].model_dump(),
            "success_after": after[worst][0].model_dump(),
            "success_each": [rate.model_dump() for rate, _ in after],
            "triggered_agreement": after[worst][1].model_dump(),
            "triggered_agreement_base": measures.asked(each[worst]).model_dump(),
            **self._clean_before(suspect),
            **measures.clean(repaired, rewritten).row("after"),
        }

    def _clean_before(self, suspect: Subject) -> Row:
        """Clean pictures of the suspect; of another row where one says it all of as many and of the same suspect."""
        keys, setup = ("clean_before", "fid_before", "kid_before"), self.measures.suspects.setup
        here = device_name(setup.base.device)
        for what in (removal.DEFAULT, "control", *removal.RIVALS):
            row = self.known(what)
            if row.get("device") != here or not all(row.get(k) is not None for k in keys):
                continue
            if row["clean_before"]["n"] == setup.n_clean:
                return {k: row[k] for k in keys}
        return self.measures.clean(suspect).row("before")

    def _regrown(self, repaired: Subject, suspect: Subject, case: Case) -> Row:
        training = Regrowth(steps=2, pictures=8) if self.cell.tiny else REGROWTH
        return {"regrowth": self.measures.regrown(repaired, suspect, case, training).model_dump()}
