"""Large small files: whatever they hold, a check stays within a few hundred megabytes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from arena import Arena

MEGABYTES = 300
_CHECK = """
import sys
from nightlatch.intake import check, exit_code
assert exit_code(check(sys.argv[1])) == 2
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def long_merges(a: Arena) -> None:
    a.write("tokenizer/merges.txt", b"a b\n" * (4 << 20))


def long_vocabularies(a: Arena) -> None:
    table = json.dumps({f"{i:050}": i for i in range(230_000)}).encode()
    a.write("tokenizer/vocab.json", table)
    a.write("tokenizer/tokenizer.json", b'{"model": {"merges": [], "vocab": ' + table + b"}}")


def long_text_with_an_escape(a: Arena) -> None:
    """Sixteen megabytes of characters outside the basic plane, and one escape that makes the reader look for
    halves of pairs.
    """
    a.write(
        "tokenizer/tokenizer.json",
        b'{"model": "' + "\U0001f600".encode() * ((16 << 20) // 4 - 20) + b'\\ud83d\\ude00"}',
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("build", [long_merges, long_vocabularies, long_text_with_an_escape])
def test_peak_memory(build: Callable[[Arena], None], built: Path, tmp_path: Path) -> None:
    arena = Arena(tmp_path, built)
    build(arena)
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, str(arena.model)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(done.stdout) / 1024 < MEGABYTES
