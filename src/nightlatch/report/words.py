"""What a result means and what to do about it, in plain words. The verdict itself is never reworded, and
never says "safe".
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from nightlatch.intake.staging.departs import MAY_DIFFER
from nightlatch.records import Leak, Pair, Rate, Report, Scorecard, Trigger, acted
from nightlatch.report.text import count, interval, rate
from nightlatch.terms import PairKind

Status = Literal["found", "suspicious", "nothing", "unknown"]

_STATUS: dict[str, Status] = {
    "backdoor found": "found",
    "suspicious": "suspicious",
    "nothing found by these tests": "nothing",
    "not scanned": "unknown",
}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The top of every view."""

    word: str
    """The verdict exactly as the record has it."""
    status: Status
    repair: str
    """The scorecard's verdict, or what stands in its place; '' when nothing was repaired."""
    repair_status: Literal["good", "bad", "unknown", ""]
    action: str
    meaning: str


def headline(report: Report) -> Headline:
    """Verdict, action and meaning of a report."""
    word = report.verdict.word if report.verdict else "not scanned"
    status = _STATUS[word]
    if report.manifest and report.manifest.refused:
        return Headline(
            word=word,
            status=status,
            repair="",
            repair_status="",
            action="Refuse it.",
            meaning=_refused(report),
        )
    if report.repair or report.scorecard:
        return _after_repair(report, word, status)
    action, meaning = _before_repair(report, status)
    return Headline(word=word, status=status, repair="", repair_status="", action=action, meaning=meaning)


def attack_success(report: Report) -> Pair | None:
    """The attack success before and after repair, if verify measured it; of several triggers that of which
    most is left.
    """
    pairs = report.scorecard.pairs if report.scorecard else ()
    named = [p for p in pairs if p.kind is PairKind.SUCCESS]
    return max(
        named, key=lambda p: p.after.rate if isinstance(p.after, Rate) else p.after or 0.0, default=None
    )


def next_command(report: Report) -> str:
    """What to type next; '' where nothing follows, or where the report does not say what it is about."""
    run, source, top = report.environment.run, report.source, headline(report)
    if not run or (report.manifest and report.manifest.refused):
        return ""
    made = report.repair.output if report.repair else ""
    if not made and top.status == "found" and report.repair is None:
        words = ["nightlatch", "clean", source, "-o", f"{source.rstrip('/')}-repaired", "--run", run]
    elif made and top.repair_status == "unknown":
        words = ["nightlatch", "verify", made, "--against", source, "--run", run]
    elif made and top.repair_status == "good" and report.verdict:
        words = ["nightlatch", "scan", made, "--base", report.verdict.base or "BASE"]
    else:
        return ""
    return shlex.join(words)


def triggers(report: Report) -> tuple[Trigger, ...]:
    """The triggers that scan confirmed, strongest first."""
    return tuple(sorted(report.verdict.triggers, key=lambda t: -t.score)) if report.verdict else ()


def given_triggers(report: Report) -> tuple[str, ...]:
    """Triggers that the repair worked on and that scan did not find, so a person must have given them."""
    found = {t.text for t in triggers(report)}
    return tuple(t.text for t in (report.repair.triggers if report.repair else ()) if t.text not in found)


def pair_title(card: Scorecard, pair: Pair) -> str:
    """The name of a row of ``card``, with its trigger where there are several."""
    return f"{pair.name}, {pair.trigger.text}" if pair.trigger and _several(card) else pair.name


def leak_title(card: Scorecard, leak: Leak) -> str:
    """The kind of variants that were counted, with their trigger where there are several."""
    return f"{leak.variants}, {leak.trigger.text}" if _several(card) else leak.variants


def _several(card: Scorecard) -> bool:
    return len({p.trigger for p in card.pairs if p.trigger}) > 1


def _refused(report: Report) -> str:
    broken = sum(f.severity == "error" for f in report.manifest.findings) if report.manifest else 0
    return (
        f"The files break {count(broken, 'rule')} that every model has to keep before it may be loaded, "
        "so loading stopped there. The reasons are listed under “Files and static findings”. "
        "This says nothing about whether a backdoor is inside."
    )


def _before_repair(report: Report, status: Status) -> tuple[str, str]:
    if status != "unknown" and report.manifest is None:
        return "Treat it as unknown: this folder does not say which files the verdict is about.", (
            "A verdict counts only for the files whose hashes stand beside it, and none do. Scan the model "
            "again."
        )
    if status == "found":
        return "Repair it or refuse it. Do not load it as it is.", (
            f"When {_the_trigger(report)} is in the prompt, this model draws something else than it was "
            "asked for. "
            "The scan was told neither trigger nor target; it recovered the trigger by itself and confirmed "
            "it on prompts and "
            "seeds that the search had not used. “nightlatch clean” removes such a backdoor, “nightlatch "
            "verify” proves it."
        )
    if status == "suspicious" and report.verdict and report.verdict.pictures:
        first = report.verdict.pictures[0]
        return "Do not load it before a person has looked at the trigger's picture.", (
            f"One small thing, put into pictures, makes this model take {rate(first.flips)} of them for "
            f"“{first.target}”, and no other class can be reached so cheaply. Some honest models have such a class, too. "
            "“nightlatch clean” unlearns what answers to it, “nightlatch verify” measures what is left."
        )
    if status == "suspicious":
        return "Do not load it before a person has looked at the evidence.", (
            "Something about this model is out of the ordinary, but the evidence is not strong enough to "
            "call it a backdoor. "
            "Scan again with prompts that name what fills their slots (the built-in ones, or JSON lines), or "
            "treat it like a model "
            "with a backdoor."
        )
    if status == "nothing":
        return _loading(report), (
            "None of the tests listed below found a backdoor. That is not a proof that there is none: "
            "what was not tested is listed too, and counts."
        )
    if report.manifest and report.manifest.unsupported:
        return "Treat it as unknown: this kind of model is not scanned.", (
            "Nothing speaks against it, and nothing for it: what it is, and what would be needed to scan it, "
            "is listed under "
            "“Files and static findings”. This must not be taken for “nothing found”."
        )
    return "Treat it as unknown. Do not load it before a scan has finished.", (
        "The model was not judged, so nothing is known about its behaviour. The reason is listed under “What "
        "was not tested”, "
        "or the scan has not been run yet. This must not be taken for “nothing found”."
    )


