"""nightlatch finds backdoors in image-generation checkpoints, names the trigger, unlearns it, and proves the removal."""

from nightlatch.errors import NightlatchError

__version__ = "0.1.0"
__all__ = ["NightlatchError", "__version__"]
