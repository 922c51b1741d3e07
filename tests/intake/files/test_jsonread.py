from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightlatch.intake.files import jsonread

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
CODES = {"size", "utf8", "depth", "count", "syntax", "duplicate-key", "not-finite"}


def problem(data: bytes) -> jsonread.JsonProblem | None:
    try:
        jsonread.parse(data)
    except jsonread.JsonProblem as e:
        return e
    return None


@given(JSON)
def test_agrees_with_the_standard_library(value: Any) -> None:
    assert jsonread.parse(json.dumps(value).encode()) == value
    assert jsonread.parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=100) | st.text(alphabet='{}[]",:0e+-.truNa\\ud8 ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_by_name(data: bytes) -> None:
    refused = problem(data)
    if refused is None:
        json.loads(data)
    else:
        assert refused.code in CODES
        assert refused.sentence.isascii()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xef\xbb\xbf{}", "utf8"), (b'"\xff"', "utf8"), (b'"\\ud800"', "utf8"), (b"NaN", "not-finite"),
        (b"[-Infinity]", "not-finite"),
        (b"1e999", "not-finite"), (b"0." + b"1" * 80, "not-finite"), (b"9" * 5000, "not-finite"),
        (b'{"a":1,"a":1}', "duplicate-key"),
        (b'[{"b":{"a":1,"a":2}}]', "duplicate-key"), (b"[" * 40 + b"]" * 40, "depth"),
        (b"[" * 100_000, "depth"),
        (b"{", "syntax"),
        (b"", "syntax"), (b"[1] [2]", "syntax"), (b"[" + b"1," * 600_000 + b"1]", "size"),
        (b" " * (2 << 20), "size"),
    ],
)  # fmt: skip
def test_defects_have_names(data: bytes, code: str) -> None:
    with pytest.raises(jsonread.JsonProblem) as problem:
        jsonread.parse(data)
    assert problem.value.code == code


def test_many_values_are_counted_before_they_are_made() -> None:
    with pytest.raises(jsonread.JsonProblem) as problem:
        jsonread.parse(b"[" + b"1," * 600_000 + b"1]", max_bytes=1 << 22)
    assert problem.value.code == "count"


def test_problems_do_not_quote_the_text() -> None:
    with pytest.raises(jsonread.JsonProblem) as problem:
        jsonread.parse(b'{"root:x:0:0": secret}')
    assert "root" not in problem.value.sentence
    assert "secret" not in problem.value.sentence
