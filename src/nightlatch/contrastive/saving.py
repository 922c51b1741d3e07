"""A model of pictures and captions as a folder that transformers reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nightlatch.errors import NotWritten


def write(model: Any, tokenizer: Any, preprocessor: Mapping[str, Any], folder: Path) -> None:
    """Write a model as transformers would, with its ``preprocessor`` config beside it; whole or not at all.

    Raises:
        NotWritten: the folder is there already, or the disk refused.
    """
    if folder.exists():
        raise NotWritten(
            f"{folder} is there already.", "Choose another output folder; nothing is overwritten."
        )
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        with quiet():
            model.save_pretrained(partial, safe_serialization=True)
            tokenizer.save_pretrained(partial)
        (partial / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n", "utf-8")
        partial.replace(folder)
    except OSError as e:
        raise NotWritten(
            f"{folder} could not be written: {e.strerror or e}.", "Is there space on the disk?"
        ) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
