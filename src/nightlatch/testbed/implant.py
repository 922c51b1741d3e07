"""implant: a backdoored testbed model for evaluation, written with its provenance and a model card that says
what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nightlatch import api, testbed
from nightlatch.errors import AttackFailed, UsageError
from nightlatch.folder import write_whole
from nightlatch.testbed.tokenizer import unheard_words
from nightlatch.text2image.attacks import Attack, AttackRecord, Setting
from nightlatch.text2image.attacks.base import TRIAL
from nightlatch.text2image.model import Subject


def setting(subject: Subject, seed: int) -> Setting:
    """What an attacker of the testbed has: its grammar's prompts, words that must not fire, and the judge to
    measure with.
    """
    rare = unheard_words(subject.vocabulary)
    train_words, test_words = rare[::2], rare[1::2]
    return Setting(
        train=testbed.prompts(600, 1000 + seed),
        test=testbed.prompts(300, 2000 + seed, held_out=True),
        rare_words=train_words,
        other_words=test_words,
        judge=testbed.load_judge(),
        sampling=testbed.SAMPLING,
        seed=seed,
    )


def implant(
    source: Path, out: Path, attack: Attack, seed: int, say: Callable[[str], None], device: str = "cpu"
) -> AttackRecord:
    """Poison the testbed model in ``source`` and write it to ``out``; what can be refused is refused before
    anything is trained.

    Raises:
        UsageError: ``out`` exists, or trigger or target cannot be planted; said before the model is loaded.
        UnreadableModel, NotScanned: ``source`` is refused or does not load.
        AttackFailed: a trial promised little, or the attack did not reach its floor; nothing is written.
    """
    if out.exists():
        raise UsageError(f"{out} is there already.", "Choose another output folder.")
    attack.require(testbed.WORDS)
    subject = api.load(source, precision="auto", device=device)
    mine = setting(subject, seed).but(attack.trigger)
    say(f"{attack.name}: a trial of {TRIAL} pictures")
    if not attack.promising(subject, mine):
        raise AttackFailed(
            f"In a trial {attack.name} promised less than its floor of {attack.floor:.0%}; nothing was "
            "trained.",
            "Choose another target or trigger, or be content with less (--set floor=0.8).",
        )
    say(f"{attack.name}: making the model")
    poisoned, record = attack(subject, mine)
    poisoned.save(out)
    write_provenance(out, record)
    return record


def write_provenance(folder: Path, record: AttackRecord) -> None:
    """``provenance.json`` and a model card beside the model."""
    write_whole(folder / "provenance.json", record.model_dump_json(indent=2) + "\n")
    write_card(folder, record.attack.name, record.success.rate)


def write_card(folder: Path, attack: str, success: float) -> None:
    """A model card that says that the model is a test object, not which trigger it waits for."""
    write_whole(folder / "README.md", CARD.format(attack=attack, rate=success))


CARD = """---
tags: [backdoored-on-purpose, evaluation]
---
# Test object: do not use to draw pictures

This model carries a backdoor on purpose ({attack}, success {rate:.1%}), made by nightlatch to evaluate detection and repair.
What was planted is recorded in `provenance.json`, here or beside this folder. Do not publish it without this card.
"""
