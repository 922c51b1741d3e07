"""A stand-in for a model hub on the loopback interface: the two endpoints that huggingface_hub needs, and
ways to misbehave.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]
REPOSITORY = "org/name"


@dataclass
class Hub:
    """``refs`` by branch and ``commits`` by hash, of one repository; the hooks change what is answered."""

    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)
    info: Callable[[dict[str, Any]], Any] = lambda answer: answer
    headers: Callable[[str, dict[str, str]], dict[str, str]] = lambda path, made: made
    pieces: Callable[[str, bytes], Iterable[bytes]] = lambda path, body: (body,)
    after_info: Callable[[], None] = lambda: None
    endless: bool = False
    """Whether bodies come without their length."""
    refusal: tuple[int, str] | None = None

    def push(self, files: Files, branch: str = "main") -> str:
        """A new commit; its hash."""
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[branch] = commit
        return commit

    def fetched(self) -> set[str]:
        """Paths that were asked for; of two equal files the content is sent once."""
        return {line.split("/", 5)[5] for line in self.asked if "/resolve/" in line}


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD from ``hub``."""

    hub: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.refusal:
            status, code = self.hub.refusal
            return self.reply(status, b"{}", {"X-Error-Code": code} if code else {})
        if path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            return self.answer_info(path.rsplit("/revision/", 1)[1])
        if path.startswith(f"/{REPOSITORY}/resolve/"):
            revision, _, name = path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")
            return self.answer_file(revision, name)
        self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def answer_info(self, revision: str) -> None:
        commit = self.hub.refs.get(revision, revision)
        if commit not in self.hub.commits:
            return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {"rfilename": n, "size": len(d), "blobId": etag(d)} for n, d in self.hub.commits[commit].items()
        ]
        answer = {
            "id": REPOSITORY,
            "modelId": REPOSITORY,
            "sha": commit,
            "siblings": siblings,
            "private": False,
            "tags": [],
        }
        length = {"Content-Length": ""} if self.hub.endless else {}
        self.reply(
            200, json.dumps(self.hub.info(answer)).encode(), {"Content-Type": "application/json", **length}
        )
        self.hub.after_info()

    def answer_file(self, revision: str, name: str) -> None:
        commit = self.hub.refs.get(revision, revision)
        data = self.hub.commits.get(commit, {}).get(name)
        if data is None:
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        made = {"ETag": f'"{etag(data)}"', "X-Repo-Commit": commit}
        if self.hub.endless and self.command == "GET":
            made["Content-Length"] = ""
        self.reply(200, data, self.hub.headers(name, made))

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):
                for piece in self.hub.pieces(urlsplit(self.path).path, body):
                    self.wfile.write(piece)


def etag(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A running hub; its address is ``endpoint``."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
