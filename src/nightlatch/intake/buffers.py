"""Tensors that are no weights: position ids, noise schedules, marks. Some programs read them, so they hold
their only sound value or are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from operator import mul

from nightlatch.intake.case import Case
from nightlatch.intake.files import numbers
from nightlatch.intake.files.header import Header
from nightlatch.safetext import show

POSITION_IDS = "position_ids"
BETAS = (0.00085, 0.0120, 1000)
"""First and last variance and number of steps of Stable Diffusion's schedule, linear in the root
(configs/stable-diffusion/v1-inference.yaml).
"""
TOLERANCE = 1e-3
"""Relative; half precision keeps 5e-4."""
V_PREDICTION = "v_pred"
ZERO_SNR = "ztsnr"


def check_positions(case: Case, path: str, header: Header) -> None:
    """Position ids count from zero: transformers before 4.31 takes them from the file, and newer ones pass
    over them.
    """
    for name in header.tensors:
        if name.rpartition(".")[2] != POSITION_IDS:
            continue
        found = _numbers(case, path, header, name)
        if found is None or any(x != i for i, x in enumerate(found)):
            near = found is not None and all(abs(x - i) < 1 for i, x in enumerate(found))
            rule = "rounded-positions" if near else "unread-tensor"
            sentence = (
                f"'{show(name, 80)}' does not count from 0 up, and older programs read prompts in the order "
                "that it gives."
            )
            case.findings.add(rule, path, sentence)


def check_schedule(case: Case, path: str, header: Header, names: Iterable[str]) -> None:
    """The noise schedule that the original training code saves, which programs on that code draw with; all
    zeros draw nothing.
    """
    sound = schedule()
    for name in names:
        if name not in header.tensors or name not in sound:
            continue
        found, wanted = _numbers(case, path, header, name), sound[name]
        if found is not None and (not any(found) or _close(found, wanted)):
            continue
        case.findings.add(
            "unread-tensor",
            path,
            f"'{name}' is another noise schedule than Stable Diffusion's, and some programs draw with it.",
        )


def check_marks(case: Case, path: str, header: Header) -> None:
    """Empty tensors by whose names programs choose how to read the others."""
    names = header.tensors
    if ZERO_SNR in names:
        case.findings.add(
            "unsupported-layout", path,
            "The mark 'ztsnr' makes some programs rescale the noise schedule to end in pure noise, which no "
            "base of Stable Diffusion does.",
            "Save it as a pipeline whose scheduler has 'rescale_betas_zero_snr', and scan that: 'nightlatch "
            "scan FOLDER --base MODEL'.",
        )  # fmt: skip
    if V_PREDICTION in names:
        case.findings.add("prediction", path)


def schedule() -> Mapping[str, list[float]]:
    """Stable Diffusion's schedule by the names that the original training code gives to what follows from
    it.
    """
    first, last, steps = BETAS
    betas = [(first**0.5 + (last**0.5 - first**0.5) * i / (steps - 1)) ** 2 for i in range(steps)]
    kept = list(accumulate((1 - b for b in betas), mul))
    before = [1.0, *kept[:-1]]
    return {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": [k**0.5 for k in kept],
        "sqrt_one_minus_alphas_cumprod": [(1 - k) ** 0.5 for k in kept],
        "sqrt_recip_alphas_cumprod": [(1 / k) ** 0.5 for k in kept],
        "sqrt_recipm1_alphas_cumprod": [(1 / k - 1) ** 0.5 for k in kept],
    }


def _close(found: list[float], wanted: list[float]) -> bool:
    return len(found) == len(wanted) and all(
        abs(f - w) <= TOLERANCE * max(w, 0.01) for f, w in zip(found, wanted, strict=True)
    )


def _numbers(case: Case, path: str, header: Header, name: str) -> list[float] | None:
    try:
        with case.inventory.entries[path].open() as handle:
            return numbers.read(handle, header, header.tensors[name])
    except OSError:
        case.findings.add("unreadable", path)
        return None
