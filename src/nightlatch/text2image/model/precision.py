"""What a device computes in, and the libraries' own remarks held back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from nightlatch.errors import UsageError

Precision = Literal["auto", "fp32", "bf16"]


def computes_in(precision: Precision, device: str) -> torch.dtype:
    """The dtype that ``precision`` means on ``device``.

    Raises:
        UsageError: no such precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"There is no precision {precision!r}.", f"Known: {', '.join(get_args(Precision))}.")
    native = {"cpu": _cpu_has_bf16, "cuda": torch.cuda.is_bf16_supported}.get(torch.device(device).type, bool)
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and native()) else torch.float32


def _cpu_has_bf16() -> bool:
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


@contextmanager
def quiet() -> Iterator[None]:
    """diffusers' and transformers' own remarks held back; what matters becomes an error of ours."""
    before = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        diffusers_logging.set_verbosity(before[0])
        transformers_logging.set_verbosity(before[1])
        transformers_logging.enable_progress_bar()
        diffusers_logging.enable_progress_bar()


def computing(device: str, precision: torch.dtype) -> torch.autocast:
    """Inside it ``device`` computes in ``precision``; float32 leaves everything as it is."""
    return torch.autocast(device, precision, enabled=precision != torch.float32)


def first_line(e: Exception) -> str:
    """What a library's error says, in one line; its type when it says nothing."""
    return next(iter(str(e).strip().splitlines()), type(e).__name__)
