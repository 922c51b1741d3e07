"""Parts of a batch that several threads compute at once are what one thread makes of the whole."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from nightlatch.text2image.effect.one_step import OneStep
from nightlatch.text2image.model import Sampling
from nightlatch.text2image.model.at_once import in_parts

CPU = torch.device("cpu")


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_parts_come_back_in_order_from_threads_with_one_thread_each(three_threads):
    meet = threading.Barrier(3, timeout=60)

    def compute(r):
        if r.start < 6:
            meet.wait()  # three are inside at once
        return r.start, r.stop, torch.get_num_threads()

    assert in_parts(compute, 7, 6, CPU) == [(0, 2, 1), (2, 4, 1), (4, 6, 1), (6, 8, 1)]
    assert torch.get_num_threads() == 3


def test_threads_that_few_rows_leave_over_are_shared_out():
    torch.set_num_threads(5)
    try:
        assert in_parts(lambda r: torch.get_num_threads(), 2, 8, CPU) == [2, 2]
        assert in_parts(lambda r: torch.get_num_threads(), 1, 8, CPU) == [5]
    finally:
        torch.set_num_threads(1)


def test_gradients_and_autocast_are_inside_as_outside(three_threads):
    def state(_):
        return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    assert set(in_parts(state, 3, 3, CPU)) == {(True, False, torch.get_autocast_dtype("cpu"))}
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        assert set(in_parts(state, 3, 3, CPU)) == {(False, True, torch.float16)}


def test_an_error_in_one_part_is_raised_and_the_threads_are_as_before(three_threads):
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda r: 1 / (r.start - 1), 3, 3, CPU)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("n", "most"), [(12, 256), (100, 8), (5, 1), (1, 8), (0, 8), (7, 2)])
def test_no_more_rows_are_computed_at_once_than_allowed(three_threads, n, most):
    inside, seen, lock = set(), [], threading.Lock()

    def compute(r):
        rows = set(range(n)[r])
        with lock:
            inside.update(rows)
            seen.append(len(inside))
        time.sleep(0.002)
        with lock:
            inside.difference_update(rows)
        return sorted(rows)

    assert [k for part in in_parts(compute, n, most, CPU) for k in part] == list(range(n))
    assert max(seen) <= most


def test_another_device_and_one_thread_take_the_parts_in_turn(three_threads):
    def here(r):
        return r.start, threading.current_thread() is threading.main_thread(), torch.get_num_threads()

    assert in_parts(here, 5, 2, torch.device("cuda")) == [(0, True, 3), (2, True, 3), (4, True, 3)]
    assert in_parts(here, 5, 1, CPU)[0] == (0, True, 3)


def test_a_model_answers_the_same_with_any_number_of_threads(tiny_v):
    texts, sampling = (
        ["a cat", "a dog", "two birds", "a tree", "sks"],
        Sampling(steps=2, guidance=3.0, batch=4),
    )
    step = OneStep.first(tiny_v, 0)

    def answers():
        c = tiny_v.read(texts)
        drawn = tiny_v.latents(texts, range(5), sampling)
        decoded = torch.from_numpy(tiny_v.decode_all(drawn)).float()
        return c.states, step.outputs(tiny_v, c), step.middle(tiny_v, c), drawn, decoded

    alone = answers()
    torch.set_num_threads(3)
    try:
        several = answers()
    finally:
        torch.set_num_threads(1)
    for one, many in zip(alone[:4], several[:4], strict=True):
        torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)
    assert (alone[4] - several[4]).abs().max() <= 1
    assert not several[0].requires_grad
