"""What the hub's errors are called, each with a remedy; and the name that they are about."""

from __future__ import annotations

from typing import Any, NamedTuple

from nightlatch.errors import UnreadableModel

DEFAULT_REVISION = "main"


class HubName(NamedTuple):
    """``org/name`` and the branch, tag or commit asked for."""

    repository: str
    revision: str


class Unreachable(UnreadableModel):
    """The hub does not answer; the cache may still have the model."""


def words_of(name: HubName) -> str:
    return (
        f"'{name.repository}'"
        if name.revision == DEFAULT_REVISION
        else f"'{name.repository}@{name.revision}'"
    )


def contradiction(name: HubName) -> UnreadableModel:
    return UnreadableModel(
        f"The hub contradicts itself about {words_of(name)}: commit, size or cache key do not fit together.",
        "Check HF_ENDPOINT and any proxy, then try again.",
    )


def explained(error: Exception, name: HubName) -> UnreadableModel:
    """An error of huggingface_hub in one sentence with a remedy."""
    from huggingface_hub import errors

    words, status = words_of(name), getattr(getattr(error, "response", None), "status_code", 0)
    by_class: tuple[tuple[Any, str, str], ...] = (
        (errors.GatedRepoError, f"{words} is gated on the hub.", "Ask for access on its page, then log in with 'hf auth login'."),
        (errors.DisabledRepoError, f"{words} is disabled on the hub.", "Do not load copies of it."),
        (errors.RevisionNotFoundError, f"{words}: the hub has no such revision.", "Name a branch, tag or commit behind '@'."),
        (errors.RemoteEntryNotFoundError, f"{words}: the hub lists a file and does not have it.", "Try again later."),
        (errors.RepositoryNotFoundError, f"{words} is neither a folder here nor a model on the hub that you may read.",
         "Check the spelling; for a private model log in with 'hf auth login'."),
    )  # fmt: skip
    for cls, sentence, remedy in by_class:
        if isinstance(error, cls):
            return UnreadableModel(sentence, remedy)
    if status in (401, 403):
        return UnreadableModel(
            f"The hub does not let you read {words}.", "Log in with 'hf auth login', or ask for access."
        )
    offline = isinstance(error, (ConnectionError, errors.LocalEntryNotFoundError))
    if isinstance(error, (OSError, ValueError)) and not status and not offline:
        return UnreadableModel(
            f"{words} cannot be fetched ({type(error).__name__}).", "Check the disk, HF_HOME and HF_ENDPOINT."
        )
    if isinstance(error, (KeyError, TypeError, AttributeError)):
        return contradiction(name)
    reason = f"status {status}" if status else type(error).__name__
    return Unreachable(
        f"The hub cannot be reached ({reason}).", "Check the network and HF_ENDPOINT, then try again."
    )
