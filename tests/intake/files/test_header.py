from __future__ import annotations

import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intake_fixtures import pack, with_header, work

from nightlatch.intake.files import header
from nightlatch.intake.rules import RULES

NAMES = st.text(min_size=1, max_size=12).filter(lambda n: n != "__metadata__")
TENSORS = st.dictionaries(
    NAMES,
    st.tuples(st.sampled_from(sorted(header.BITS)), st.lists(st.integers(0, 5), max_size=4)),
    max_size=8,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def read(data: bytes) -> header.Header:
    return header.read(io.BytesIO(data), len(data))


def problem(data: bytes) -> header.HeaderProblem | None:
    try:
        read(data)
    except header.HeaderProblem as e:
        return e
    return None


def assert_named(found: header.HeaderProblem | None) -> None:
    """Read, or refused with a rule of the table and a harmless sentence."""
    if found is not None:
        assert found.rule in RULES
        assert found.sentence.isascii()
        assert found.sentence.isprintable()


def rows(n: int) -> tuple[bytes, int]:
    """A header of ``n`` entries as in a large UNet, and the bytes of its tensors."""
    size = 320 * 320 * 9 * 4
    name = "down_blocks.{}.attentions.1.transformer_blocks.0.attn1.to_k.weight"
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for i in range(n):
        table[name.format(i)] = {
            "dtype": "F32",
            "shape": [320, 320, 3, 3],
            "data_offsets": [i * size, (i + 1) * size],
        }
    return json.dumps(table, separators=(",", ":")).encode(), n * size


def test_reads_what_safetensors_writes() -> None:
    numpy = pytest.importorskip("numpy")
    save = pytest.importorskip("safetensors.numpy").save
    data = save(
        {"a": numpy.arange(6, dtype=numpy.float32).reshape(2, 3), "b": numpy.zeros(0)}, {"format": "np"}
    )
    found = read(data)
    assert found.metadata == {"format": "np"}
    assert found.tensors["a"].dtype == "F32"
    assert found.tensors["a"].shape == (2, 3)
    assert found.tensors["b"].shape == (0,)


@given(TENSORS)
def test_every_sound_file_is_read(table: dict[str, tuple[str, list[int]]]) -> None:
    made = {}
    for name, (dtype, shape) in table.items():
        bits = header.BITS[dtype]
        for n in shape:
            bits *= n
        if bits % 8 == 0:
            made[name] = (dtype, shape, bytes(bits // 8))
    found = read(pack(made))
    assert {k: (t.dtype, list(t.shape)) for k, t in found.tensors.items()} == {
        k: (d, s) for k, (d, s, _) in made.items()
    }


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_name(data: bytes) -> None:
    assert_named(problem(data))


@given(JSON, st.integers(0, 64))
@settings(max_examples=300)
def test_any_json_is_read_or_refused_by_name(value: Any, body: int) -> None:
    for candidate in (
        value,
        {"a": value},
        {"__metadata__": value},
        {"a": {"dtype": "F32", "shape": value, "data_offsets": value}},
    ):
        assert_named(problem(with_header(json.dumps(candidate).encode(), bytes(body))))


@given(st.data())
def test_one_changed_byte_never_crashes(data: st.DataObject) -> None:
    sound = bytearray(pack({"a": ("F32", [2, 2], bytes(16)), "b": ("I64", [1], bytes(8))}, {"format": "pt"}))
    sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    refused = problem(bytes(sound))
    assert_named(refused)
    if refused is None:
        found = read(bytes(sound))
        assert sum(t.end - t.start for t in found.tensors.values()) == found.size - found.data_start


@given(st.binary(min_size=8, max_size=120))
def test_no_sound_file_is_refused_by_us_only(head: bytes) -> None:
    """What we accept, the reference library accepts too."""
    deserialize = pytest.importorskip("safetensors").deserialize
    data = struct.pack("<Q", len(head)) + head
    if problem(data) is None:
        deserialize(data)


def test_the_work_grows_with_the_number_of_tensors_and_no_faster() -> None:
    def calls(count: int) -> int:
        raw, size = rows(count)
        return work(lambda: header.parse(raw, 8 + len(raw) + size))

    assert calls(5200) < 2.2 * calls(2600)


def test_a_long_header_is_not_read() -> None:
    class Endless(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert size >= 0
            self.asked += size
            return super().read(size)

    handle = Endless(struct.pack("<Q", 1 << 40) + b"{" + bytes(64 << 10))
    with pytest.raises(header.HeaderProblem) as problem:
        header.read(handle, 1 << 41)
    assert problem.value.rule == "header-size"
    assert handle.asked <= header.MAX_HEADER + 8
