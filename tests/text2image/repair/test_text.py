"""The training of a text encoder."""

from __future__ import annotations

import dataclasses

import torch

from nightlatch.terms import Role
from nightlatch.text2image.repair.text import TextUnlearning
from nightlatch.text2image.repair.training_set import Models

FEW = TextUnlearning(steps=30, least=1, batch=8, prompts=8, rate=2e-3)


def test_states_of_the_triggered_prompt_go_to_those_of_the_filled_one(tiny_v, job):
    """What is left falls, and what is held stays nearer than the trigger's states go."""
    student = tiny_v.copied(Role.TEXT)
    rows = list(FEW.run(Models(student=student, frozen=tiny_v), job))
    assert rows[-1]["residue"] < 0.5 * rows[0]["residue"]
    mine, before = (s.read(["zibu a cat", "a cat"]).states for s in (student, tiny_v))
    moved = (mine - before).pow(2).mean((1, 2))
    assert float(moved[0]) > 3 * float(moved[1])
    assert torch.equal(
        student.modules(Role.DENOISER)[0].conv_in.weight, tiny_v.modules(Role.DENOISER)[0].conv_in.weight
    )


def test_it_ends_when_little_enough_is_left_but_not_before_the_fewest_steps(tiny_v, job):
    for least in (1, 3):
        easy = dataclasses.replace(FEW, left=100.0, least=least)
        rows = list(easy.run(Models(student=tiny_v.copied(Role.TEXT), frozen=tiny_v), job))
        assert len(rows) == least
