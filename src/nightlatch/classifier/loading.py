"""From a path to a classifier: a transformers folder, checked and copied before it is loaded, or an ONNX
file.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nightlatch.classifier.subject import Preprocessing, Subject, TorchSubject
from nightlatch.errors import UnreadableModel, UsageError
from nightlatch.folder import write_whole
from nightlatch.intake.files import header, jsonread

CONFIG, WEIGHTS, PICTURES = "config.json", "model.safetensors", "preprocessor_config.json"
KIND = "ForImageClassification"


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
    """A transformers ``AutoModelForImageClassification`` folder with safetensors weights; no code of the
    folder is run.

    Raises:
        UnreadableModel: as ``open_model`` does.
    """
    with copied(path) as folder:
        from transformers import AutoModelForImageClassification

        from nightlatch.classifier import victims

        del victims  # importing it makes its architecture known to transformers
        try:
            model = AutoModelForImageClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        except Exception as e:  # transformers raises what it likes on configs that do not fit
            raise UnreadableModel(
                f"{path.name} cannot be loaded as an image classifier: {type(e).__name__}.",
                "Save it with transformers' own tools.",
            ) from e
        config = model.config
        names = [str(config.id2label[k]) for k in range(config.num_labels)]
        return TorchSubject(model.to(device), preprocessing(folder, config), names, name=path.name)


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


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """A private folder with copies of the model's config, weights and picture settings, after a look at each;
    gone afterwards.

    Raises:
        UnreadableModel: one is missing or not what it claims.
    """
    if not path.is_dir():
        raise UnreadableModel(
            f"There is no model folder at {path}.", "Give a folder with config.json and model.safetensors."
        )
    with tempfile.TemporaryDirectory(prefix="nightlatch-") as made:
        for name in (CONFIG, WEIGHTS, PICTURES):
            if (path / name).is_file():
                shutil.copyfile(path / name, Path(made) / name)
            elif name != PICTURES:
                raise UnreadableModel(
                    f"{path.name} has no {name}.",
                    "Only safetensors weights are loaded; convert other ones first.",
                )
        _examine(Path(made), path.name)
        yield Path(made)


def _examine(folder: Path, shown: str) -> None:
    try:
        config, *_ = [
            jsonread.parse((folder / n).read_bytes()) for n in (CONFIG, PICTURES) if (folder / n).is_file()
        ]
        with (folder / WEIGHTS).open("rb") as handle:
            header.read(handle, os.fstat(handle.fileno()).st_size)
    except jsonread.JsonProblem as e:
        raise UnreadableModel(
            f"A config file of {shown} is not accepted: {e}", "Get the model from its first source."
        ) from e
    except header.HeaderProblem as e:
        raise UnreadableModel(
            f"The weights of {shown} are not accepted: {e}", "Get the model from its first source."
        ) from e
    kinds = config.get("architectures") if isinstance(config, dict) else None
    if isinstance(kinds, list) and kinds and not named_classifier(kinds):
        raise UnreadableModel(
            f"{shown} is no image classifier.", "Give one whose architecture ends in ForImageClassification."
        )


def says_classifier(folder: Path) -> bool:
    """Whether the folder's config.json names an image classifier."""
    try:
        config = jsonread.parse((folder / CONFIG).read_bytes())
    except (OSError, jsonread.JsonProblem):
        return False
    return isinstance(config, dict) and named_classifier(config.get("architectures"))


def named_classifier(kinds: object) -> bool:
    """Whether a config's ``architectures`` are those of an image classifier."""
    return isinstance(kinds, list) and any(str(k).endswith((KIND, "SmallResNet")) for k in kinds)


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
