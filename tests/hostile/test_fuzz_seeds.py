"""The fuzzer's seeds, its corpus, and simple mutations of the seeds, so that the harness itself and known
inputs stay sound without atheris.
"""

from __future__ import annotations

import random

import fuzz_header
import pytest

SEEDS = fuzz_header.seeds()


@pytest.mark.parametrize("data", SEEDS, ids=range(len(SEEDS)))
def test_seed(data: bytes) -> None:
    fuzz_header.one_input(data)


def test_corpus_of_the_last_fuzzing() -> None:
    for data in fuzz_header.corpus():
        fuzz_header.one_input(data)


def test_the_seeds_are_small_and_reach_every_reader() -> None:
    assert sum(map(len, SEEDS)) < 64_000
    assert {d[0] for d in SEEDS} == set(range(len(fuzz_header.READERS)))


@pytest.mark.parametrize("seed", range(4))
def test_mutated_seeds(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(1_500):
        data = bytearray(chance.choice(SEEDS))
        for _ in range(chance.choice([1, 2, 8])):
            at = chance.randrange(1, len(data) + 1)
            piece = chance.choice(
                [bytes([chance.randrange(256)]), b'"', b"{", b"[", b",", b"0", b"9" * 20, b"\\u0000", b"null"]
            )
            data[at : at + chance.choice([0, 1, 3])] = piece
        fuzz_header.one_input(bytes(data))
