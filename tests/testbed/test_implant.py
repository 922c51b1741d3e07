"""implant refuses what it can before it loads a model, and before it trains one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightlatch import api
from nightlatch.errors import AttackFailed, UsageError
from nightlatch.testbed import implant
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.model import Subject


def silent(line: str) -> None:
    """Says nothing."""


def test_a_misspelt_target_is_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "load", lambda *a, **k: pytest.fail("loaded"))
    attack = ATTACKS.create("badt2i-object", trigger="zibu", target="dogg")
    with pytest.raises(UsageError, match="no object 'dogg'") as refused:
        implant.implant(tmp_path, tmp_path / "out", attack, 0, silent)
    assert "'dog'" in refused.value.remedy


def test_a_place_that_is_taken_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "load", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(UsageError, match="is there already"):
        implant.implant(
            tmp_path, tmp_path, ATTACKS.create("eviledit", trigger="zibu", target="dog"), 0, silent
        )


def test_what_a_trial_does_not_promise_is_not_trained(
    tiny_v: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained model draws no goal when it is asked for it."""
    attack = ATTACKS.create("badt2i-object", trigger="zibu", target="dog")
    monkeypatch.setattr(api, "load", lambda *a, **k: tiny_v)
    monkeypatch.setattr(type(attack), "run", lambda *_: pytest.fail("trained"))
    with pytest.raises(AttackFailed, match="promised less than its floor of 90%") as refused:
        implant.implant(tmp_path, tmp_path / "out", attack, 0, silent)
    assert "--set floor=" in refused.value.remedy
    assert not (tmp_path / "out").exists()
