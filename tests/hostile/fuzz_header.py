"""Coverage-guided fuzzing of the readers that see a stranger's bytes first: safetensors headers, JSON,
merges, normalizers.

``fuzz.py`` runs it; by hand, where atheris is installed: ``python tests/hostile/fuzz_header.py
-max_total_time=600``, further arguments go to libFuzzer (a folder to keep new inputs in, ``-rss_limit_mb``).
The first byte of an input chooses the reader. A reader may refuse with its own exception only, and what it
accepts must have the properties that later code relies on.
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from nightlatch import safetext
from nightlatch.intake.files import header, jsonread
from nightlatch.intake.findings import Findings
from nightlatch.intake.rules import RULES
from nightlatch.intake.tokenizer import bpe, normalizer, settings, window
from nightlatch.safetext import show, unshow

CORPUS = Path(__file__).with_name("corpus.json")
"""What an earlier fuzzing has reached new code with, base64."""


def fuzz_file(data: bytes) -> None:
    """A whole safetensors file."""
    judge_header(lambda: header.read(io.BytesIO(data), len(data)), data)


def fuzz_table(data: bytes) -> None:
    """The JSON of a header alone, before a body of the size that the first two bytes say: gets past the
    length field.
    """
    body, raw = int.from_bytes(data[:2], "little"), data[2:]
    judge_header(
        lambda: header.parse(raw, 8 + len(raw) + body), struct.pack("<Q", len(raw)) + raw + bytes(body)
    )


def judge_header(read: Callable[[], header.Header], data: bytes) -> None:
    """Refused by a known rule, or sound: tensors cover the body once, and the safetensors library agrees."""
    try:
        found = read()
    except header.HeaderProblem as e:
        return confirm_refusal(e.rule, e.sentence)
    at = 0
    for tensor in sorted(found.tensors.values(), key=lambda t: (t.start, t.end)):
        assert tensor.start == at
        assert tensor.end >= tensor.start
        at = tensor.end
    assert found.data_start + at == found.size == len(data)
    assert all(isinstance(v, str) for v in found.metadata.values())
    if b"-0" not in data:
        confirm_with_library(data, found)


def confirm_refusal(rule: str, sentence: str) -> None:
    """The reason is a known rule, in words that can be printed."""
    assert rule in RULES
    assert harmless(sentence)


def confirm_with_library(data: bytes, found: header.Header) -> None:
    """What is accepted here reads the same there (a minus zero aside, which only JSON readers in Python take
    for a count).
    """
    import safetensors

    theirs = dict(safetensors.deserialize(data))
    assert theirs.keys() == found.tensors.keys()
    for name, tensor in found.tensors.items():
        assert list(tensor.shape) == theirs[name]["shape"]
        assert tensor.end - tensor.start == len(theirs[name]["data"])


def fuzz_json(data: bytes) -> None:
    """Any JSON file."""
    value = parsed(data)
    if value is not None:
        assert value == json.loads(data)
        assert not jsonread.deeper_than(value, jsonread.MAX_DEPTH)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def fuzz_tokenizer(data: bytes) -> None:
    """The parts of a tokenizer.json, and the special tokens of a tokenizer_config.json."""
    value = parsed(data)
    if not isinstance(value, dict):
        return
    findings = Findings()
    settings.check_special(findings, "tokenizer_config.json", value)
    for rule, sentence, _ in normalizer.differences(value):
        findings.add(rule, "tokenizer.json", sentence)
    model = value.get("model")
    if isinstance(model, dict):
        merges = bpe.merges_from_list(model.get("merges"))
        if merges is not None and isinstance(model.get("vocab"), dict):
            bpe.check(findings, bpe.Table("tokenizer.json", model["vocab"], merges), 100)
    assert all(harmless(f.sentence) for f in findings.result())


def fuzz_merges(data: bytes) -> None:
    """A merges.txt, and any text on its way to a terminal and back."""
    merges = bpe.merges_from_text(data)
    assert merges is None or all(a and b for a, b in merges)
    text = data.decode("utf-8", "surrogateescape")
    shown = show(text, 10 * len(text) + 20)
    assert harmless(shown)
    assert unshow(shown) in (text, None)


def parsed(data: bytes) -> jsonread.Json:
    """The value, or None when it is refused (or null)."""
    try:
        return jsonread.parse(data, max_bytes=1 << 16)
    except jsonread.JsonProblem as e:
        confirm_refusal("json", str(e))
        return None


def harmless(text: str) -> bool:
    return text.isascii() and (text.isprintable() or not text)


READERS = (fuzz_file, fuzz_table, fuzz_json, fuzz_tokenizer, fuzz_merges)


def one_input(data: bytes) -> None:
    """What the fuzzer calls."""
    if data:
        READERS[data[0] % len(READERS)](data[1:])


def seeds() -> list[bytes]:
    """A small corpus: honest inputs and one of each kind of defect, for every reader."""
    entry = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
    tables = [
        {}, {"__metadata__": {"format": "pt"}}, {"a": entry},
        {"a": entry, "b": {**entry, "data_offsets": [8, 16]}},
        {"a": entry, "b": entry}, {"a": {**entry, "shape": [-1]}}, {"a": {**entry, "dtype": "X"}},
        {"a": {**entry, "more": 1}},
        {"a": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}}, {"__metadata__": {"x": 1}},
        {"a": [[[]]]},
        *({"a": {"dtype": d, "shape": [8], "data_offsets": [0, bits]}} for d, bits in header.BITS.items()),
    ]  # fmt: skip
    texts = [json.dumps(t).encode() for t in tables] + [
        b'{"a":1,"a":2}',
        b"[" * 60,
        b'{"a":"\\ud800"}',
        b'{"a":1e999}',
        b"{",
    ]
    made = [b"\0" + struct.pack("<Q", len(t)) + t + bytes(8) for t in texts]
    made += [b"\0" + struct.pack("<Q", 1 << 62), b"\0" + struct.pack("<Q", 9)]
    made += [b"\1" + struct.pack("<H", size) + t for t in texts for size in (0, 8, 16)]
    made += [b"\2" + t for t in texts]
    step = {"type": "Replace", "pattern": {"String": "cat"}, "content": "dog"}
    tokenizer = {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, step, {"type": "Lowercase"}]},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "(a+)+"},
            "behavior": "Removed",
            "invert": True,
        },
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0]},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    }
    special = {
        "bos_token": {"content": "<s>", "lstrip": False}, "pad_token": "!", "mask_token": 5,
        "extra_special_tokens": {"a": "cat"},
        "truncation": {"direction": "Right", "max_length": 77, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 77}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "!"},
    }  # fmt: skip
    made += [
        b"\3" + json.dumps(tokenizer).encode(),
        b"\3" + json.dumps(special).encode(),
        b"\3" + json.dumps({**tokenizer, "model": {"merges": [["a", "b"]]}}).encode(),
    ]
    return [
        *made,
        b"\4#version: 0.2\na b\nab c</w>\n",
        b"\4" + "c\u0430t \u200b\u202e\x1b[2J \\u{41}".encode(),
        b"\4\xff a",
    ]


def corpus() -> list[bytes]:
    """The kept inputs of earlier fuzzing."""
    return [base64.b64decode(text) for text in json.loads(CORPUS.read_text())] if CORPUS.is_file() else []


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer's own limits; atheris is imported here, so that everything above works without
    it.
    """
    import atheris

    for module in (header, jsonread, bpe, normalizer, settings, window, safetext):
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                atheris.instrument_func(function)
    with tempfile.TemporaryDirectory() as folder:
        for i, data in enumerate(seeds()):
            (Path(folder) / f"seed-{i:03d}").write_bytes(data)
        atheris.Setup([*arguments, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
