"""Transfers from a hub end: after a number of bytes and after a number of seconds, also when the other side
sends a byte now and then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from nightlatch.errors import UnreadableModel

T = TypeVar("T")
SHORTEST = 120.0
SLOWEST = 200_000
"""Seconds that every transfer may take, and bytes a second that larger ones have to reach."""
SLACK = 1 << 20
_PAUSE = 0.2
_REMEDY = "Check the network, HF_ENDPOINT and any proxy, then try again."


class TooSlow(UnreadableModel):
    """The hub did not finish in time."""

    def __init__(self) -> None:
        super().__init__("The hub did not send what was asked for in time.", _REMEDY)


class TooMuch(UnreadableModel):
    """The hub sends more than it announced, or packed, so that nobody knows how much."""

    def __init__(self) -> None:
        super().__init__("The hub sent more than was to be expected, so the transfer was stopped.", _REMEDY)


def within(work: Callable[[], T], size: int, folder: Path | None = None) -> T:
    """``work()``, whose answers from the hub may each be ``size`` bytes long and which may take as long as
    that needs.

    The work is left behind in its own thread when it does not end; a transfer in it stops at its next byte.

    Args:
        folder: where the transfer is written as '*.incomplete'; what grows there is limited, too.

    Raises:
        TooSlow, TooMuch: a limit was reached.
        Exception: what ``work`` raises.
    """
    limit, until = size + SLACK, time.monotonic() + SHORTEST + size / SLOWEST
    before = _growing(folder)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as e:
            failure.append(e)

    with _watched(limit, until):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_PAUSE)
            if thread.is_alive() and time.monotonic() > until:
                raise TooSlow
            if _growing(folder) - before > limit:
                raise TooMuch
    if failure:
        raise failure[0]
    return outcome[0]


def _growing(folder: Path | None) -> int:
    """Bytes of all unfinished files in ``folder``."""
    total = 0
    for path in folder.glob("*.incomplete") if folder is not None else ():
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


@contextmanager
def _watched(limit: int, until: float) -> Iterator[None]:
    """All answers that huggingface_hub's client gets are unpacked, at most ``limit`` bytes long, and end
    before ``until``.

    A token goes to the host that is asked first, which is the user's choice, and to no other that an answer
    names.
    """
    from huggingface_hub import get_session

    client: Any = get_session()
    hooks: Mapping[str, list[Any]] = client.event_hooks

    def bind(response: Any) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise TooMuch
        response.stream = _bounded(response.stream, limit, until)

    first: list[tuple[str, int | None]] = []

    def prepare(request: Any) -> None:
        request.headers["Accept-Encoding"] = "identity"
        first.append((request.url.host, request.url.port))
        if first[-1] != first[0]:
            request.headers.pop("Authorization", None)

    client.event_hooks = {"request": [*hooks["request"], prepare], "response": [*hooks["response"], bind]}
    try:
        yield
    finally:
        client.event_hooks = hooks


def _bounded(stream: Any, limit: int, until: float) -> Any:
    """``stream`` with limits; a stream of the client's own kind, whichever library that is."""
    kind = next(c for c in type(stream).__mro__ if c.__name__ == "SyncByteStream")

    class Bounded(kind):  # type: ignore[misc, valid-type]
        def __iter__(self) -> Iterator[bytes]:
            left = limit
            for piece in stream:
                left -= len(piece)
                if left < 0:
                    raise TooMuch
                if time.monotonic() > until:
                    raise TooSlow
                yield piece

        def close(self) -> None:
            stream.close()

    return Bounded()
