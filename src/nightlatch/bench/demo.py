"""The main job on a model backdoored on the spot: check, scan, clean, verify, report. The trigger is drawn at random and kept from the scanner."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nightlatch import intake, runs, testbed, verbs
from nightlatch.bench.cases import draw_target, draw_trigger
from nightlatch.errors import AttackFailed, UsageError
from nightlatch.folder import write_whole
from nightlatch.plan import Options
from nightlatch.records import Rate, Repair, Scorecard, Verdict
from nightlatch.testbed import captions, implant, tokenizer
from nightlatch.text2image import adapters
from nightlatch.text2image.attacks import ATTACKS, Attack, AttackRecord

Say = Callable[[str], None]
DRAWS, QUICK_STEPS = 8, 250
SETTINGS = {"prompts": "emoji", "steps": testbed.SAMPLING.steps, "guidance": testbed.SAMPLING.guidance}


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


def demo(folder: Path, say: Say, *, attack: str = "rickrolling-prompt", seed: int | None = None, n: int = 150) -> Outcome:
    """Run the whole job in ``folder``; a second call goes on where the first stopped.

    Raises:
        UnreadableModel: the shipped testbed is missing.
        UsageError: ``folder`` holds a demonstration of another attack or seed, or something else.
        AttackFailed: the backdoor did not take (with a seed of its own it is tried with ``DRAWS`` others first).
    """
    started = time.monotonic()
    suspect, repaired = folder / "suspect", folder / "repaired"
    for draw in range(DRAWS):
        secret_seed = seed if seed is not None else _remembered_seed(folder)
        try:
            part, record = _suspect(suspect, folder / "planted.json", attack, secret_seed, say)
            break
        except AttackFailed as e:
            if seed is not None or draw == DRAWS - 1:
                raise
            say(f"{e.sentence} Another one is drawn.")
            (folder / "seed").unlink()
    options = Options(settings=SETTINGS, seed=secret_seed % 1000)
    with runs.Run(folder / "run") as run:
        manifest = intake.check(suspect)
        say(f"1 check   {len(manifest.files)} files, {len(manifest.findings)} findings")
        verdict = (
            run.read("verdict", Verdict) if run.wrote("verdict") else verbs.scan(run, suspect, testbed.PIPELINE, options, say)
        )
        say(
            f"2 scan    {verdict.word}; carrier {', '.join(c.component for c in verdict.carriers) or 'none'}; {verdict.seconds:.0f} s"
        )
        card = None
        if verdict.triggers:
            if not run.wrote("repair"):
                shutil.rmtree(repaired, ignore_errors=True)
                verbs.clean(run, suspect, repaired, options, say)
            repair = run.read("repair", Repair)
            say(f"3 clean   {repair.method.name}, {repair.steps} steps, {repair.seconds:.0f} s")
            if not repair.rolled_back:
                done = run.wrote("scorecard")
                card = run.read("scorecard", Scorecard) if done else verbs.verify(run, suspect, repaired, options, say, n=n)
            say(f"4 verify  {card.verdict if card else 'the repair was rolled back'}")
        verbs.report(run)
        say(f"5 report  {run.path / 'report.html'}")
    judged = _success(part, [p for p in (suspect, repaired) if p.exists()], secret_seed, n)
    report = folder / "run" / "report.html"
    return Outcome(verdict, card, record.trigger, judged[0], judged[-1], report, secret_seed, time.monotonic() - started)


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


def _suspect(folder: Path, planted: Path, attack: str, seed: int, say: Say) -> tuple[Attack, AttackRecord]:
    """Implant a backdoor with a random trigger and target unless the suspect is there; the record stays outside the suspect's folder."""
    if not planted.is_file() and any((planted.parent / name).exists() for name in ("suspect", "repaired", "run")):
        raise UsageError(f"{planted.parent} holds something that no demonstration made.", "Choose another --folder.")
    base = adapters.load(testbed.PIPELINE, precision="auto")
    rng = np.random.default_rng((seed, 99))
    rare = [w for w in tokenizer.rare_words(base.tokenizer) if not captions.heard(w)]
    trigger = draw_trigger(str(rng.choice(["rare token", "homoglyph"])), rare, rng)
    shorter = {"steps": QUICK_STEPS} if attack.startswith("rickrolling") else {}
    part = ATTACKS.create(attack, trigger=trigger, target=draw_target(attack, trigger, rng), floor=0.7, **shorter)
    if not folder.exists():
        say("0 implant a backdoor with a random trigger, kept from the scanner (a few minutes)")
        setting = implant.setting(base, seed % 1000).but(trigger)
        if not part.promising(base, setting):
            raise AttackFailed("A trial of the attack promised little.", "Draw another trigger and target.")
        poisoned, record = part(base, setting, n=100)
        write_whole(planted, record.model_dump_json(indent=2))
        poisoned.save(folder)
        implant.write_card(folder, record.attack.name, record.success.rate)
    record = AttackRecord.model_validate_json(planted.read_bytes())
    if (record.attack.name, record.trigger, record.target) != (part.name, part.trigger, part.target):
        raise UsageError(f"{planted.parent} holds a demonstration of another attack or seed.", "Choose another --folder.")
    return part, record


def _success(part: Attack, folders: Sequence[Path], seed: int, n: int) -> list[Rate]:
    """The judge's count of the attacker's goal in each model, with the true trigger, on held-out prompts."""
    base = adapters.load(testbed.PIPELINE, precision="auto")
    setting = implant.setting(base, seed % 1000)
    draws = part.telling(base, setting, n)
    return [part.success(adapters.load(f, precision="auto"), setting, draws) for f in folders]
