"""Random edits of honest files: whatever they break, a rule says it; none may make a rule itself fail."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from intake_fixtures import with_header

from nightlatch.intake import check
from nightlatch.report import files as views

VALUES: list[Any] = [
    None, True, -1, 0, 1.5, "x", [], {}, [1, 2], [None], 10**30, -1e300, {"a": [{}]}, ["diffusers"], "../x",
    [[1]], 2**40,
]  # fmt: skip
KEYS = ["_x", "auto_map", "kernels", "chat_template", "quantization_config", "__metadata__"]
ROUNDS = 150


def edit(value: Any, chance: random.Random) -> None:
    """Replace, delete or add something somewhere in ``value``."""
    for _ in range(6):
        if not isinstance(value, dict | list) or not value:
            return
        key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        if chance.random() < 0.4 or not isinstance(value[key], dict | list):
            if isinstance(value, dict) and chance.random() < 0.4:
                value[chance.choice(KEYS)] = copy.deepcopy(chance.choice(VALUES))
            elif chance.random() < 0.2:
                del value[key]
            else:
                value[key] = copy.deepcopy(chance.choice(VALUES))
            return
        value = value[key]


def mutated(path: Path, good: bytes, chance: random.Random) -> bytes:
    """A structural edit of JSON or of a header, or some changed bytes."""
    if path.suffix == ".json" and chance.random() < 0.8:
        value = json.loads(good)
        edit(value, chance)
        return json.dumps(value).encode()
    if path.suffix == ".safetensors" and chance.random() < 0.6:
        n = int.from_bytes(good[:8], "little")
        value = json.loads(good[8 : 8 + n])
        edit(value, chance)
        return with_header(json.dumps(value).encode(), good[8 + n :])
    data = bytearray(good)
    for _ in range(chance.choice([1, 3, 20])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data)


@pytest.mark.parametrize("seed", range(3))
def test_no_rule_fails_itself(built: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for source in ("pipeline", "sharded", "peft"):
        model = Path(shutil.copytree(built / source, tmp_path / source))
        files = sorted(p for p in model.rglob("*") if p.is_file())
        for _ in range(ROUNDS // 3):
            path = chance.choice(files)
            good = path.read_bytes()
            path.write_bytes(mutated(path, good, chance))
            manifest = check(model, values=chance.random() < 0.3)
            assert "internal" not in {f.rule for f in manifest.findings}, (seed, path, manifest.findings)
            assert views.sarif(manifest).isascii()
            path.write_bytes(good)
