"""Typed access to an untrusted config: every value is checked where it is read, and a defect names its
rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightlatch.safetext import show

MAX_BLOCKS = 16
MAX_WHOLE = 10**18


class ConfigProblem(Exception):
    """A config value that cannot be used: a rule id and a sentence."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(sentence)
        self.rule, self.sentence = rule, sentence


class Fields:
    """A config. Getters raise ConfigProblem 'config-value' for a wrong type or sign; counts are whole and
    positive.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def whole(self, key: str, default: int, low: int = 1, high: int | None = None) -> int:
        """A whole number of at least ``low``; more than ``high`` is 'config-bound'."""
        value = self.values.get(key)
        return default if value is None else self._whole(key, value, low, high)

    def optional_whole(self, key: str) -> int | None:
        """A whole number, or None when absent or null."""
        return None if self.is_null(key) else self.whole(key, 0)

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A finite number within ``low`` and ``high``."""
        value = self.values.get(key)
        if value is None:
            return default
        if type(value) not in (int, float) or not low <= value <= high:
            raise ConfigProblem("config-value", f"'{key}' is not a number from {low:g} to {high:g}.")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key)
        if value is not None and type(value) is not bool:
            raise ConfigProblem("config-value", f"'{key}' is neither true nor false.")
        return default if value is None else value

    def choice(
        self, key: str, known: Sequence[str | float | bool | None], rule: str = "config-value"
    ) -> None:
        """One of ``known``; absent is fine."""
        if key in self.values and self.values[key] not in known:
            raise ConfigProblem(
                rule, f"'{key}' has the value '{show(str(self.values[key]), 40)}', which is not supported."
            )

    def is_null(self, key: str) -> bool:
        """Whether the key is absent or null."""
        return self.values.get(key) is None

    def whole_list(self, key: str, default: list[int]) -> list[int]:
        """A list of 1 to 16 positive whole numbers."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_BLOCKS:
            raise ConfigProblem("config-value", f"'{key}' is not a list of 1 to {MAX_BLOCKS} whole numbers.")
        return [self._whole(key, v, 1, None) for v in value]

    def per_block(self, key: str, default: int, blocks: int) -> list[int]:
        """One positive whole number per block; a single number stands for all."""
        value = self.values.get(key)
        if not isinstance(value, list):
            return [self.whole(key, default)] * blocks
        if len(value) != blocks:
            raise ConfigProblem("config-value", f"'{key}' has {len(value)} values for {blocks} blocks.")
        return [self._whole(key, v, 1, None) for v in value]

    def names(self, key: str, default: Sequence[str], blocks: int) -> list[str]:
        """One text per block."""
        value = self.values.get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value) or len(value) != blocks:
            raise ConfigProblem(
                "config-value", f"'{key}' does not name one type for each of {blocks} blocks."
            )
        return value

    def _whole(self, key: str, value: Any, low: int, high: int | None) -> int:
        if type(value) is not int or value < low:
            raise ConfigProblem("config-value", f"'{key}' is not a whole number of at least {low}.")
        limit = MAX_WHOLE if high is None else high
        if value > limit:
            raise ConfigProblem(
                "config-bound", f"'{key}' is {show(str(value), 30)}; at most {limit:,} is accepted."
            )
        return value
