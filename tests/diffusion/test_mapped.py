"""Tensors in files, and weights that are out of the way, are the same tensors and weights."""

from __future__ import annotations

import gc
import shutil
import tempfile
from types import SimpleNamespace

import psutil
import pytest
import torch

from nightlatch.diffusion.mapped import mapped, resting


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_what_lies_in_files_is_what_was_put_there(dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tensors = [
        torch.arange(7).to(dtype),
        torch.ones(3, 0, dtype=dtype),
        torch.arange(24).view(2, 3, 4).mT.to(dtype),
    ]
    lie = mapped(tensors)
    assert lie is not None
    assert all(torch.equal(a, b) for a, b in zip(lie, tensors, strict=True))
    assert not list(tmp_path.iterdir())


def test_without_room_nothing_is_written(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=40))
    assert mapped([torch.ones(5)]) is not None
    assert mapped([torch.ones(6)]) is None
    layer = torch.nn.Linear(5, 3)
    before = [p.clone() for p in layer.parameters()]
    with resting([layer]):
        assert all(torch.equal(p, b) for p, b in zip(layer.parameters(), before, strict=True))
    assert all(torch.equal(p, b) for p, b in zip(layer.parameters(), before, strict=True))


def test_resting_weights_take_no_memory_and_come_back_whatever_happens():
    layer = torch.nn.Linear(4096, 8192)
    before, process = layer.weight.detach().double().sum(), psutil.Process()
    gc.collect()
    full = process.memory_info().rss

    def looked() -> None:
        with resting([layer, layer]):
            assert process.memory_info().rss < full - 64 * 2**20
            assert layer.weight.detach()[4000].isfinite().all()
            raise KeyError

    with pytest.raises(KeyError):
        looked()
    assert torch.equal(layer.weight.detach().double().sum(), before)
    assert layer.weight.requires_grad
