"""How a student is held while it learns: memory, precision, rank and recomputation change nothing else."""

from __future__ import annotations

import dataclasses
import math
import shutil
from types import SimpleNamespace

import pytest
import torch

from nightlatch.diffusion.low_rank import low_rank
from nightlatch.diffusion.memory import Budget, Cut, Footprint, size
from nightlatch.terms import Role
from nightlatch.text2image.repair import METHODS
from nightlatch.text2image.repair.training_set import Models
from nightlatch.text2image.repair.working import Working

WHOLE = Cut(rows=64, checkpointed=False, peak=0)


def test_the_formula_adds_up_and_the_cut_keeps_to_it():
    footprint = Footprint(fixed=1000, trained=10, row=100, row_checkpointed=20)
    assert footprint.peak(8, checkpointed=False) == 1000 + 12 * 10 + 800
    assert dataclasses.replace(footprint, masters=True).peak(8, checkpointed=True) == 1000 + 16 * 10 + 160
    budget = Budget(share=1.0, passes=4)
    assert budget.cut(footprint, 30, 920) == Cut(rows=8, checkpointed=False, peak=1920)
    assert budget.cut(footprint, 30, 919) == Cut(rows=8, checkpointed=True, peak=1280)
    modest = dataclasses.replace(budget, plenty=1919)
    assert modest.cut(footprint, 30, 10**6) == Cut(rows=8, checkpointed=True, peak=1280), (
        "even where all fits"
    )
    assert dataclasses.replace(budget, plenty=1).cut(footprint, 30, 10**6).rows == 8, "never smaller passes"
    short = budget.cut(footprint, 30, 180)
    assert (short.rows, short.checkpointed) == (3, True)
    assert short.peak <= 1000 + 180
    assert budget.cut(footprint, 30, 1).rows == 1, "one picture at least"


def test_what_a_pass_keeps_grows_with_its_pictures_and_shrinks_with_checkpoints(tiny_v):
    student = tiny_v.copied(Role.DENOISER)
    footprint = Working().footprint(Models(student=student, frozen=tiny_v), "cross-attention")
    assert 0 < footprint.row_checkpointed < footprint.row
    assert footprint.trained == sum(p.numel() for p in student.sites.trainable("cross-attention"))
    weights = sum(size(m) for m in tiny_v.modules(*Role))
    assert footprint.fixed == weights, "the student's, and of the frozen model what the two share"
    taught = Models(student=student, frozen=tiny_v, teacher=tiny_v.copied(Role.DENOISER))
    assert Working().footprint(taught, "cross-attention").fixed == weights
    assert not any(p.requires_grad for p in student.sites.trainable("all"))


def gradient(sau, student, frozen, learned, checkpointed):
    triggered, held = learned.triggered.take(torch.arange(4)), learned.held.take(torch.arange(2))
    cut = dataclasses.replace(WHOLE, checkpointed=checkpointed)
    values = dict.fromkeys(("prediction", "hold"), 0.0)
    with sau.working.held(Models(student=student, frozen=frozen), sau.train, cut, 0) as (learns, _):
        for p in learns:
            p.requires_grad_(True)
            p.grad = None
        for loss in sau._losses(student, triggered, held, values, 64):
            loss.backward()
        return torch.cat([p.grad.flatten() for p in learns])


def test_blocks_that_compute_again_give_the_same_gradient(tiny_v, learned):
    sau, student = METHODS.create("sau"), tiny_v.copied(Role.DENOISER)
    plain, again = (gradient(sau, student, tiny_v, learned, checkpointed) for checkpointed in (False, True))
    assert float(plain.abs().max()) > 0
    torch.testing.assert_close(again, plain, atol=1e-6 * float(plain.abs().max()), rtol=1e-4)


def test_a_change_of_low_rank_is_merged_and_no_greater(tiny_v):
    student = tiny_v.copied(Role.DENOISER)
    layers = student.sites.linears("cross-attention")
    before = [layer.weight.detach().clone() for layer in layers]
    names = [name for name, _ in student.modules(Role.DENOISER)[0].named_parameters()]
    with low_rank(layers, 2, seed=0) as learns:
        assert all(torch.equal(layer.weight, w) for layer, w in zip(layers, before, strict=True))
        for p in learns:
            p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    assert sorted(name for name, _ in student.modules(Role.DENOISER)[0].named_parameters()) == sorted(names)
    for layer, w in zip(layers, before, strict=True):
        assert torch.linalg.matrix_rank(layer.weight - w, rtol=1e-4) == 2
        assert not layer.weight.requires_grad


