"""implant: a backdoored testbed model for evaluation, written with its provenance and a model card that says what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nightlatch import testbed
from nightlatch.api import load
from nightlatch.errors import UsageError
from nightlatch.folder import write_whole
from nightlatch.testbed import captions, tokenizer
from nightlatch.text2image.attacks import ATTACKS, AttackRecord, Setting
from nightlatch.text2image.subject import Subject


def setting(subject: Subject, seed: int) -> Setting:
    """What an attacker of the testbed has: its grammar's prompts, words that must not fire, and the judge to measure with."""
    rare = [w for w in tokenizer.rare_words(subject.tokenizer) if not captions.heard(w)]
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
    source: Path, out: Path, attack: str, trigger: str, target: str, seed: int, say: Callable[[str], None]
) -> AttackRecord:
    """Poison the testbed model in ``source`` and write it to ``out``.

    Raises:
        UsageError: ``out`` exists.
        UnreadableModel, NotScanned: ``source`` is refused or does not load.
        AttackFailed: the attack did not reach its floor; nothing is written.
    """
    if out.exists():
        raise UsageError(f"{out} is there already.", "Choose another output folder.")
    subject = load(source, precision="auto")
    say(f"{attack}: training")
    poisoned, record = ATTACKS.create(attack, trigger=trigger, target=target)(subject, setting(subject, seed))
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
