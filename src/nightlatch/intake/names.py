"""The names of a file's tensors, prepared for questions about what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nightlatch.intake.files.header import Tensor

WRAPPERS = (
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "unet.",
    "model.",
    "net.",
    "module.",
)
"""What programs put before a denoiser's names when they save it."""
_PACKED = (
    "absmax", "quant_map", "qweight", "qzeros", "wscales", "scale_weight", "weight_scale", "scaled_fp8",
    "comfy_quant", "SCB",
)  # fmt: skip
"""Parts of names that bitsandbytes, GPTQ, SVDQuant and ComfyUI's 8-bit files have."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a file, prepared for questions. ``heads``: their beginnings up to four parts, also behind
    a wrapper; ``parts``: all parts.
    """

    tensors: Mapping[str, Tensor]
    heads: frozenset[str] = field(init=False)
    parts: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        heads: set[str] = set()
        parts: set[str] = set()
        for name in self.tensors:
            split = name.split(".")
            parts.update(split)
            inner = next((name.removeprefix(w).split(".") for w in WRAPPERS if name.startswith(w)), split)
            for words in (split, inner):
                heads.update(".".join(words[:n]) for n in range(1, 5))
        object.__setattr__(self, "heads", frozenset(heads))
        object.__setattr__(self, "parts", frozenset(parts))

    def all(self, *heads: str) -> bool:
        """Whether the file has names that begin with each of ``heads``, part by part."""
        return self.heads.issuperset(heads)

    def any(self, *heads: str) -> bool:
        """Whether the file has a name that begins with one of ``heads``."""
        return not self.heads.isdisjoint(heads)

    def part(self, *words: str) -> bool:
        """Whether one of ``words`` is a whole part of some name."""
        return not self.parts.isdisjoint(words)

    def holds(self, *pieces: str) -> bool:
        """Whether one of ``pieces`` occurs in a part of some name."""
        return any(piece in part for part in self.parts for piece in pieces)

    def shape(self, ending: str) -> tuple[int, ...]:
        """The shape of the first tensor whose name is ``ending`` or ends with '.' and it; () without one."""
        return next((t.shape for n, t in self.tensors.items() if n == ending or n.endswith("." + ending)), ())

    def quantised(self) -> bool:
        """Whether the weights are packed or scaled as a package for quantised models does it."""
        return self.part(*_PACKED) or self.holds("bitsandbytes__")
