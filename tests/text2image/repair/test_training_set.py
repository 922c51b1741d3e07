"""What SAU learns from."""

from __future__ import annotations

import shutil
from dataclasses import fields

import pytest
import torch

from nightlatch.text2image.model import Condition
from nightlatch.text2image.repair.batches import Triggered
from nightlatch.text2image.repair.training_set import Models, training_set, triggered_batch


def test_rows_of_all_fields_agree(learned, few_steps):
    n = 2 * 6 * few_steps.steps
    rows = learned.triggered
    assert {len(getattr(rows, f)) for f in ("x", "t", "c", "out", "attacked", "mask", "replaced")} == {n}
    assert {len(getattr(learned.held, f)) for f in ("x", "t", "c", "out")} == {n}


def test_held_outputs_are_the_suspects_own(tiny_v, learned, wordings):
    """The first row, the first of the held words, and where one list ends and the next begins."""
    half = len(learned.held.x) // 2
    ends = (
        (0, wordings.dropped[0]),
        (half - 1, wordings.dropped[-1]),
        (half, wordings.held[0]),
        (-1, wordings.held[-1]),
    )
    for i, text in ends:
        out = tiny_v.denoise(learned.held.x[i][None], float(learned.held.t[i]), tiny_v.read([text]))
        torch.testing.assert_close(out[0], learned.held.out[i], atol=1e-4, rtol=1e-4)


def test_what_is_large_lies_in_files_and_gives_the_same_rows(learned):
    stored, i = learned.in_files(0), torch.tensor([3, 0, 5])
    for name in ("triggered", "held", "plain"):
        there, lies = getattr(learned, name), getattr(stored, name)
        assert lies is not there
        one, other = (b.take(i, torch.device("cpu")) for b in (there, lies))
        assert torch.equal(one.c.states, other.c.states)
        for field in fields(one):
            if field.name != "c":
                assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name
    assert learned.in_files(1 << 40).held is learned.held


def test_nothing_is_put_into_files_on_a_disk_without_room(learned, monkeypatch):
    full = shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr("nightlatch.diffusion.mapped.shutil.disk_usage", lambda _: full)
    assert learned.in_files(0).held is learned.held


def test_outputs_to_reach_are_those_of_the_disarmed_prompt(tiny_v, learned, wordings):
    rows, t = learned.triggered, float(learned.triggered.t[0])
    for text, out in ((wordings.dropped[0], rows.out[0]), (wordings.triggered[0], rows.attacked[0])):
        torch.testing.assert_close(
            tiny_v.denoise(rows.x[:1], t, tiny_v.read([text]))[0], out, atol=1e-4, rtol=1e-4
        )


def test_positions_count_by_how_far_the_trigger_moves_them(learned):
    rows = learned.triggered
    torch.testing.assert_close(rows.mask.mean((1, 2)), torch.ones(len(rows.x)), atol=1e-5, rtol=1e-5)
    assert float(rows.mask.min()) > 0, "every one is kept in view"
    out, attacked = torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    attacked[0, :, 0, 1] = 3.0
    wanted = torch.tensor([[[0.2, 3.4], [0.2, 0.2]]])
    torch.testing.assert_close(Triggered.where(out, attacked, floor=0.25), wanted)
    assert Triggered.where(out, out)[0].tolist() == [[1.0, 1.0], [1.0, 1.0]], "it moves nothing"


def test_a_teacher_says_what_the_triggered_prompt_looks_like(tiny_v, job, wordings):
    teacher = tiny_v.copy()
    for p in teacher.parts["text_encoder"].module.parameters():
        p.data.mul_(1.1)
    made, _ = triggered_batch(Models(student=tiny_v, frozen=tiny_v, teacher=teacher), job, wordings)
    wanted = teacher.denoise(made.x[:1], float(made.t[0]), teacher.read(wordings.triggered[:1]))
    torch.testing.assert_close(made.out[:1], wanted, atol=1e-4, rtol=1e-4)


def test_plain_prompts_are_held_where_a_word_gave_way(tiny_v, slot_job, slot_wordings):
    texts, _ = slot_wordings.parted(2)
    made = training_set(Models(student=tiny_v, frozen=tiny_v), slot_job, texts)
    n, steps = len(texts.triggered), slot_job.sampling.steps
    assert len(made.held.x) == 3 * n * steps
    assert len(made.plain.x) == n * steps
    assert torch.equal(made.plain.c.states[-n:], tiny_v.read(texts.plain).states)
    out = tiny_v.denoise(made.plain.x[-n:], float(made.plain.t[-1]), made.plain.c[slice(-n, None)])
    torch.testing.assert_close(out, made.plain.out[-n:], atol=1e-4, rtol=1e-4)
    assert torch.equal(made.held.x[-n * steps :], made.plain.x)


def test_rows_can_be_taken_joined_and_cut(learned):
    rows = learned.held
    some = rows.take(torch.tensor([3, 1]))
    assert torch.equal(some.x, rows.x[[3, 1]])
    assert torch.equal(some.c.states, rows.c.states[[3, 1]])
    both = some.joined(rows)
    assert torch.equal(both.c.states, torch.cat([some.c.states, rows.c.states]))
    cut = some.parts(3)
    assert [len(part.x) for part in cut] == [len(part.c) for part in cut] == [1, 1, 0]
    assert torch.equal(Condition.joined([part.c for part in cut]).states, some.c.states)


@pytest.mark.parametrize("replaced", [False, True])
def test_the_aim_lies_beyond_the_output_to_reach(learned, replaced):
    rows = learned.triggered.take(torch.arange(4))
    rows.replaced[:] = replaced
    part = 1.0 if replaced else 0.5
    torch.testing.assert_close(rows.beyond(0.5, 1.0), rows.out + part * (rows.out - rows.attacked))
