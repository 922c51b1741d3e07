"""Where version 0.1.0 had what loads a model; kept for scripts that import it from here."""

from nightlatch.text2image.model.loaders import load, load_staged
from nightlatch.text2image.model.lora import with_lora

__all__ = ["load", "load_staged", "with_lora"]