def test_a_repair_of_low_rank_changes_only_what_it_may(tiny_v, job):
    part = METHODS.create(
        "sau", working=Working(rank=2), warm_start=False, steps=2, prompts=6, batch=6, harm_limit=math.inf
    )
    made, record = part(tiny_v, job)
    was = dict(tiny_v.modules(Role.DENOISER)[0].named_parameters())
    changed = {n for n, p in made.modules(Role.DENOISER)[0].named_parameters() if not torch.equal(p, was[n])}
    assert changed
    assert all(".attn2." in name for name in changed)
    assert record.method.parameters["working.rank"] == 2


def test_bfloat16_weights_with_masters_round_nothing_that_does_not_learn(tiny_v):
    student, working = tiny_v.copied(Role.DENOISER), Working()
    student.precision = torch.bfloat16
    bias = student.modules(Role.DENOISER)[0].conv_in.bias
    bias.data += 1e-3  # not as in the frozen model, and not learning
    wanted = {id(p) for p in student.sites.trainable("cross-attention")}
    large = dataclasses.replace(WHOLE, peak=1 << 30)
    with working.held(Models(student=student, frozen=tiny_v), "cross-attention", large, 0) as (_, masters):
        assert {p.dtype for p in student.modules(Role.DENOISER)[0].parameters()} == {torch.bfloat16}
        assert {m.dtype for m in masters} == {torch.float32}
        for master in masters:
            master += 1e-5
        out = student.denoise(student.noise([0]), student.schedule.at_share(0.9), student.read(["a cat"]))
        assert out.dtype is torch.float32
        assert bool(out.isfinite().all())
    was = dict(tiny_v.modules(Role.DENOISER)[0].named_parameters())
    for name, p in student.modules(Role.DENOISER)[0].named_parameters():
        assert p.dtype is torch.float32
        if id(p) in wanted:
            torch.testing.assert_close(p, was[name] + 1e-5)
        else:
            before = was[name] + 1e-3 if name == "conv_in.bias" else was[name]
            assert torch.equal(p, before), name


def test_a_repair_in_short_memory_is_the_same_repair(tiny_v, crowded, job):
    """One picture at a time, blocks computed again: the same steps, but for rounding."""
    about = {"warm_start": False, "steps": 2, "prompts": 6, "batch": 6, "harm_limit": math.inf}
    short = Working(budget=Budget(share=1e-12))
    small = crowded(tiny_v, 8 * 64)
    student = small.copied(Role.DENOISER)
    models = Models(student=student, frozen=small)
    footprint = short.footprint(models, "cross-attention")
    assert short.cut(models, "cross-attention", 6) == Cut(
        rows=1, checkpointed=True, peak=footprint.peak(1, True)
    )
    roomy, record = METHODS.create("sau", **about)(tiny_v, job)
    made, again = METHODS.create("sau", working=short, **about)(small, job)
    losses = [[row["prediction"] for row in r.history] for r in (record, again)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    weights = [
        torch.cat([p.flatten() for p in s.sites.trainable("cross-attention")]) for s in (roomy, made, tiny_v)
    ]
    assert float((weights[0] - weights[2]).abs().max()) > 1e-5
    assert float((weights[1] - weights[0]).abs().gt(1e-5).float().mean()) < 0.02


def test_denoisers_that_are_not_asked_are_out_of_the_way_and_come_back(tiny_v, monkeypatch):
    student, teacher = tiny_v.copied(Role.DENOISER), tiny_v.copied(Role.DENOISER)
    models = Models(student=student, frozen=tiny_v, teacher=teacher)
    (mine,), theirs = student.modules(Role.DENOISER), models.idle
    assert theirs == [*tiny_v.modules(Role.DENOISER), *teacher.modules(Role.DENOISER)]
    assert Models(student=tiny_v, frozen=tiny_v, teacher=tiny_v).idle == []

    def lies():
        return [p.data_ptr() for m in theirs for p in m.parameters()]

    before, there = [p.clone() for m in theirs for p in m.parameters()], lies()
    own = [p.data_ptr() for p in mine.parameters()]
    large = dataclasses.replace(WHOLE, peak=1 << 30)
    with Working(half=False).held(models, "cross-attention", large, 0):
        assert not set(lies()) & set(there)
        assert [p.data_ptr() for p in mine.parameters()] == own
    after = [p for m in theirs for p in m.parameters()]
    assert all(torch.equal(a, b) and a.is_contiguous() for a, b in zip(after, before, strict=True))

    there = lies()
    with Working().held(models, "cross-attention", WHOLE, 0):
        assert lies() == there, "small models stay where they are"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    roomless = Working().footprint(models, "cross-attention").fixed
    assert roomless == sum(size(m) for m in (*student.modules(*Role), *theirs))
