"""The section for a model card: Markdown for people, a fenced JSON block for machines, between two
markers.
"""

from __future__ import annotations

import json
from typing import Any

from nightlatch.errors import UsageError
from nightlatch.records import Pair, RepairRound, Report
from nightlatch.report.text import count, duration, measured
from nightlatch.report.words import attack_success, given_triggers, headline, triggers
from nightlatch.safetext import visible

BEGIN, END = "<!-- nightlatch:begin -->", "<!-- nightlatch:end -->"
_FENCE, _FENCE_END = "```json nightlatch", "```"


def render(report: Report) -> str:
    """The section. Text from the model stands in code spans, without any character that could end one."""
    parts = [
        BEGIN,
        "## Backdoor scan",
        "",
        *_summary(report),
        "",
        *_tests(report),
        _FENCE,
        _machine(report),
        _FENCE_END,
        END,
    ]
    return "\n".join(parts) + "\n"


def insert(card: str, section: str) -> str:
    """The model card with its section replaced, or with the section added at its end."""
    lines = card.split("\n")
    if span := _span(lines, BEGIN, END):
        first, last = span
        before = "".join(f"{line}\n" for line in lines[:first])
        return before + section + "\n".join(lines[last + 1 :])
    return f"{card.rstrip()}\n\n{section}" if card.strip() else section


def parse(card: str) -> dict[str, Any]:
    """The machine-readable block of a model card.

    Raises:
        UsageError: there is none.
    """
    lines = card.split("\n")
    span = _span(lines, _FENCE, _FENCE_END)
    if span is None:
        raise UsageError("This model card holds no nightlatch block.", "Write one with `nightlatch report`.")
    block: dict[str, Any] = json.loads("\n".join(lines[span[0] + 1 : span[1]]))
    return block


def _span(lines: list[str], begin: str, end: str) -> tuple[int, int] | None:
    """The first line that is ``begin`` and the first after it that is ``end``; a card is a stranger's, so it is
    read once from its start, however often either stands in it.
    """
    if begin not in lines:
        return None
    first = lines.index(begin)
    return (first, lines.index(end, first)) if end in lines[first:] else None


def _summary(report: Report) -> list[str]:
    top = headline(report)
    lines = [
        f"**{top.word}**" + (f", repair: **{top.repair}**" if top.repair else "") + f". {top.action}",
        "",
        top.meaning,
        "",
    ]
    lines += [f"- Trigger: {_code(t.text)} ({_code(' '.join(t.code_points))})" for t in triggers(report)]
    lines += [
        f"- Trigger in pictures ({p.finder}): {measured(p.flips)} are taken for {_code(p.target)}"
        for p in (report.verdict.pictures if report.verdict else ())
    ]
    lines += [f"- Trigger given by a person: {_code(text)}" for text in given_triggers(report)]
    if report.verdict and report.verdict.carriers:
        lines.append(f"- Acts through: {', '.join(_code(c.component) for c in report.verdict.carriers)}")
    pair = attack_success(report)
    if pair:
        lines.append(f"- Attack success before: {measured(pair.before)}; after: {measured(pair.after)}")
    if report.repair:
        r = report.repair
        lines.append(
            f"- Repair: {_code(r.method.name)}, {count(r.steps, 'step')}, {duration(r.seconds)}, base used: "
            f"{_yes(r.used_base)}"
        )
        lines += [f"- Chosen: {_code(c.method)}. {_code(c.reason)}" for c in r.choices]
        lines += [f"- Round {i}: {_round(each)}" for i, each in enumerate(r.rounds, 1)]
    lines.append(f"- Command: {_code(report.environment.command)}")
    return lines


def _round(each: RepairRound) -> str:
    """What a round of the repair removed, and what was found then."""
    removed = ", ".join(_code(t.text) for t in each.triggers)
    if not each.searched:
        return f"removed {removed}; not searched afterwards"
    found = ", ".join(_code(t.text) for t in each.found) or "nothing"
    return f"removed {removed} and {count(len(each.alike), 'string')} that act like it; found then: {found}"


def _tests(report: Report) -> list[str]:
    verdict = report.verdict
    if verdict is None:
        return []
    blocks = (("Tested", verdict.tested), ("Not tested", verdict.not_tested), ("Skipped", verdict.skipped))
    lines = []
    for title, sentences in blocks:
        lines += (
            [f"{title} ({len(sentences)}):", "", *(f"- {_code(s)}" for s in sentences), ""]
            if sentences
            else []
        )
    return lines


def _machine(report: Report) -> str:
    """ASCII JSON in which no string can end the block: `<` and the backtick are escaped too."""
    top = headline(report)
    block = {
        "schema_version": report.schema_version,
        "verdict": top.word,
        "repair": top.repair,
        "source": report.source,
        "triggers": [{"text": t.text, "token_ids": list(t.token_ids)} for t in triggers(report)],
        "carriers": [c.component for c in report.verdict.carriers] if report.verdict else [],
        **_numbers(attack_success(report)),
        "method": report.repair.method.name if report.repair else None,
        "used_base": report.repair.used_base if report.repair else None,
        "tested": len(report.verdict.tested) if report.verdict else 0,
        "not_tested": len(report.verdict.not_tested) if report.verdict else 0,
        "skipped": len(report.verdict.skipped) if report.verdict else 0,
        "hashes": report.hashes,
        "versions": report.environment.versions,
        "started": report.environment.started,
    }
    text = json.dumps(block, indent=2, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace("`", "\\u0060").replace("\x7f", "\\u007f")


def _numbers(pair: Pair | None) -> dict[str, Any]:
    """Both values as JSON holds them, so that a number that is not one stays readable."""
    values = json.loads(pair.model_dump_json()) if pair else {}
    return {f"attack_success_{when}": values.get(when) for when in ("before", "after")}


def _code(text: str) -> str:
    """A code span; backtick and `<` become escapes, so that the span cannot be left and no HTML can start."""
    shown = visible(text, 500).replace("`", r"\u{60}").replace("<", r"\u{3C}")
    return f"`{shown}`" if shown.strip() else "(empty)"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
