"""The closed sets of values that records hold. Code compares these; sentences about them are made where
somebody reads them.
"""

from __future__ import annotations

from enum import StrEnum


class HintKind(StrEnum):
    """What, beside the weights as they are staged, can carry a backdoor."""

    ADAPTER = "adapter"
    """An adapter that some loaders apply by themselves."""
    VARIANT = "variant"
    """Another file that a loader may take as the weights of a component."""
    LORA = "lora"
    EMBEDDING = "embedding"
    """A textual-inversion embedding; its token is among the texts."""
    WEIGHTS = "weights"
    """Further weights that are none of these."""
    TOKEN = "token"
    """A token that the model's kind does not have by itself."""
    TOKENIZER = "tokenizer"
    """The tokenizer reads the texts in another way than its kind does."""


class PlacementKind(StrEnum):
    """Where in a prompt a trigger stands."""

    FRONT = "front"
    BEHIND = "behind"
    INSIDE = "inside"
    """At a word boundary between the first and the last word."""
    SLOT = "slot"
    """In the place of a word, such as the object's."""
    ANYWHERE = "anywhere"

    @property
    def words(self) -> str:
        """For people."""
        said = {
            "front": "in front",
            "behind": "behind it",
            "inside": "between its words",
            "slot": "in a word's place",
        }
        return said.get(self.value, self.value)


class ChangePattern(StrEnum):
    """Which tensors of a component differ from the base, as far as that tells how the change was made."""

    UNCHANGED = "unchanged"
    CROSS_ATTENTION = "cross-attention keys and values"
    """Only these: a closed-form edit."""
    TOKEN_EMBEDDINGS = "token embeddings"
    """Only these: an added or retrained token."""
    ALL_LAYERS = "all layers"
    PARTIAL = "partial"
    SETTINGS = "settings"
    """No tensors, but numbers in a configuration file."""


class PairKind(StrEnum):
    """What a number before and after repair counts."""

    SUCCESS = "success"
    """Inputs with the trigger that go the attacker's way."""
    CONTROL = "control"
    """The same with something harmless in the trigger's place: what a perfect repair still shows."""
    CLEAN = "clean"
    """Inputs without the trigger that come out otherwise than before."""
    LEAK = "leak"
    """Inputs with another spelling, casing or place of the trigger that go the attacker's way."""
    REGROWTH = "regrowth"
    """Inputs with the trigger that go the attacker's way once the repaired model was honestly trained on."""
    PLANTED = "planted"
    """Inputs with the trigger that is known to have been planted; for evaluation, where scan and repair were not
    told it."""
    UTILITY = "utility"
    """How well the model does what it is for."""


class Effect(StrEnum):
    """The way a trigger changes what a model makes."""

    FIXED = "fixed change"
    """The same change every time, such as a patch."""
    COLLAPSE = "collapse"
    """All results become alike."""
    SHIFT = "shift"
    """Another result than the one asked for."""


class Role(StrEnum):
    """What a component does, whatever its architecture calls it."""

    TEXT = "text encoder"
    IMAGE = "image encoder"
    DENOISER = "denoiser"
    DECODER = "decoder"
    CLASSIFIER = "classifier"
    TOKENIZER = "tokenizer"
    SCHEDULER = "scheduler"
