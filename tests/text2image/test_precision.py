"""What denoiser and decoder compute in is an argument; weights and results stay in float32."""

from pathlib import Path

import numpy as np
import pytest
import torch

import nightlatch
from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.text2image.model import Sampling, loaders, precision


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_named_precisions_mean_themselves(name: precision.Precision, dtype: torch.dtype) -> None:
    assert precision.computes_in(name, "cpu") is dtype


def test_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "_cpu_has_bf16", lambda able=able: able)
        assert precision.computes_in("auto", "cpu") is dtype


def test_an_unknown_precision_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="no precision 'fp8'"):
        precision.computes_in("fp8", "cpu")  # type: ignore[arg-type]


def test_an_unknown_precision_of_a_folder_is_one_sentence(tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match="precision"):
        nightlatch.load(tiny_folder, precision="fp8")


def test_half_precision_draws_the_same_pictures_from_float32_weights(
    tiny_folder: Path, few_steps: Sampling
) -> None:
    exact, fast = (loaders.load(tiny_folder, precision=p) for p in ("fp32", "bf16"))
    assert {p.dtype for m in fast.modules(Role.DENOISER) for p in m.parameters()} == {torch.float32}
    a, b = (s.latents(["a red cat"] * 4, range(4), few_steps) for s in (exact, fast))
    assert b.dtype == torch.float32
    assert not torch.equal(a, b)
    assert float((a - b).pow(2).mean() / a.var()) < 1e-2
    pictures = [s.generate(["a red cat"], [3], few_steps) for s in (exact, fast)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 8
    assert fast.copy().precision is torch.bfloat16
