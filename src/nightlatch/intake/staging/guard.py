"""The guard process: one function in an offline child with a time and a memory limit, and a plain JSON
answer.

Whatever becomes of the child (a panic, a segmentation fault, no end, no memory), the parent gets a sentence.
Nothing is unpickled: the call goes out as JSON in one unnamed file, the answer comes back as JSON in another
and is read with bounds. The network is closed to Python code by an audit hook, and to the libraries by their
own offline switches.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

from nightlatch import errors
from nightlatch.errors import NightlatchError, NotScanned
from nightlatch.intake.files import jsonread
from nightlatch.intake.files.jsonread import Json
from nightlatch.intake.staging import memory
from nightlatch.safetext import show

MAX_ANSWER = 16 << 20
SHARE = 0.75
"""Of the memory that is free a child may fill this much, so that the system need not kill anybody: what is left is for
the parent's own part and for other programs.
"""
MAX_SENTENCE = 500
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DIFFUSERS_DISABLE_REMOTE_CODE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_DROPPED = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PYTHONSTARTUP", "PYTHONINSPECT", "HF_ENDPOINT"})
_START = "from nightlatch.intake.staging.guard import serve; serve()"
_NETWORK = frozenset(
    {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
)
_PR_SET_PDEATHSIG = 1


def guarded(
    function: Callable[..., Any],
    *args: Json,
    seconds: float,
    megabytes: int,
    device: str = "cpu",
    what: str = "The guarded step",
) -> Json:
    """``function(*args)``, computed in a child process.

    Ctrl-C stops the child as well. An error of nightlatch's own family is raised again here with its
    sentence.

    Args:
        function: importable by its module and name; takes and returns what JSON can hold.
        seconds: wall time after which the child is killed.
        megabytes: address space of the child, and at most what it may fill, which is ``SHARE`` of what is free
            where that is less; not limited when ``device`` is a CUDA device, which reserves far more.
        device: the torch device that the function uses.
        what: the subject of the sentence if it fails.

    Raises:
        NotScanned: the child crashed, was killed, took too long or too much memory, or gave no sound answer.
        ValueError: ``function`` cannot be found by name, or an argument is not JSON.
    """
    room = memory.free()
    data = min(megabytes, int(SHARE * room) >> 20) if room is not None else megabytes
    call = {
        "module": function.__module__,
        "name": function.__qualname__,
        "args": list(args),
        "bytes": 0 if device.startswith("cuda") else megabytes << 20,
        "data": 0 if device.startswith("cuda") else data << 20,
        "parent": os.getpid(),
    }
    if "<" in function.__qualname__ or function.__module__ == "__main__":
        raise ValueError(f"{function.__qualname__} cannot be imported by a child process.")
    request = json.dumps(call, allow_nan=False).encode()
    try:
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answer:
            asked.write(request)
            asked.seek(0)
            code = _run(asked, answer, seconds, what)
            answer.seek(0)
            said = answer.read(MAX_ANSWER + 1)
    except OSError as e:
        raise NotScanned(
            f"{what} needs a child process, which does not start.", "Free memory and room in TMPDIR."
        ) from e
    return _unwrap(said, code, data, what)


def environment() -> dict[str, str]:
    """The child's: offline, without proxies and tokens, with the parent's import path."""
    kept = {k: v for k, v in os.environ.items() if k not in _DROPPED and not k.lower().endswith("_proxy")}
    path = os.pathsep.join(p for p in sys.path if os.path.isabs(p))
    return {**kept, **OFFLINE, "PYTHONPATH": path}


def _run(asked: BinaryIO, answer: BinaryIO, seconds: float, what: str) -> int:
    """The child's exit code; its whole process group is gone afterwards."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _START, str(answer.fileno())],
        stdin=asked,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(answer.fileno(),),
        env=environment(),
        start_new_session=True,
    )
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        raise NotScanned(
            f"{what} took longer than {seconds:g} seconds and was stopped.",
            "Scan it on a larger or less busy machine.",
        ) from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _unwrap(data: bytes, code: int, megabytes: int, what: str) -> Json:
    """The result, or the error that the child's answer and exit code stand for."""
    if code != 0:
        raise _crashed(code, what)
    try:
        answer = jsonread.parse(data, max_bytes=MAX_ANSWER)
    except jsonread.JsonProblem:
        answer = None
    match answer:
        case {"result": result}:
            return result
        case {"memory": _}:
            raise NotScanned(
                f"{what} needs more memory than {megabytes:,} MB.",
                "Free memory, or scan it on a larger machine.",
            )
        case {"error": str(name), "sentence": str(sentence), "remedy": str(remedy)}:
            raise _known(name)(show(sentence, MAX_SENTENCE), show(remedy, MAX_SENTENCE))
        case {"failed": str(name)}:
            raise NotScanned(
                f"{what} failed with {show(name, 80)}.", "Run 'nightlatch check' on the model for the reason."
            )
    raise NotScanned(
        f"{what} gave no sound answer.", "Do not load this model; report it if you trust its maker."
    )


def _known(name: str) -> type[NightlatchError]:
    """The error class of that name; NotScanned for every other."""
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, NightlatchError) else NotScanned


def _crashed(code: int, what: str) -> NotScanned:
    if code == -signal.SIGKILL:
        return NotScanned(
            f"{what} was killed, as the system does when memory runs out.",
            "Free memory, or use a larger machine.",
        )
    if code < 0:
        with suppress(ValueError):
            return NotScanned(
                f"{what} crashed ({signal.Signals(-code).name}).", "Do not load this model anywhere."
            )
    return NotScanned(
        f"{what} ended without an answer (exit code {code}).", "Do not load this model anywhere."
    )


def serve() -> None:
    """The child's side: read the call from standard input, answer on the descriptor named in the
    arguments.
    """
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    call = json.load(sys.stdin)
    _confine(call["bytes"], call["data"], call["parent"])
    answer = json.dumps(_answer(call["module"], call["name"], call["args"])).encode()
    with os.fdopen(descriptor, "wb") as out:
        out.write(answer)
    os._exit(0)


def _answer(module: str, name: str, args: list[Json]) -> dict[str, Json]:
    """Call the function; everything that it raises becomes a table, also what is not an Exception (a Rust
    panic).
    """
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        result = function(*args)
        json.dumps(result, allow_nan=False)
        return {"result": result}
    except NightlatchError as e:
        return {"error": type(e).__name__, "sentence": e.sentence, "remedy": e.remedy}
    except MemoryError:
        return {"memory": True}
    except BaseException as e:
        if "DefaultCPUAllocator" in str(e):
            return {"memory": True}
        return {"failed": type(e).__name__}


def _confine(space: int, data: int, parent: int) -> None:
    """No core file, bounded address space and memory, no network, and no life without the parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, limit in ((resource.RLIMIT_AS, space), (resource.RLIMIT_DATA, data)):
        if limit:
            hard = resource.getrlimit(kind)[1]
            allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(kind, (allowed, allowed))
    sys.addaudithook(_no_network)
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _no_network(event: str, args: tuple[Any, ...]) -> None:
    """Refuse connections and name look-ups; sockets of this machine's own file system may stay."""
    import socket

    if event in _NETWORK and not (args and getattr(args[0], "family", None) == socket.AF_UNIX):
        raise PermissionError("the guard process is offline")
