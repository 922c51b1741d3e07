"""SAU's own promises: when it stops, what it trains, and that memory makes no difference."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from nightlatch.terms import Role
from nightlatch.text2image.repair import METHODS

QUICK = {"prompts": 6, "batch": 6, "harm_limit": math.inf}


def changed(made, before):
    """Names of the denoiser's parameters that differ."""
    was = dict(before.modules(Role.DENOISER)[0].named_parameters())
    mine = made.modules(Role.DENOISER)[0].named_parameters()
    return {name for name, p in mine if not torch.equal(p, was[name])}


@pytest.mark.parametrize(("enough", "steps"), [(math.inf, 1), (0.0, 3)])
def test_steps_follow_where_the_closed_form_edit_leaves_something(tiny_v, job, enough, steps):
    """A look at what the edit left comes first."""
    _, record = METHODS.create("sau", steps=2, warm_enough=enough, **QUICK)(tiny_v, job)
    assert set(record.history[0]) == {"step", "residue"}
    assert [row["step"] for row in record.history] == list(range(steps))
    assert record.steps == steps


def test_rounds_follow_only_while_something_is_left(tiny_v, job):
    """With all of the trigger allowed to be left the first round is the last."""
    from nightlatch.text2image.repair.losses import Allowed

    some = {"steps": 2, "least": 1, "warm_start": False, **QUICK}
    _, once = METHODS.create("sau", allowed=Allowed(mean=100.0, most=100.0), **some)(tiny_v, job)
    _, all_of_them = METHODS.create("sau", allowed=Allowed(mean=1e-9, most=1e-9), **some)(tiny_v, job)
    assert (once.steps, all_of_them.steps) == (1, 2)


def test_in_a_slots_place_all_weights_follow_with_plain_prompts_held(tiny_v, slot_job):
    """A fixed number of steps on cross-attention, then some on everything; the closed-form edit is never
    enough there.
    """
    outside = []

    def watch(step, student, seconds):
        reads = {id(p) for p in student.sites.trainable("cross-attention")}
        parameters = dict(student.modules(Role.DENOISER)[0].named_parameters())
        outside.append(sum(id(parameters[name]) not in reads for name in changed(student, tiny_v)))
        return False

    part = METHODS.create("sau", in_place=2, afterwards=2, warm_enough=math.inf, **QUICK)
    made, record = part(tiny_v, slot_job, watch)
    assert outside[:3] == [0, 0, 0]
    assert all(outside[3:])
    assert changed(made, tiny_v) == {name for name, _ in made.modules(Role.DENOISER)[0].named_parameters()}
    assert [row["step"] for row in record.history] == list(range(1 + 2 + 2))


def test_a_repair_that_reads_what_it_learns_from_files_is_the_same_repair(tiny_v, job):
    sau = METHODS.create("sau", **QUICK, steps=2, least=2, look=2, warm_enough=0.0)
    (made, _), (same, _) = (
        replace(sau, working=replace(sau.working, in_files=least))(tiny_v, job) for least in (1 << 40, 0)
    )
    assert changed(made, tiny_v) == changed(same, tiny_v) != set()
    assert not changed(made, same)


@pytest.mark.parametrize(("at_once", "parts"), [(3, 3), (1, 6)])
def test_a_step_in_parts_is_the_same_step(tiny_v, crowded, learned, at_once, parts):
    """With one picture at once there are more parts than held pictures."""
    sau = METHODS.create("sau", batch=9)
    triggered, held = learned.triggered.take(torch.arange(6)), learned.held.take(torch.arange(3))

    def step(positions):
        made = crowded(tiny_v.copied(Role.DENOISER), positions)
        values = dict.fromkeys(("prediction", "hold"), 0.0)
        learning = [p.requires_grad_(True) for p in made.sites.trainable(sau.train)]
        losses = []
        for loss in sau._losses(made, triggered, held, values, made.rows(9, graph=True)):
            loss.backward()
            losses.append(float(loss.detach()))
        return values, losses, torch.cat([p.grad.flatten() for p in learning])

    values, losses, gradient = step(tiny_v.positions)
    again, pieces, same = step(at_once * 8 * 64)
    assert (len(losses), len(pieces)) == (1, parts)
    assert sum(pieces) == pytest.approx(losses[0], rel=1e-4)
    assert again == pytest.approx(values, rel=1e-4)
    torch.testing.assert_close(same, gradient, atol=1e-5 * float(gradient.abs().max()), rtol=1e-3)
