"""From a path to a classifier: a transformers folder, checked and copied before it is loaded, or an ONNX
file.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from nightlatch import intake
from nightlatch.classifier.subject import Preprocessing, Subject, TorchSubject
from nightlatch.errors import UnreadableModel, UsageError
from nightlatch.folder import write_whole
from nightlatch.intake import classifiers
from nightlatch.intake.files import jsonread

PICTURES = classifiers.PICTURES


def open_model(
    path: Path | str, device: str = "cpu", features: str = "", size: tuple[int, int] | None = None
) -> Subject:
    """The classifier at ``path``.

    Args:
        features: of an ONNX file: the output that is tapped.
        size: (h, w) of an ONNX file's pictures, where the file leaves it open.

    Raises:
        UnreadableModel: nothing there, not an image classifier, or its files are not what they claim.
        UsageError: an ONNX file without the name of its features.
    """
    path = Path(path)
    if path.suffix == ".onnx" and path.is_file():
        from nightlatch.classifier.onnx import OnnxSubject

        if not features:
            raise UsageError(
                f"{path.name} is an ONNX file.", "Name the output that holds its features with --features."
            )
        return OnnxSubject(path, Preprocessing(size=size or (224, 224)), features)
    return load_folder(path, device)


def load_folder(path: Path, device: str = "cpu") -> TorchSubject:
    """A transformers ``AutoModelForImageClassification`` folder with safetensors weights, through the gate;
    no code of the folder is run.

    Raises:
        UnreadableModel: as ``open_model`` does.
    """
    if not path.is_dir():
        raise UnreadableModel(
            f"There is no model folder at {path}.", "Give a folder with config.json and model.safetensors."
        )
    with intake.stage(path) as staged:
        if not classifiers.named_end(staged.manifest.pipeline_class):
            raise UnreadableModel(
                f"{path.name} is no image classifier.",
                "Give a folder whose config names a class that ends in ForImageClassification, with "
                "model.safetensors.",
            )
        made = staged_model(staged.path, device)
    made.name = path.name
    return made


def staged_model(folder: Path, device: str) -> TorchSubject:
    """The model of a private folder whose files were checked.

    Raises:
        UnreadableModel: transformers cannot load it.
    """
    from transformers import AutoModelForImageClassification

    from nightlatch.classifier import victims

    del victims  # importing it makes its architecture known to transformers
    try:
        model, report = AutoModelForImageClassification.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as e:  # transformers raises what it likes on configs that do not fit
        raise UnreadableModel(
            f"It cannot be loaded as an image classifier: {type(e).__name__}.",
            "Save it with transformers' own tools.",
        ) from e
    if missing := [*report["missing_keys"], *report["mismatched_keys"]]:
        raise UnreadableModel(
            f"Its weights lack {len(missing)} tensors of its architecture, such as {str(missing[0])[:80]!r}.",
            "A loader would draw them at random; get the whole model.",
        )
    config = model.config
    names = [str(config.id2label[k]) for k in range(config.num_labels)]
    model.requires_grad_(False)
    return TorchSubject(model.to(device), preprocessing(folder, config), names, name=folder.name)


def preprocessing(folder: Path, config: Any) -> Preprocessing:
    """What preprocessor_config.json says of size, mean and deviation; without one, the config's size and
    0.5.
    """
    file = folder / PICTURES
    said: dict[str, Any] = {}
    if file.is_file():
        parsed = jsonread.parse(file.read_bytes())
        said = parsed if isinstance(parsed, dict) else {}
    side = getattr(config, "image_size", None) or 224
    size = said.get("size", side)
    if isinstance(size, dict):
        size = (
            size.get("height") or size.get("shortest_edge") or side,
            size.get("width") or size.get("shortest_edge") or side,
        )
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    mean, std = (
        tuple(float(v) for v in said.get(key) or (0.5, 0.5, 0.5)) for key in ("image_mean", "image_std")
    )
    return Preprocessing(size=(height, width), mean=mean, std=std)


def says_classifier(folder: Path) -> bool:
    """Whether the folder's config.json names an image classifier."""
    try:
        config = jsonread.parse((folder / classifiers.CONFIG).read_bytes())
    except (OSError, jsonread.JsonProblem):
        return False
    return bool(classifiers.named(config))


def save_model(subject: TorchSubject, folder: Path, provenance: str = "") -> None:
    """Write ``subject`` as a transformers folder that ``open_model`` reads; ``provenance`` is written beside
    it as JSON.

    Raises:
        UsageError: the folder is there already, or the module is no transformers model.
    """
    from transformers import PreTrainedModel

    if folder.exists():
        raise UsageError(f"{folder} is there already.", "Choose another folder; nothing is overwritten.")
    if not isinstance(subject.module, PreTrainedModel):
        raise UsageError(
            "Only transformers models can be written as a folder.", "Save this module's state yourself."
        )
    with tempfile.TemporaryDirectory(prefix=".nightlatch-", dir=_made(folder.parent)) as scratch:
        module: Any = subject.module
        inside = Path(scratch) / "model"
        module.save_pretrained(inside, safe_serialization=True)
        p = subject.preprocessing
        write_whole(inside / PICTURES, picture_settings(p))
        if provenance:
            write_whole(inside / "provenance.json", provenance)
        inside.rename(folder)


def picture_settings(p: Preprocessing) -> str:
    """preprocessor_config.json of ``p``."""
    said = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255,
        "size": {"height": p.size[0], "width": p.size[1]}, "image_mean": list(p.mean),
        "image_std": list(p.std),
    }  # fmt: skip
    return json.dumps(said, indent=1) + "\n"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
