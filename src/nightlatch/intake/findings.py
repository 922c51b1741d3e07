"""What rules saw in one source, collected: errors first, and more of one rule counted instead of listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from nightlatch.intake.rules import LOADED, RULES, UNTOLD
from nightlatch.records import Finding, Hint, Severity
from nightlatch.safetext import display_path
from nightlatch.terms import HintKind

MAX_PER_RULE = 40


class Findings:
    """Collects findings in order; more than 40 of one rule are counted instead of listed."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._count: Counter[str] = Counter()
        self._hinted: dict[str, HintKind] = {}
        self._seen: set[tuple[str, str, str]] = set()

    def add(
        self, rule: str, file: str, sentence: str = "", remedy: str = "", *, hint: Hint | None = None
    ) -> None:
        """Record ``rule`` for ``file``; without a sentence or a remedy the rule's own is used. ``hint``: what
        a scan should try because of it.
        """
        key = (rule, file, sentence)
        if key in self._seen:
            return
        self._count[rule] += 1
        if hint is not None:
            self._hinted.setdefault(rule, hint.kind)
        if self._count[rule] <= MAX_PER_RULE:
            self._seen.add(key)
            self._found.append(_finding(rule, display_path(file), sentence, remedy, hint))

    def count(self, rule: str) -> int:
        """How often ``rule`` was found so far."""
        return self._count[rule]

    def has(self, severity: Severity) -> bool:
        """Whether any finding so far has this severity."""
        return any(f.severity == severity for f in self._found)

    def untold(self) -> bool:
        """Whether the source is of a kind that is not loaded, and nothing is wrong with that."""
        return any(self._count[rule] for rule in UNTOLD - LOADED)

    def result(self) -> tuple[Finding, ...]:
        """Errors first, then warnings, then notes; a last line per rule counts what was left out."""
        more = [
            _finding(
                rule,
                "",
                f"{n - MAX_PER_RULE:,} further findings of this rule are not listed.",
                hint=self._more(rule),
            )
            for rule, n in self._count.items()
            if n > MAX_PER_RULE
        ]
        return in_order([*self._found, *more])

    def _more(self, rule: str) -> Hint | None:
        """That there is more to try than is listed."""
        kind = self._hinted.get(rule)
        return (
            None
            if kind is None
            else Hint(kind=kind, untried="More were found than are listed; read them from the files.")
        )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then notes; otherwise as they come."""
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda f: order[f.severity]))


def _finding(rule: str, file: str, sentence: str, remedy: str = "", hint: Hint | None = None) -> Finding:
    severity, description, usual = RULES[rule]
    said, done = sentence or description, remedy or usual
    untold = rule in UNTOLD
    return Finding(
        rule=rule, severity=severity, file=file, sentence=said, remedy=done, payload=hint, unsupported=untold
    )
