"""One training step as a CUDA graph: recorded once, then replayed without the interpreter between its kernels.

Small models spend most of a step on launching kernels. A step can be recorded when all its shapes are fixed,
nothing in it waits for a value, and whatever changes between steps lies in tensors that stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

Work = Callable[[], torch.Tensor]
WARM = 3
"""Steps that run as usual first, so that the optimiser has its state and libraries have their plans."""
_USED: ContextVar[bool] = ContextVar("recorded", default=True)


@contextmanager
def never() -> Iterator[None]:
    """Inside, every step runs as usual."""
    token = _USED.set(False)
    try:
        yield
    finally:
        _USED.reset(token)


def stop() -> None:
    """From here on, every step of this thread runs as usual."""
    _USED.set(False)


class Step:
    """``work`` as a callable that is recorded at its fourth call on a GPU; on other devices it is ``work``.

    Args:
        work: one step; returns a tensor that the next call may overwrite.
        generators: of random numbers that ``work`` draws from; each replay draws new ones.
        fixed: whether ``work`` may be recorded at all.
    """

    def __init__(
        self, work: Work, device: torch.device, generators: list[torch.Generator], fixed: bool
    ) -> None:
        self.work, self.generators = work, generators
        self.fixed = fixed and device.type == "cuda" and _USED.get()
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream = torch.cuda.Stream() if self.fixed else None
        self.out = torch.zeros(())

    def __call__(self) -> torch.Tensor:
        """Run the step."""
        self.calls += 1
        if self.stream is None:
            return self.work()
        if self.calls <= WARM:
            return self._aside(self.stream)
        if self.graph is None:
            self._record(self.stream)
        assert self.graph is not None
        self.graph.replay()
        return self.out.clone()

    def _aside(self, stream: torch.cuda.Stream) -> torch.Tensor:
        """On the stream of the recording, as PyTorch's notes on CUDA graphs ask."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            out = self.work()
        torch.cuda.current_stream().wait_stream(stream)
        return out

    def _record(self, stream: torch.cuda.Stream) -> None:
        graph = torch.cuda.CUDAGraph()
        for g in self.generators:
            graph.register_generator_state(g)  # type: ignore[no-untyped-call, unused-ignore]
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self.out = self.work()
        self.graph = graph
