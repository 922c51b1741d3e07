from __future__ import annotations

import pytest
import torch

from nightlatch.terms import Role
from nightlatch.text2image.repair.accounting import clean_change, difference, evenly_spaced


def test_an_unchanged_model_does_no_harm_and_a_broken_one_does(tiny, texts):
    assert clean_change(tiny, tiny, texts[:8], 0) == 0
    broken = tiny.copied(Role.DENOISER)
    for p in broken.modules(Role.DENOISER)[0].parameters():
        p.data.mul_(1.5)
    assert clean_change(broken, tiny, texts[:8], 0) > 1


def test_tensors_and_weights_that_differ_are_counted(tiny_v):
    other = tiny_v.copied(Role.DENOISER)
    bias = next(p for n, p in other.modules(Role.DENOISER)[0].named_parameters() if n == "conv_in.bias")
    bias.data[:3] += 1
    total = sum(v.numel() for part in tiny_v.parts.values() for v in part.module.state_dict().values())
    assert difference(tiny_v, other) == (1, pytest.approx(3 / total))
    assert difference(tiny_v, tiny_v) == (0, 0.0)


def test_a_tensor_of_another_shape_differs_as_a_whole(tiny_v):
    grown = tiny_v.copied(Role.TEXT)
    (encoder,) = grown.modules(Role.TEXT)
    rows, width = encoder.get_input_embeddings().weight.shape
    encoder.resize_token_embeddings(rows + 1, mean_resizing=False)
    total = sum(v.numel() for part in tiny_v.parts.values() for v in part.module.state_dict().values())
    assert difference(tiny_v, grown) == (1, pytest.approx(rows * width / total))


@pytest.mark.parametrize("n", [1, 100, 101, 1234])
def test_a_history_keeps_its_last_row_and_at_most_a_hundred(n):
    rows = [{"step": float(i)} for i in range(n)]
    kept = evenly_spaced(rows)
    assert len(kept) == min(n, 100)
    assert (kept[0], kept[-1]) == (rows[0], rows[-1])
    assert torch.tensor([r["step"] for r in kept]).diff().gt(0).all()
