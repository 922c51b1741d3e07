"""One family of errors: a sentence that says what is wrong, and one that says what to do about it."""

from __future__ import annotations


class NightlatchError(Exception):
    """Something the user can act on.

    Args:
        sentence: what is wrong, one sentence.
        remedy: what to do, one sentence.
    """

    exit_code = 2

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(f"{sentence} {remedy}".strip())
        self.sentence, self.remedy = sentence, remedy


class UnreadableModel(NightlatchError):
    """The source is not there, not a model, or of a kind that is not supported."""


class MissingPart(NightlatchError):
    """An optional package or tool is needed and not installed."""


class UsageError(NightlatchError):
    """The arguments contradict each other or are out of range."""


class NotWritten(NightlatchError):
    """A result could not be written; nothing was left half."""


class AttackFailed(NightlatchError):
    """An attack for evaluation did not reach its stated floor, so its model is withheld."""


class NotScanned(NightlatchError):
    """The model could be read but not judged; never to be taken for "nothing found"."""


def out_of_memory(error: BaseException) -> NotScanned | None:
    """The error to show when memory ran out, of a device or of the machine; None for every other ``error``.
    Needs no torch.
    """
    if any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__):
        return NotScanned("The device ran out of memory.", "Use --device cpu.")
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return NotScanned("This machine ran out of memory.", "Free memory, or use a larger machine.")
    return None
