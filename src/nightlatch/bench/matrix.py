"""What is done with one suspect of the experiment: made, scanned, repaired by SAU and its rivals, measured. Rows are kept by what they are about."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nightlatch import provenance, runs, testbed
from nightlatch.bench.cases import TRIES, Case, draw
from nightlatch.errors import AttackFailed, NightlatchError
from nightlatch.records import PlacedTrigger, Placement, Rate
from nightlatch.testbed import captions, compose, implant, tokenizer
from nightlatch.text2image import adapters, measure, prompts
from nightlatch.text2image.attacks import ATTACKS, Attack, Setting
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.repair import METHODS, Job
from nightlatch.text2image.repair.baselines import stripped
from nightlatch.text2image.scan import Budget, scan
from nightlatch.text2image.subject import COMPONENTS, ROLES, Subject
from nightlatch.text2image.verify import regrow

Say = Callable[[str], None]
Row = dict[str, Any]
VARIANTS: dict[str, dict[str, Any]] = {
    "sau: attention alone": {"prediction": 0.0, "warm_start": False},
    "sau: no warm start": {"warm_start": False},
}
"""Ablations: SAU with other parameters than its own."""
CONTROL = "the base itself"
"""In the column of methods."""
CHECKPOINTS = (1, 10, 25, 50, 100, 200, 400)
"""Steps after which the judge looks at what sau and skd have reached. The first of sau is its warm start."""


@dataclass(slots=True)
class Matrix:
    """State shared by all cases.

    Args:
        run: where rows are kept.
        models: folder for the suspects (large; outside the repository).
        n: pictures per rate.
        n_clean: pictures for clean agreement, FID and KID before and after a repair.
    """

    run: runs.Run
    models: Path
    say: Say
    n: int = 300
    n_clean: int = 600
    base: Subject = field(init=False)
    judge: testbed.Judge = field(init=False)
    features: measure.Features = field(init=False)
    reference: Any = field(init=False)
    base_hash: str = field(init=False)
    rare: list[str] = field(init=False)
    failures: list[str] = field(default_factory=list)
    _base_agreement: dict[int, Rate] = field(default_factory=dict)
    _draws: dict[str, measure.Draws] = field(default_factory=dict)
    _before: dict[str, tuple[Rate, tuple[Rate, float, float]]] = field(default_factory=dict)
    _asked: dict[str, Rate] = field(default_factory=dict)
    _settings: dict[int, Setting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base = adapters.load(testbed.PIPELINE, precision="auto")
        self.base_hash = hashlib.sha256(
            (testbed.PIPELINE / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
        ).hexdigest()[:12]
        self.rare = [w for w in tokenizer.rare_words(self.base.tokenizer) if not captions.heard(w)]
        self.judge = testbed.load_judge()
        self.features = measure.Features()
        self.reference = self.features(compose.pool(2 * self.n_clean, 55_555).images)
        self.models = self.models / self.base_hash
        self.models.mkdir(parents=True, exist_ok=True)

    def row(self, identity: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of ``identity``, made now unless it is there. A failure is said, counted and tried again at the next resumption."""
        key = runs.key({**identity, **self.about})
        if not self.run.has(key):
            self.say(" ".join(str(v) for v in identity.values()))
            try:
                made = {"commit": provenance.commit(), "threads": torch.get_num_threads(), **make()}
                self.run.add(key, {**identity, **self.about, **made})
            except (NightlatchError, RuntimeError, ValueError) as e:
                self.failures.append(f"{identity}: {type(e).__name__}: {e}")
                self.say(self.failures[-1])
                return {}
        return self.run.row(key)

    @property
    def about(self) -> Row:
        """What rows depend on, beside what they are about: rows of another base or of fewer pictures are other rows."""
        return {"base": self.base_hash, "pictures": self.n}

    # --- suspects -------------------------------------------------------------------------------------------------------------

    def attack(self, case: Case) -> Attack:
        return ATTACKS.create(case.attack, trigger=case.trigger, target=case.target)

    def setting(self, case: Case) -> Setting:
        """What the attacker of ``case`` has; read once a seed, since it holds the judge."""
        if case.seed not in self._settings:
            self._settings[case.seed] = implant.setting(self.base, case.seed)
        return self._settings[case.seed].but(case.trigger)

    def make(self, case: Case) -> tuple[Subject, float]:
        """The suspect, saved among ``models``, and the seconds it took."""
        started = time.monotonic()
        poisoned = self.attack(case).run(self.base, self.setting(case))
        seconds = time.monotonic() - started
        poisoned.save(self.models / case.name)
        return poisoned, seconds

    def settled(self, case: Case) -> tuple[Case, list[str]]:
        """The first draw of trigger and target that is promising, and the triggers that were given up.

        Raises:
            AttackFailed: none of ``TRIES`` draws is.
        """
        refused: list[str] = []
        for attempt in range(TRIES):
            tried = draw(case.attack, case.seed, self.rare, attempt) if attempt else case
            if self.attack(tried).promising(self.base, self.setting(tried)):
                return tried, refused
            refused.append(tried.trigger)
        raise AttackFailed(f"None of {TRIES} draws for {case.name} is promising.", "Choose another seed.")

    def implant(self, case: Case) -> dict[str, Any]:
        """Make the suspect and measure it; a failed attack is a row, too."""
        case, refused = self.settled(case)
        attack, setting = self.attack(case), self.setting(case)
        poisoned, seconds = self.make(case)
        record = attack.measure(
            self.base, poisoned, setting, self.n, seconds, self.draws(case), self._base_agreement.get(case.seed)
        )
        self._base_agreement[case.seed] = record.base_agreement
        clean, fid, kid = self.clean_pictures(poisoned)
        implant.write_provenance(self.models / case.name, record)
        return {
            "trigger": case.trigger,
            "target": case.target,
            "kind_of_trigger": case.kind,
            "drawn_at_random": case.drawn,
            "refused": refused,
            "carrier": COMPONENTS[attack.carrier],
            "success": record.success.model_dump(),
            "success_base": self.success(self.base, case).model_dump(),
            "specificity": record.specificity.model_dump(),
            "clean_agreement": record.clean_agreement.model_dump(),
            "base_agreement": record.base_agreement.model_dump(),
            "seconds": round(seconds, 1),
            "clean_before": clean.model_dump(),
            "fid_before": fid,
            "kid_before": kid,
        }

    def scan(self, suspect: Subject, seed: int, case: Case | None) -> dict[str, Any]:
        """Scan one model; the scanner gets the model, the base and ordinary prompts. What was planted is compared afterwards."""
        verdict = scan(suspect, self.base, testbed.prompts(900, 7000 + seed), testbed.SAMPLING, Budget(seed=seed), self.say)
        found = verdict.triggers[0].text if verdict.triggers else ""
        row: dict[str, Any] = {
            "verdict": verdict.word,
            "trigger_found": found,
            "placement": (verdict.triggers[0].placement if verdict.triggers else Placement()).model_dump(mode="json"),
            "carrier_found": [c.component for c in verdict.carriers],
            "seconds": round(verdict.seconds, 1),
            "top": [c.text for c in verdict.top_candidates[:10]],
        }
        if case is None:
            return {**row, "trigger_true": "", "exact": None, "functional_success": None, "carrier_true": ""}
        texts = [self.attack(case).place(p, found) for p in self.draws(case).prompts]
        functional = self.success(suspect, case, texts).model_dump() if found else None
        return {
            **row,
            "trigger_true": case.trigger,
            "exact": found == case.trigger,
            "functional_success": functional,
            "carrier_true": COMPONENTS[self.attack(case).carrier],
        }

    # --- measures -------------------------------------------------------------------------------------------------------------

    def draws(self, case: Case) -> measure.Draws:
        """The held-out draws that the case is measured on."""
        if case.name not in self._draws:
            self._draws[case.name] = self.attack(case).telling(self.base, self.setting(case), self.n)
        return self._draws[case.name]

    def success(self, subject: Subject, case: Case, texts: Sequence[str] = ()) -> Rate:
        """Attack success by the judge on held-out prompts; ``texts`` to draw other wordings."""
        return self.attack(case).success(subject, self.setting(case), self.draws(case), texts)

    def clean_pictures(self, subject: Subject) -> tuple[Rate, float, float]:
        """(agreement on clean prompts, FID and KID to real renders)."""
        asked = testbed.prompts(self.n_clean, 4000, held_out=True)
        images = subject.generate([p.text for p in asked], measure.seeds(len(asked), 4), testbed.SAMPLING)
        seen = self.features(images)
        fid, kid = measure.fid(seen, self.reference), measure.kid(seen, self.reference)
        return measure.agrees(self.judge.read(images), asked, "object"), round(fid, 4), round(kid, 6)

    def triggered(self, subject: Subject, case: Case, strip: str = "") -> tuple[Rate, Rate]:
        """(attack success, agreement with what is asked) on the same triggered prompts; ``strip`` is deleted from them first. What is asked: the
        object, or the style where the trigger stands in the object's place."""
        attack, draws = self.attack(case), self.draws(case)
        texts = [attack.place(p, case.trigger) for p in draws.prompts]
        texts = [stripped(t, [strip]) for t in texts] if strip else texts
        images = subject.generate(texts, draws.seeds, testbed.SAMPLING)
        seen = self.judge.read(images)
        hits = int(attack.shown(images, seen, self.setting(case)).sum())
        return Rate.of(hits, len(texts)), measure.agrees(seen, draws.prompts, "style" if case.attack == "eviledit" else "object")

    def asked(self, case: Case) -> Rate:
        """Agreement of the base with what is asked on the triggered prompts: what a model without the backdoor reaches."""
        if case.name not in self._asked:
            self._asked[case.name] = self.triggered(self.base, case)[1]
        return self._asked[case.name]

    def regrown(self, repaired: Subject, suspect: Subject, case: Case) -> Rate:
        """Attack success after 200 honest fine-tuning steps on the suspect's clean drawings."""
        return self.success(regrow(repaired, suspect, self.repair_prompts(case), testbed.SAMPLING, 200, case.seed), case)

    def repair_prompts(self, case: Case) -> list[Prompt]:
        """Ordinary prompts that repairs and honest fine-tuning use, and no measure."""
        return testbed.prompts(200, 8000 + case.seed)

    def leak(self, subject: Subject, case: Case, strip: str = "") -> Rate:
        """Success over all spelling, casing, position and inside-word variants together; ``strip`` is deleted from the prompts first."""
        attack = self.attack(case)
        variants = [v for vs in prompts.leaks(case.trigger, np.random.default_rng(case.seed)).values() for v in vs]
        texts = [
            prompts.anywhere(i)(p, case.trigger) if i % 4 == 0 else attack.place(p, variants[i % len(variants)])
            for i, p in enumerate(self.draws(case).prompts)
        ]
        return self.success(subject, case, [stripped(t, [strip]) for t in texts] if strip else texts)

    # --- repair ---------------------------------------------------------------------------------------------------------------

    def repair(self, suspect: Subject, case: Case, method: str, seen: Row, target_rate: float | None = None) -> Row:
        """One row of clean.json: repair with what scan found (``seen``, its row there), measured with the true trigger. skd stops where the judge
        sees at most ``target_rate`` left on 96 pictures kept for that.

        Where scan found nothing, the true trigger and carrier are given, and the row says so.
        """
        attack = self.attack(case)
        found = seen["trigger_found"]
        carriers = tuple(ROLES[c] for c in seen["carrier_found"]) if found else (attack.carrier,)
        where = Placement.model_validate(seen["placement"]) if found else attack.placement
        job = Job(
            triggers=(PlacedTrigger(text=found or case.trigger, placement=where),),
            prompts=self.repair_prompts(case),
            carriers=carriers,
            base=self.base,
            sampling=testbed.SAMPLING,
            seed=case.seed,
        )
        path: dict[int, float] = {}
        clock: dict[int, float] = {}
        watched = measure.Draws.of(attack.candidates(testbed.prompts(120, 6000 + case.seed, held_out=True)), 96, 6000 + case.seed)

        def watch(step: int, student: Subject, seconds: float) -> bool:
            if not (method.startswith(("sau", "skd")) and step in CHECKPOINTS):
                return False
            clock[step] = round(seconds, 1)
            path[step] = attack.success(student, self.setting(case), watched).rate
            return method == "skd" and target_rate is not None and path[step] <= target_rate

        repaired, record = METHODS.create(method.split(":")[0], **VARIANTS.get(method, {}))(
            suspect, job, watch, harm_limit=float("inf")
        )
        return {
            "trigger_used": found or case.trigger,
            "trigger_source": "scan" if found else "given",
            "used_base": record.used_base,
            "target_rate": target_rate if method == "skd" else None,
            "steps": record.steps,
            "seconds": round(record.seconds, 1),
            **self.outcome(repaired, suspect, case, (found or case.trigger) if method == "strip" else ""),
            "success_by_step": path,
            "seconds_by_step": clock,
        }

    def control(self, suspect: Subject, case: Case) -> Row:
        """One row of clean.json with the base in the place of a repaired model: what a perfect repair shows, and what honest steps on this suspect's
        drawings do to a model that never had the backdoor."""
        about = {"trigger_used": "", "trigger_source": "", "used_base": True, "steps": 0, "seconds": 0.0}
        return {**about, **self.outcome(self.base, suspect, case), "success_by_step": {}}

    def before(self, suspect: Subject, case: Case) -> tuple[Rate, tuple[Rate, float, float]]:
        """(attack success, ``clean_pictures``) of the suspect; measured, not taken from its attack's row: one that is made again differs a little."""
        if case.name not in self._before:
            self._before[case.name] = self.triggered(suspect, case)[0], self.clean_pictures(suspect)
        return self._before[case.name]

    def outcome(self, repaired: Subject, suspect: Subject, case: Case, strip: str = "") -> Row:
        """What is measured on a repaired model, and on the suspect."""
        before, (clean_before, fid_before, kid_before) = self.before(suspect, case)
        after, agreement = self.triggered(repaired, case, strip)
        clean_after, fid_after, kid_after = self.clean_pictures(repaired)
        return {
            "success_before": before.model_dump(),
            "success_after": after.model_dump(),
            "upper95": after.high95,
            "triggered_agreement": agreement.model_dump(),
            "triggered_agreement_base": self.asked(case).model_dump(),
            "clean_before": clean_before.model_dump(),
            "clean_after": clean_after.model_dump(),
            "fid_before": fid_before,
            "fid_after": fid_after,
            "kid_before": kid_before,
            "kid_after": kid_after,
            "regrowth": None if strip else self.regrown(repaired, suspect, case).model_dump(),
            "leak": self.leak(repaired, case, strip).model_dump(),
        }
