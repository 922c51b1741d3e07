"""What to call a file that is not safetensors: a web page, a picture, a workflow, a model of another
program.
"""

from __future__ import annotations

from typing import NamedTuple

from nightlatch.intake.files import kinds
from nightlatch.intake.files.inventory import Entry

GLANCE = 1 << 16
"""Bytes that are looked at to tell one text from another."""
_AGAIN = "Open the address in a browser, log in where it asks for that, and download the file again."
_SOURCE = "Scan the model that it was made from: 'nightlatch scan FOLDER --base MODEL'."
_MODEL = "Give the model's own file: 'nightlatch check FILE.safetensors'."
_EMBEDDED = (
    "If an embedding is stored in the picture, ask its author for a safetensors file: 'nightlatch check "
    "FILE.safetensors'."
)


class Described(NamedTuple):
    """``words`` as in 'It is ...', and what to do. ``sent``: it is what a server answered in place of a
    file.
    """

    words: str
    remedy: str
    sent: bool = False


_KINDS: dict[str, Described] = {
    "image": Described("a picture, not a model", _EMBEDDED),
    "gguf": Described("a GGUF file, whose weights are quantised for other programs", _SOURCE),
    "hdf5": Described("an HDF5 file, as Keras and TensorFlow save weights", _SOURCE),
    "numpy": Described("a NumPy array", _MODEL),
    "program": Described("a program, not a model", "Do not run it."),
    "script": Described("a script, not a model", "Do not run it."),
    "python": Described("a Python program, not a model", "Do not run it."),
    "apple-double": Described("a file of macOS beside the one that is meant", _MODEL),
    "empty": Described("an empty file", "Download the file again."),
}
_ENDINGS: tuple[tuple[tuple[str, ...], Described], ...] = (
    ((".onnx", ".onnx_data", ".pb"), Described("an ONNX model", _SOURCE)),
    ((".msgpack",), Described("weights of Flax", _SOURCE)),
    ((".tflite",), Described("a TensorFlow Lite model", _SOURCE)),
    ((".engine", ".plan", ".trt"), Described("a TensorRT engine", _SOURCE)),
    ((".mlmodel",), Described("a Core ML model", _SOURCE)),
    ((".yaml", ".yml"), Described("a YAML text that describes a model", _MODEL)),
    ((".toml",), Described("a TOML text with settings", _MODEL)),
    ((".civitai.info", ".metadata.json"), Described("a text about a model (JSON)", _MODEL)),
)


def describe(entry: Entry) -> Described:
    """What the file is, by its content first and its name where the content leaves it open."""
    if found := _KINDS.get(entry.kind):
        return found
    name = entry.name.lower()
    if entry.kind in ("text", "json"):
        return _text(entry, name)
    for endings, described in _ENDINGS:
        if name.endswith(endings):
            return described
    if entry.kind in kinds.ARCHIVES:
        return Described(
            f"an archive ({entry.kind})",
            "Unpack it, look at what is in it, and check that: 'nightlatch check FOLDER'.",
        )
    return Described("a file of no kind that is known here", _MODEL)


def is_answer(entry: Entry) -> bool:
    """Whether the text is what a server sent in place of a file; it begins with a character that begins no
    pickle.
    """
    return describe(entry).sent


def _text(entry: Entry, name: str) -> Described:
    """A text by what stands in its first 64 KB; only whole words are looked for, so that the time is
    linear.
    """
    try:
        with entry.open() as handle:
            start = handle.read(GLANCE)
    except OSError:
        start = b""
    lower = start.lstrip().lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<!-- ")) or b"<html" in lower[:1024]:
        return Described(
            "a web page (HTML), as a hub sends when it asks for a login or has no such file",
            _AGAIN,
            sent=True,
        )
    if lower.startswith(b"<?xml") or lower.startswith(b"<net"):
        words = "an OpenVINO model" if b"<net" in lower else "an XML text"
        return Described(words, _SOURCE if b"<net" in lower else _MODEL)
    if entry.kind == "json":
        return _json(start)
    for endings, described in _ENDINGS:
        if name.endswith(endings):
            return described
    return Described("a text, not a model", _MODEL)


def _json(start: bytes) -> Described:
    if b'"class_type"' in start or (b'"nodes"' in start and b'"type"' in start) or b'"last_node_id"' in start:
        return Described(
            "a workflow of ComfyUI (JSON), not a model",
            "Check the models that it names, one by one: 'nightlatch check FILE.safetensors'.",
        )
    if b'"_class_name"' in start or b'"model_type"' in start or b'"weight_map"' in start:
        return Described(
            "the config or index of a model (JSON)",
            "Check the folder that it lies in: 'nightlatch check FOLDER'.",
        )
    if b'"error"' in start or b'"message"' in start:
        return Described(
            "an answer of a server (JSON), as it sends when it refuses a download", _AGAIN, sent=True
        )
    return Described("a JSON text, not a model", _MODEL)
