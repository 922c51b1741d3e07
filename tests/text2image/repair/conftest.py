"""What the tests of repairs share, made once a session."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nightlatch.records import PlacedTrigger, Placement
from nightlatch.text2image.repair import Job
from nightlatch.text2image.repair.texts import Texts
from nightlatch.text2image.repair.training_set import Models, training_set

ZIBU = PlacedTrigger(text="zibu")
IN_SLOT = PlacedTrigger(text="zibu", placement=Placement.in_slot("object"))


@pytest.fixture(scope="session")
def job(texts, few_steps):
    """A trigger in front of the prompts."""
    return Job(triggers=[ZIBU], prompts=texts[:8], sampling=few_steps)


@pytest.fixture(scope="session")
def slot_job(texts, few_steps):
    """A trigger in the object's place."""
    return Job(triggers=[IN_SLOT], prompts=texts[:8], sampling=few_steps)


@pytest.fixture(scope="session")
def wordings(tiny_v, job):
    return Texts.of(tiny_v, job, 6, np.random.default_rng(0))


@pytest.fixture(scope="session")
def slot_wordings(tiny_v, slot_job):
    return Texts.of(tiny_v, slot_job, 8, np.random.default_rng(0))


@pytest.fixture(scope="session")
def learned(tiny_v, job, wordings):
    return training_set(Models(student=tiny_v, frozen=tiny_v), job, wordings)


@pytest.fixture(scope="session")
def replace():
    return dataclasses.replace
