"""A classifier that is an ONNX file with a named feature output, run by onnxruntime."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from nightlatch.classifier.subject import Preprocessing, Seen, as_map, chunks
from nightlatch.errors import MissingPart, UnreadableModel, UsageError

INPUT = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxSubject:
    """Logits and features of an ONNX file. It has no gradients, so what needs the model's weights refuses it.

    Args:
        path: the file; its first output, or the one called "logits", are the logits.
        classes: names of the classes, as many as logits.
        features: name of the output that is tapped, a map (n, c, h, w) or a vector (n, d).

    Raises:
        MissingPart: onnxruntime is not installed.
        UnreadableModel: it is no ONNX file that onnxruntime can run.
        UsageError: no such output, or another number of classes.
    """

    def __init__(
        self, path: Path, preprocessing: Preprocessing, features: str, classes: tuple[str, ...] = ()
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingPart(
                "An ONNX file needs onnxruntime.", "Install it with: pip install 'nightlatch[onnx]'."
            ) from None
        raw = path.read_bytes()
        try:
            self.session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
        except Exception as e:  # onnxruntime raises what it likes on hostile bytes
            raise UnreadableModel(f"{path.name} is no ONNX model that can be run.", "Export it anew.") from e
        outputs = [o.name for o in self.session.get_outputs()]
        if features not in outputs:
            raise UsageError(
                f"{path.name} has no output {features!r}.", f"Its outputs: {', '.join(outputs)}."
            )
        self.name, self.preprocessing, self.size = path.name, preprocessing, preprocessing.size
        self._features, self._input = features, self.session.get_inputs()[0]
        self._logits = "logits" if "logits" in outputs else next(o for o in outputs if o != features)
        self.fingerprint = hashlib.sha256(raw).hexdigest()[:16]
        count = self._run(torch.zeros(1, 3, *self.size))[0].shape[1]
        self.classes = classes or tuple(str(k) for k in range(count))
        if len(self.classes) != count:
            raise UsageError(
                f"{path.name} gives {count} logits for {len(self.classes)} classes.", "Name as many classes."
            )

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def _run(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = (
            self.preprocessing(pictures.cpu())
            .detach()
            .numpy()
            .astype(INPUT.get(self._input.type, np.float32))
        )
        logits, features = self.session.run([self._logits, self._features], {self._input.name: x})
        return torch.from_numpy(logits).float(), torch.from_numpy(features).float()

    def logits(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, classes).

        Raises:
            UsageError: a graph is asked for.
        """
        if pictures.requires_grad:
            raise UsageError("An ONNX file has no gradients.", "Give the model as a folder with its weights.")
        return torch.cat([self._run(p)[0] for p in chunks(pictures)])

    def look(self, pictures: torch.Tensor) -> Seen:
        return Seen.joined([self._seen(p) for p in chunks(pictures)])

    def _seen(self, pictures: torch.Tensor) -> Seen:
        logits, features = self._run(pictures)
        mapped = as_map(features)
        return Seen(logits, mapped.mean((2, 3)), (mapped,))