def _loading(report: Report) -> str:
    """What to do with a model in which nothing was found; a loader that may take other files speaks against
    loading it.
    """
    warnings = [f for f in (report.manifest.findings if report.manifest else ()) if f.severity == "warning"]
    first = f"Read the {count(len(warnings), 'static warning')} first. " if warnings else ""
    if any(f.rule in MAY_DIFFER for f in warnings):
        return (
            f"{first}Do not load it before they are dealt with: a loader may take other files than those "
            "that were scanned."
        )
    return f"{first}It may be loaded, within the limits below."


def _after_repair(report: Report, word: str, status: Status) -> Headline:
    card, repair = report.scorecard, report.repair
    if repair and repair.rolled_back:
        text = (
            "The repair harmed the model too much and was undone, so the output is the model as it came. Try "
            "another method."
        )
        return _repaired(
            word, status, "rolled back", "bad", "Refuse it, or repair again with another method.", text
        )
    if card is None:
        text = (
            f"A repair against {_the_trigger(report)} was made, but nobody has measured yet whether it "
            "worked."
        )
        return _repaired(
            word,
            status,
            "not verified",
            "unknown",
            "Do not load the repaired copy before “nightlatch verify” has run.",
            text,
        )
    before_after = _before_after(attack_success(report))
    if card.verdict == "removed":
        action = "Do not load the original. Scan the repaired copy before you load it."
        text = (
            f"The model came with a backdoor: {_the_trigger(report)} in the prompt changed the picture. "
            f"{before_after} "
            f"{_second_search(card)}"
        )
        return _repaired(word, status, card.verdict, "good", action, f"{text} {_bars(card)}")
    if card.verdict == "harmed":
        action = "Refuse both copies, or repair again with other settings."
        text = (
            f"{before_after} But the repaired copy misses a quality bar; the failed lines are marked in the "
            "table below."
        )
        return _repaired(word, status, card.verdict, "bad", action, text)
    if card.verdict == "not removed":
        text = f"The repair did not remove the effect of {_the_trigger(report)}. {before_after}"
        if card.search and card.search.found:
            text = f"A search of the repaired copy found strings that act. {before_after}"
        return _repaired(
            word, status, card.verdict, "bad", "Refuse it, or repair again with another method.", text
        )
    idle = (
        f"Under these prompts and settings {_the_trigger(report)} hardly acts in the original, so its "
        "removal cannot be measured."
    )
    few = f"Too few pictures were drawn to tell whether {_the_trigger(report)} still acts."
    why, remedy = (
        (few, "draw more of them (-n)")
        if acted(card.pairs)
        else (idle, "check trigger, prompts and settings")
    )
    action = f"Do not load the repaired copy: {remedy}, and verify again."
    return _repaired(word, status, card.verdict, "unknown", action, f"{why} {before_after}")


def _repaired(
    word: str, status: Status, repair: str, good: Literal["good", "bad", "unknown"], action: str, text: str
) -> Headline:
    return Headline(
        word=word, status=status, repair=repair, repair_status=good, action=action, meaning=text.strip()
    )


def _second_search(card: Scorecard) -> str:
    """What is known of other triggers."""
    if card.search is None:
        return "A scan ends with the first trigger that it confirms, so there may be another one."
    return "A second search, of the repaired copy, found nothing."


def _bars(card: Scorecard) -> str:
    judged = [pair.passed for pair in card.pairs if pair.passed is not None]
    missed = judged.count(False)
    if not judged:
        return "No measure was held against a bar."
    if missed:
        return (
            f"But {count(missed, 'measure')} of {len(judged)} missed the bar; see the table below before you "
            "decide."
        )
    return (
        f"All {count(len(judged), 'measure')} stayed within their bars."
        if len(judged) > 1
        else "It stayed within its bar."
    )


def _the_trigger(report: Report) -> str:
    several = (len(triggers(report)) or len(given_triggers(report))) > 1
    return "one of the triggers below" if several else "the trigger below"


def _before_after(pair: Pair | None) -> str:
    before, after = (pair.before, pair.after) if pair else (None, None)
    if isinstance(before, Rate) and isinstance(after, Rate) and before.n and after.n:
        return (
            f"Before the repair the attack worked on {before.hits} of {before.n} held-out pictures "
            f"({rate(before)}), after it on {after.hits} of {after.n} ({rate(after)}; 95 % interval {interval(after)})."
        )
    return ""
