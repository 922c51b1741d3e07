"""The main job on a model backdoored on the spot: check, scan, clean, verify, report.

The trigger is drawn at random and kept from the scanner.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nightlatch import intake, runs, testbed, verbs
from nightlatch.errors import AttackFailed, UsageError
from nightlatch.folder import write_whole
from nightlatch.plan import Options
from nightlatch.records import Rate, Repair, Scorecard, Verdict
from nightlatch.testbed import implant
from nightlatch.testbed.tokenizer import unheard_words
from nightlatch.text2image.attacks import ATTACKS, Attack, AttackRecord, Goal, TriggerKind, triggers
from nightlatch.text2image.model import Subject, loaders

SUSPECT, REPAIRED, RUN, PLANTED = "suspect", "repaired", "run", "planted.json"
"""What a folder of a demonstration holds."""
Say = Callable[[str], None]
DRAWS = 8
"""Seeds that are tried until one's backdoor takes."""
FLOOR, IMPLANTED = 0.7, 100
"""Least attack success that is shown, and pictures by which it is counted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo ends with: the user's view, and the truth it is compared with."""

    verdict: Verdict
    scorecard: Scorecard | None
    trigger_true: str
    success_before: Rate
    success_after: Rate
    report: Path
    seed: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What is demonstrated.

    Args:
        attack: any that is registered.
        seed: of trigger and target; drawn at random and kept in the folder where it is None.
        n: pictures per rate.
        parameters: of the attack, instead of those with which it is ``quick``.
        device: what all of it computes on.
        base: the model that is backdoored; one that knows the testbed's words.
        steps: of sampling, for the user's verbs.
        regrowth_steps: of honest training, after which the trigger is tried again.
        rounds: of repair and search at most.
    """

    attack: str = "rickrolling-prompt"
    seed: int | None = None
    n: int = 150
    parameters: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    base: Path = testbed.PIPELINE
    steps: int = testbed.SAMPLING.steps
    regrowth_steps: int = 200
    rounds: int = 3

    @property
    def settings(self) -> Mapping[str, Any]:
        """What a user of the testbed gives scan."""
        return {"prompts": "emoji", "steps": self.steps, "guidance": testbed.SAMPLING.guidance}

    def part(self, trigger: str, target: str) -> Attack:
        quick = {"floor": FLOOR, **ATTACKS.find(self.attack).quick, **self.parameters}
        return ATTACKS.create(self.attack, trigger=trigger, target=target, **quick)


def demo(folder: Path, say: Say, show: Show = Show()) -> Outcome:
    """Run the whole job in ``folder``; a second call goes on where the first stopped.

    Raises:
        UnreadableModel: the shipped testbed is missing.
        UsageError: no such attack, or ``folder`` holds a demonstration of another attack or seed, or
            something else.
        AttackFailed: the backdoor did not take (with a seed of its own it is tried with ``DRAWS`` others
            first).
    """
    started = time.monotonic()
    for draw in range(DRAWS):
        seed = show.seed if show.seed is not None else _remembered_seed(folder)
        try:
            part, record = _suspect(folder, show, seed, say)
            break
        except AttackFailed as e:
            if show.seed is not None or draw == DRAWS - 1:
                raise
            say(f"{e.sentence} Another one is drawn.")
            (folder / "seed").unlink()
    verdict, card = _job(folder, show, seed, say)
    suspect, repaired = folder / SUSPECT, folder / REPAIRED
    judged = _success(part, [p for p in (suspect, repaired) if p.exists()], seed, show)
    report, seconds = folder / RUN / "report.html", time.monotonic() - started
    return Outcome(verdict, card, record.trigger, judged[0], judged[-1], report, seed, seconds)


def _job(folder: Path, show: Show, seed: int, say: Say) -> tuple[Verdict, Scorecard | None]:
    """check, scan, clean, verify and report, as a user would; what the run folder holds already is read from
    there.
    """
    suspect, repaired = folder / SUSPECT, folder / REPAIRED
    options = Options(settings=show.settings, seed=seed % 1000, device=show.device)
    with runs.Run(folder / RUN) as run:
        manifest = intake.check(suspect)
        say(f"1 check   {len(manifest.files)} files, {len(manifest.findings)} findings")
        if not run.wrote("verdict"):
            verbs.scan(run, suspect, show.base, options, say)
        verdict, card = run.read("verdict", Verdict), None
        carriers = ", ".join(c.component for c in verdict.carriers) or "none"
        say(f"2 scan    {verdict.word}; carrier {carriers}; {verdict.seconds:.0f} s")
        if verdict.triggers:
            if not run.wrote("repair"):
                shutil.rmtree(repaired, ignore_errors=True)
                verbs.clean(run, suspect, repaired, options, say, rounds=show.rounds)
            repair = run.read("repair", Repair)
            say(f"3 clean   {repair.method.name}, {repair.steps} steps, {repair.seconds:.0f} s")
            if not repair.rolled_back:
                if not run.wrote("scorecard"):
                    verbs.verify(
                        run, suspect, repaired, options, say, n=show.n, regrowth_steps=show.regrowth_steps
                    )
                card = run.read("scorecard", Scorecard)
            say(f"4 verify  {card.verdict if card else 'the repair was rolled back'}")
        verbs.report(run)
        say(f"5 report  {run.path / 'report.html'}")
    return verdict, card


def figures_row(outcome: Outcome, seconds_setup: float) -> dict[str, Any]:
    """The row of docs/figures/demo.json."""
    return {
        "seconds_setup": seconds_setup,
        "seconds_job": round(outcome.seconds, 1),
        "verdict": outcome.verdict.word,
        "verified": outcome.scorecard.verdict if outcome.scorecard else "",
        "trigger_true": outcome.trigger_true,
        "trigger_found": outcome.verdict.triggers[0].text if outcome.verdict.triggers else "",
        "success_before": outcome.success_before.model_dump(),
        "success_after": outcome.success_after.model_dump(),
    }


def _remembered_seed(folder: Path) -> int:
    """A seed drawn at the first run and kept, so that a second run is about the same suspect."""
    path = folder / "seed"
    if not path.is_file():
        write_whole(path, f"{int.from_bytes(os.urandom(3), 'big')}\n")
    return int(path.read_text())


def _suspect(folder: Path, show: Show, seed: int, say: Say) -> tuple[Attack, AttackRecord]:
    """Implant a backdoor with a random trigger and target unless the suspect is there.

    The record stays outside the suspect's folder.
    """
    suspect, planted = folder / SUSPECT, folder / PLANTED
    if not planted.is_file() and any((folder / name).exists() for name in (SUSPECT, REPAIRED, RUN)):
        raise UsageError(f"{folder} holds something that no demonstration made.", "Choose another --folder.")
    base = _base(show)
    rng, suits = np.random.default_rng((seed, 99)), ATTACKS.find(show.attack)
    kinds = [k for k in TriggerKind if k in suits.trigger_kinds]
    trigger = triggers.draw(TriggerKind(rng.choice(kinds)), unheard_words(base.vocabulary), rng)
    part = show.part(trigger, Goal.drawn(suits.goal_kind, testbed.WORDS, trigger, rng).value)
    if not suspect.exists():
        say("0 implant a backdoor with a random trigger, kept from the scanner (a few minutes)")
        setting = implant.setting(base, seed % 1000).but(trigger)
        if not part.promising(base, setting):
            raise AttackFailed("A trial of the attack promised little.", "Draw another trigger and target.")
        poisoned, record = part(base, setting, n=min(IMPLANTED, show.n))
        write_whole(planted, record.model_dump_json(indent=2))
        poisoned.save(suspect)
        implant.write_card(suspect, record.attack.name, record.success.rate)
    record = AttackRecord.model_validate_json(planted.read_bytes())
    if (record.attack.name, record.trigger, record.target) != (part.name, part.trigger, part.target):
        raise UsageError(
            f"{folder} holds a demonstration of another attack or seed.", "Choose another --folder."
        )
    return part, record


def _success(part: Attack, folders: Sequence[Path], seed: int, show: Show) -> list[Rate]:
    """The judge's count of the attacker's goal in each model, with the true trigger, on held-out prompts."""
    base = _base(show)
    setting = implant.setting(base, seed % 1000)
    draws = part.telling(base, setting, show.n)
    models = (loaders.load(f, device=show.device, precision="auto") for f in folders)
    return [part.success(model, setting, draws) for model in models]


def _base(show: Show) -> Subject:
    return loaders.load(show.base, device=show.device, precision="auto")
