"""A hub that lies: nothing is written outside the cache, nothing enormous is fetched, and the refusal is one
sentence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, serving

from nightlatch.errors import UnreadableModel
from nightlatch.intake.hub import source as hub

FILES = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "unet/config.json": b'{"evil": 1}',
}
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
OTHER = "0" * 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        running.push(FILES)
        yield running


def row(path: Any, size: Any = 1) -> Callable[[dict[str, Any]], None]:
    """An answer that lists one more file."""
    return lambda answer: answer["siblings"].append({"rfilename": path, "size": size})


LISTINGS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("parent", row("../evil"), "plain path"),
    ("nested-parent", row("unet/../../evil"), "plain path"),
    ("absolute", row("/tmp/evil"), "plain path"),
    ("backslash", row("unet\\..\\evil"), "plain path"),
    ("drive", row("C:evil"), "plain path"),
    ("empty-part", row("unet//config.json"), "plain path"),
    ("dot", row("./model_index.json"), "plain path"),
    ("empty", row(""), "plain path"),
    ("control", row("unet/\x1b[2J.json"), "plain path"),
    ("direction", row("unet/\u202ejson.gpj"), "plain path"),
    ("surrogate", row("unet/\ud800.json"), "plain path"),
    ("long", row("x" * 4_000), "plain path"),
    ("deep", row("a/" * 50 + "x"), "plain path"),
    ("no-text", row(7), "plain path"),
    ("twice", row("model_index.json"), "plain path"),
    ("enormous-weights", row(WEIGHTS, 10**18), "too large"),
    ("enormous-config", row("vae/config.json", 10**12), "at most"),
    ("negative", row(WEIGHTS, -1), "no size"),
    ("unknown-size", row(WEIGHTS, None), "no size"),
    ("fraction", row(WEIGHTS, 1.5), "no size"),
    (
        "many",
        lambda a: a["siblings"].extend({"rfilename": f"f{i}", "size": 1} for i in range(9_000)),
        "more than",
    ),
    ("no-commit", lambda a: a.pop("sha"), "contradicts"),
    ("short-commit", lambda a: a.update(sha="abc"), "contradicts"),
    ("path-commit", lambda a: a.update(sha="../" * 13 + "x"), "contradicts"),
    ("no-files", lambda a: a.pop("siblings"), "contradicts"),
    ("rows-without-name", lambda a: a.update(siblings=[{}]), "contradicts"),
    ("rows-of-numbers", lambda a: a.update(siblings=[1, 2]), "contradicts"),
    (
        "nothing-to-load",
        lambda a: a.update(siblings=[{"rfilename": "x.txt", "size": 1}]),
        "no model_index.json",
    ),
    (
        "two-files",
        lambda a: a.update(siblings=[{"rfilename": f"{n}.safetensors", "size": 1} for n in "ab"]),
        "2 further",
    ),
]


@pytest.mark.parametrize(("change", "word"), [c[1:] for c in LISTINGS], ids=[c[0] for c in LISTINGS])
def test_a_listing_that_lies(
    server: Hub, tmp_path: Path, change: Callable[[dict[str, Any]], Any], word: str
) -> None:
    def answer(honest: dict[str, Any]) -> dict[str, Any]:
        change(honest)
        return honest

    server.info = answer
    refused(server, tmp_path, word)
    assert not any("/resolve/" in line for line in server.asked)
    assert written(tmp_path) == set()


@pytest.mark.parametrize("body", [[], None, "text", 3, {"sha": [1]}])
def test_an_answer_of_another_kind(server: Hub, tmp_path: Path, body: Any) -> None:
    server.info = lambda _: body
    refused(server, tmp_path)
    assert written(tmp_path) == set()


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"../../../../evil"'}, {"ETag": '"/tmp/evil"'}, {"ETag": '""'}, {"ETag": '"a/b"'},
        {"ETag": f'"{"a" * 4000}"'},
        {"X-Repo-Commit": OTHER}, {"X-Repo-Commit": "../../evil"}, {"X-Linked-Size": "123456789"},
        {"X-Linked-Etag": "../evil"},
    ],
    ids=str,
)  # fmt: skip
def test_headers_that_lie(server: Hub, tmp_path: Path, headers: dict[str, str]) -> None:
    server.headers = lambda _, made: {**made, **headers}
    refused(server, tmp_path, "contradicts")
    assert not any(line.startswith("GET") and "/resolve/" in line for line in server.asked)
    assert written(tmp_path) == set()


def test_less_content_than_listed(server: Hub, tmp_path: Path) -> None:
    """The size changes between the listing and the file, with headers that agree with the file."""
    server.after_info = lambda: server.commits[server.refs["main"]].update({"unet/config.json": b"{}"})
    refused(server, tmp_path, "contradicts")


def test_another_commit_than_asked_for(server: Hub, tmp_path: Path) -> None:
    server.commits[OTHER] = FILES
    server.info = lambda answer: {**answer, "sha": server.refs["main"]}
    refused(server, tmp_path, "contradicts", source=f"org/name@{OTHER}")


def test_a_file_that_is_listed_and_not_there(server: Hub, tmp_path: Path) -> None:
    server.after_info = lambda: server.commits[server.refs["main"]].pop("unet/config.json")
    refused(server, tmp_path, "does not have it")


def test_weights_of_an_unsupported_pipeline_stay_there(server: Hub, tmp_path: Path) -> None:
    for index in (b'{"_class_name": "FluxPipeline"}', b'{"_class_name": ["x", "y"]}', b"[1]", b"not JSON"):
        server.push({"model_index.json": index, WEIGHTS: b"w"})
        server.asked.clear()
        located = hub.locate("org/name", cache=tmp_path, endpoint=server.endpoint)
        assert (located.path / "model_index.json").read_bytes() == index
        assert server.fetched() == {"model_index.json"}


def test_pickles_stay_there(server: Hub, tmp_path: Path) -> None:
    server.push(
        {**FILES, "unet/diffusion_pytorch_model.bin": b"p", "vae/diffusion_pytorch_model.safetensors": b"w"}
    )
    located = hub.locate("org/name", cache=tmp_path, endpoint=server.endpoint)
    assert [f.file for f in located.findings if f.severity == "error"] == ["unet/diffusion_pytorch_model.bin"]
    assert server.fetched() == FILES.keys()


def test_a_reference_in_the_cache_that_leads_elsewhere(server: Hub, tmp_path: Path) -> None:
    reference = tmp_path / "models--org--name/refs/main"
    reference.parent.mkdir(parents=True)
    for text in ("../../../..", "", "x" * 40, "\xff"):
        reference.write_text(text, encoding="latin-1")
        with pytest.raises(UnreadableModel, match="nor in the cache"):
            hub.locate("org/name", cache=tmp_path, local_files_only=True)


def refused(server: Hub, tmp_path: Path, word: str = "", source: str = "org/name") -> None:
    with pytest.raises(UnreadableModel) as caught:
        hub.locate(source, cache=tmp_path / "cache", endpoint=server.endpoint)
    assert word in caught.value.sentence
    assert caught.value.remedy.endswith(".")
    assert len(caught.value.sentence) < 300
    assert caught.value.sentence.isascii() and caught.value.sentence.isprintable()


def written(root: Path) -> set[str]:
    """Every file below ``root``, the cache's own tag and locks aside."""
    found = {os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names}
    return {f for f in found if ".locks" not in f and not f.endswith("CACHEDIR.TAG")}
