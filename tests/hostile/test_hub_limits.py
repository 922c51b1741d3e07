"""A hub that never ends: every transfer stops after a number of bytes and after a number of seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, serving

from nightlatch.errors import UnreadableModel
from nightlatch.intake.hub import source as hub
from nightlatch.intake.hub import transfer

FILES = {"model_index.json": b'{"_class_name": "StableDiffusionPipeline"}', "unet/config.json": b'{"x": 1}'}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        running.push(FILES)
        yield running


def refused(server: Hub, tmp_path: Path) -> str:
    """The sentence, with nothing finished in the cache."""
    with pytest.raises(UnreadableModel) as caught:
        hub.locate("org/name", cache=tmp_path, endpoint=server.endpoint)
    assert caught.value.remedy.endswith(".")
    assert not [p for p in tmp_path.rglob("*.json") if p.is_file()]
    return caught.value.sentence


def endless(body: bytes) -> Iterator[bytes]:
    yield body
    while True:
        yield b" " * (1 << 16)


def dripping(body: bytes) -> Iterator[bytes]:
    yield body[:1]
    while True:
        time.sleep(0.02)
        yield b" "


def only(part: str, misbehave: object) -> object:
    """Bodies of paths with ``part`` in them come from ``misbehave``."""

    def pieces(path: str, body: bytes) -> Iterable[bytes]:
        return misbehave(body) if part in path else (body,)  # type: ignore[operator,no-any-return]

    return pieces


@pytest.mark.parametrize("part", ["/api/", "/resolve/"])
def test_a_body_without_end(server: Hub, tmp_path: Path, part: str) -> None:
    server.endless, server.pieces = True, only(part, endless)  # type: ignore[assignment]
    assert "more than was to be expected" in refused(server, tmp_path)
    written = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert written < 4 << 20


@pytest.mark.parametrize("part", ["/api/", "/resolve/"])
def test_a_body_in_drops(server: Hub, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SHORTEST", 0.7)
    monkeypatch.setattr(transfer, "SLOWEST", 1 << 30)
    server.endless, server.pieces = True, only(part, dripping)  # type: ignore[assignment]
    assert "in time" in refused(server, tmp_path)


def test_headers_that_do_not_come(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SHORTEST", 0.7)

    def wait(_: str, made: dict[str, str]) -> dict[str, str]:
        time.sleep(3)
        return made

    server.headers = wait
    assert "in time" in refused(server, tmp_path)


def test_a_packed_answer(server: Hub, tmp_path: Path) -> None:
    """Nobody knows how long it is before it is unpacked."""
    server.headers = lambda _, made: {**made, "Content-Encoding": "gzip"}
    assert "more than was to be expected" in refused(server, tmp_path)


def test_an_honest_hub_without_lengths(server: Hub, tmp_path: Path) -> None:
    server.endless = True
    located = hub.locate("org/name", cache=tmp_path, endpoint=server.endpoint)
    assert {p.name: p.read_bytes() for p in located.path.rglob("*.json")} == {
        k.split("/")[-1]: v for k, v in FILES.items()
    }


def test_what_the_work_raises_or_returns_comes_through() -> None:
    assert transfer.within(lambda: 7, 0) == 7
    with pytest.raises(ZeroDivisionError):
        transfer.within(lambda: 1 // 0, 0)


def test_a_file_that_grows_past_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the bytes do not come through the client that is watched."""
    monkeypatch.setattr(transfer, "SLACK", 1_000)
    written: list[int] = []

    def grow() -> None:
        with (tmp_path / "x.incomplete").open("wb") as f:
            for _ in range(250):
                f.write(bytes(500))
                f.flush()
                time.sleep(0.02)
                written.append(500)

    with pytest.raises(transfer.TooMuch):
        transfer.within(grow, 100, tmp_path)
    assert len(written) < 250, "it was stopped on the way, not at its end"


def test_a_token_goes_to_the_host_that_was_asked_only(server: Hub) -> None:
    """An answer may name another host, for a refresh for example; the client sends its headers there, without
    the token.
    """
    from huggingface_hub import get_session

    seen: list[str | None] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    token = {"Authorization": "Bearer secret"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        asked = f"http://127.0.0.1:{other.server_port}/refresh"
        transfer.within(lambda: get_session().get(asked, headers=token), 100)
        transfer.within(
            lambda: (get_session().get(server.endpoint), get_session().get(asked, headers=token)), 1 << 20
        )
        other.shutdown()
    assert seen == ["Bearer secret", None]
