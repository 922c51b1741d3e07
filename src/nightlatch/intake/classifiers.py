"""A folder with one image classifier as transformers saves it: its config, weights and picture
normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightlatch.intake import one_model
from nightlatch.intake.case import Case
from nightlatch.intake.configs import components
from nightlatch.intake.files.header import Tensor
from nightlatch.safetext import show

CONFIG, WEIGHTS, PICTURES = "config.json", "model.safetensors", "preprocessor_config.json"
KINDS = ("ForImageClassification", "SmallResNet")
"""Ends of the class names; the second is the small network of this package's own experiments."""
MOST_CLASSES = 200_000
"""Ten times the classes of ImageNet-21k."""
MOST = 1 << 20
"""Of any whole number in the config; the largest of released classifiers are some ten thousand."""
HEADS = ("classifier.weight", "classifier.1.weight", "classifier.out_proj.weight", "head.weight")
"""Names under which the last layer of the usual architectures lies; its rows are the classes."""


def kind(case: Case) -> str:
    """The class of the model in the folder, '' where its config names no image classifier; no finding."""
    return named(one_model.peek(case, CONFIG, WEIGHTS))


def named(config: object) -> str:
    """The one image classifier that a config names, '' where it names none, or several classes."""
    classes = config.get("architectures") if isinstance(config, dict) else None
    if not isinstance(classes, list) or len(classes) != 1:
        return ""
    return classes[0] if isinstance(classes[0], str) and named_end(classes[0]) else ""


def named_end(cls: str) -> bool:
    """Whether a class is that of an image classifier."""
    return cls.endswith(KINDS)


def check(case: Case, cls: str) -> None:
    """Findings for the folder of a model of class ``cls``; what loads is planned to be staged as it is."""
    one_model.check(case, cls, CONFIG, WEIGHTS, bounded=_bounded, fits=_fits)
    if PICTURES in case.inventory.entries:
        value = case.json(PICTURES)
        if value is not None and components.check_common(case, PICTURES, value):
            case.stage(PICTURES, PICTURES)


def _bounded(case: Case, config: Mapping[str, Any]) -> bool:
    """Whether every number is one that a real classifier could have, and the classes are named one each."""
    names = config.get("id2label")
    if names is not None and (not isinstance(names, dict) or not 0 < len(names) <= MOST_CLASSES):
        case.findings.add("config-value", CONFIG, "'id2label' is no table of class names.")
        return False
    stack = [value for key, value in config.items() if key not in ("id2label", "label2id")]
    while stack:
        value = stack.pop()
        if isinstance(value, dict | list):
            stack.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > MOST:
            case.findings.add("config-bound", CONFIG, f"{show(str(value), 40)} is larger than any real one.")
            return False
    return True


def _fits(case: Case, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether the last layer, where it has one of the usual names, has as many rows as there are classes."""
    names = config.get("id2label")
    head = next((name for name in HEADS if name in tensors), "")
    if head and isinstance(names, dict) and tensors[head].shape[0] != len(names):
        sentence = f"'{head}' has {tensors[head].shape[0]} rows, and the config names {len(names)} classes."
        case.findings.add("shape-mismatch", WEIGHTS, sentence)
        return False
    return True
