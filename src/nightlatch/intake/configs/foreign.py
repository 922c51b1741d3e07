"""The parts of a pipeline that scan cannot load: the rules for weights, JSON, shard indices and code apply to
them as to any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightlatch.intake.case import Case
from nightlatch.intake.configs import components
from nightlatch.intake.configs.classes import STANDARD_TOKENIZERS
from nightlatch.intake.files import kinds, weights
from nightlatch.intake.tokenizer import mapping
from nightlatch.safetext import show

LIBRARIES = frozenset({"diffusers", "transformers"})
OTHER_LIBRARIES = frozenset({"stable_diffusion", "optimum", "onnxruntime", "openvino", "wan", "ltx"})
"""Names that honest indexes give to modules inside diffusers' pipelines or to other programs' runtimes."""
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_WITHOUT_TORCH = ("Onnx", "ORT", "Flax", "OV")
_SMALL = (
    "config.json",
    "scheduler_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "generation_config.json",
)


def check(case: Case, index: str, value: Mapping[str, Any]) -> None:
    """Findings for every component that the index ``value`` names, wherever it comes from.

    An exporter keeps the classes of the components that it exported, so its pipeline's class tells their form.
    """
    pipeline = value.get("_class_name")
    exported = isinstance(pipeline, str) and pipeline.startswith(_WITHOUT_TORCH)
    for name, pair in value.items():
        if (
            name.startswith("_")
            or not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(p, str) for p in pair)
        ):
            continue
        library, cls = pair
        shown = show(name, 60)
        if f"{name}/{library}.py" in case.inventory.entries:
            case.findings.add(
                "custom-code",
                index,
                f"The component '{shown}' asks for its own code, '{show(library, 60)}.py'.",
            )
        elif (
            library not in LIBRARIES
            and library not in OTHER_LIBRARIES
            and not library.startswith("diffusers.pipelines.")
        ):
            case.findings.add(
                "unknown-library",
                index,
                f"The component '{shown}' comes from the module '{show(library, 60)}'.",
            )
        elif "/" not in name and name not in ("", ".", ".."):
            _component(case, name, cls, exported or cls.startswith(_WITHOUT_TORCH))


def _component(case: Case, folder: str, cls: str, exported: bool) -> None:
    """The files of one component, read and not planned for loading."""
    entries = [e for e in case.inventory.files(folder) if not kinds.is_apple_double(e.name, e.kind)]
    names = {e.name for e in entries}
    for config in _SMALL:
        if config in names:
            value = case.json(f"{folder}/{config}", infinite=True)
            if value is not None:
                components.check_common(case, f"{folder}/{config}", value, quantised=False)
    if cls in STANDARD_TOKENIZERS:
        mapping.check(case, folder, cls, None, None)
    if exported:
        others = [e for e in entries if kinds.is_other_weights(e.name, e.kind)]
        case.handled.update(e.path for e in others)
        names -= {e.name for e in others}
    stem = next((s for s in STEMS if any(n.startswith(f"{s}.") or n.startswith(f"{s}-") for n in names)), "")
    if stem:
        weights.find(case, folder, stem)
