"""Functions for the guard process to survive; each is imported by name in a real child."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from typing import Any, NoReturn

from nightlatch.errors import UnreadableModel
from nightlatch.safetext import show


class Panic(BaseException):
    """As a Rust library raises it: not an Exception."""


def echo(*args: Any) -> Any:
    return list(args)


def environment() -> dict[str, str]:
    return dict(os.environ)


def import_path() -> list[str]:
    return sys.path


def limits() -> list[int]:
    import resource

    return [resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CORE)[0]]


def sleep_for_ever() -> NoReturn:
    while True:
        time.sleep(1)


def sleep_and_tell(path: str) -> NoReturn:
    """Write the own number down first."""
    with open(path, "w") as out:
        out.write(str(os.getpid()))
    sleep_for_ever()


def sleep_with_a_helper(path: str) -> None:
    """Start a grandchild, write its number down and wait for it."""
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(path, "w") as out:
        out.write(str(helper.pid))
    helper.wait()


def leave_a_helper() -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid


def abort() -> None:
    os.abort()


def segfault() -> None:
    ctypes.string_at(0)


def kill_itself() -> None:
    os.kill(os.getpid(), 9)


def leave() -> None:
    os._exit(7)


def leave_as_if_well() -> None:
    os._exit(0)


def exit_quietly() -> None:
    sys.exit(0)


def panic() -> None:
    raise Panic("internal error: entered unreachable code \x1b[2J")


def interrupt() -> None:
    raise KeyboardInterrupt


def odd_name() -> None:
    raise type("<b>\x1b[2J\u202e", (BaseException,), {})


def allocate(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


def recurse(depth: int = 0) -> int:
    return recurse(depth + 1)


def not_a_number() -> float:
    return float("nan")


def no_json() -> Any:
    return {1, 2}


def too_much() -> str:
    return "x" * (17 << 20)


def too_deep() -> Any:
    value: Any = 0
    for _ in range(200):
        value = [value]
    return value


def refuse() -> None:
    raise UnreadableModel("It is \x1b[2Jno model.", "Take another.")


def foreign_refusal() -> None:
    raise type("Refusal", (UnreadableModel,), {})("No.", "Yes.")


def chatter() -> str:
    """Much text on both streams, which nobody reads."""
    print("x" * 1_000_000)
    print("{}" * 500_000, file=sys.stderr)
    return show("done")


def forge_an_answer() -> Any:
    """Write into the answer's descriptor before the guard does."""
    os.write(int(sys.argv[1]), b'{"result": "forged')
    return "honest"


def connect(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=2).close()


def look_up(name: str) -> None:
    socket.getaddrinfo(name, 80)


def fill(megabytes: int) -> int:
    """Take as much memory and write to all of it."""
    return len(bytearray(b"x") * (megabytes << 20)) >> 20
