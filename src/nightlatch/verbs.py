"""The verbs as functions over a run folder: each writes its record as soon as it exists, and the next one starts from that file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nightlatch import intake, runs, seeds
from nightlatch import report as report_views
from nightlatch.errors import NotScanned, UsageError
from nightlatch.loading import Settings, load
from nightlatch.records import (
    Computed,
    Environment,
    Images,
    Manifest,
    PlacedTrigger,
    Record,
    Repair,
    Report,
    Scorecard,
    Verdict,
)
from nightlatch.terms import Role

if TYPE_CHECKING:
    from nightlatch.text2image.prompts import Prompt, Split
    from nightlatch.text2image.subject import Subject

Say = Callable[[str], None]
R = TypeVar("R", bound=Record)
RECORDS = ("manifest", "computed", "verdict", "repair", "scorecard", "evidence")
"""What the verbs write into a run folder, in order; each is about what those before it say."""


class Evidence(Record):
    """The pictures of a run."""

    images: tuple[Images, ...] = ()


def scan(run: runs.Run, source: Path, base: Path, settings: Settings, say: Say) -> Verdict:
    """Scan ``source`` against ``base``; writes manifest.json, verdict.json and, of a trigger that was found, the pictures and evidence.json. Removes
    what ``run`` holds of an earlier scan."""
    try:
        suspect, manifest = load(source, settings, base)
    except (NotScanned, intake.Refused) as e:
        say(f"not scanned: {e}")
        run.drop(*RECORDS)
        if isinstance(e, intake.Departs | intake.Refused):
            run.write("manifest", e.manifest)
        unread = Verdict(
            word="not scanned",
            skipped=(str(e),),
            not_tested=("the model as a loader would put it together",),
            base=Path(base).name,
            seed=settings.seed,
        )
        run.write("verdict", unread)
        return unread
    from nightlatch.text2image import prompts
    from nightlatch.text2image import scan as family

    trusted, _ = load(base, settings)
    run.drop(*RECORDS)
    run.write("manifest", manifest)
    run.write("computed", computed(suspect))
    hints = manifest.hints
    budget, hinted = family.Budget(seed=settings.seed), [t for h in hints for t in h.texts]
    verdict = family.scan(suspect, trusted, settings.texts(), settings.sampling, budget, say, hinted)
    beside = tuple(f"{h.file or 'files beside the model'}: {h.untried}" for h in hints if h.untried)
    verdict = verdict.model_copy(update={"not_tested": (*beside, *verdict.not_tested)})
    run.write("verdict", verdict)
    if verdict.triggers:
        say("drawing evidence")
        shown = unseen(prompts.split(settings.texts(), settings.seed))
        draw(run, suspect, None, verdict.triggers[0].placed, settings, shown)
    return verdict


def clean(
    run: runs.Run,
    source: Path,
    out: Path,
    settings: Settings,
    say: Say,
    *,
    triggers: Sequence[str] = (),
    method: str = "sau",
    base: Path | None = None,
) -> Repair:
    """Remove ``triggers`` (default: what scan found) from ``source``; writes the folder ``out`` and repair.json.

    Raises:
        UsageError: nothing to remove, ``out`` is there already, no such method, it needs a ``base``, or ``run`` is about another model.
    """
    from nightlatch.text2image import prompts
    from nightlatch.text2image.repair import METHODS, Job

    if out.exists():
        raise UsageError(f"{out} is there already.", "Choose another output folder; nothing is overwritten.")
    verdict, wanted = asked(run, triggers)
    if verdict and verdict.carriers and all(c.role is Role.TOKENIZER for c in verdict.carriers):
        raise UsageError(
            "The trigger acts in the tokenizer, and no weight differs from the base.",
            "Put the base's tokenizer folder in its place.",
        )
    repair = METHODS.create(method)
    repair.require(base is not None)
    suspect, manifest = load(source, settings, base)
    require_same(run, manifest)
    job = Job(
        triggers=wanted,
        prompts=prompts.split(settings.texts(), settings.seed).repair,
        sampling=settings.sampling,
        seed=settings.seed,
        carriers=tuple(c.role for c in verdict.carriers) if verdict and verdict.carriers else (Role.DENOISER, Role.TEXT),
        base=load(base, settings)[0] if base and repair.needs_base else None,
    )

    def watch(step: int, student: Subject, seconds: float) -> bool:
        if step % 20 == 0:
            say(f"unlearning: step {step}")
        return False

    repaired, record = repair(suspect, job, watch)
    if record.changed_tensors:
        repaired.save(out)
        record = record.model_copy(update={"output": str(out)})
    drawn = run.read("evidence", Evidence) if run.wrote("evidence") else Evidence()
    run.drop("repair", "scorecard")
    run.write("evidence", Evidence(images=tuple(i.model_copy(update={"repaired": ""}) for i in drawn.images)))
    run.write("manifest", manifest)
    run.write("repair", record)
    return record


def verify(
    run: runs.Run,
    source: Path,
    repaired: Path,
    settings: Settings,
    say: Say,
    *,
    triggers: Sequence[str] = (),
    base: Path | None = None,
    n: int = 300,
    regrowth_steps: int = 200,
) -> Scorecard:
    """Measure ``repaired`` against ``source``; writes the pictures, evidence.json and scorecard.json.

    Args:
        triggers: by default those that the repair in ``run`` worked on, else those that scan found.

    Raises:
        UsageError: no trigger is known, or ``run`` is about another model than ``source``.
    """
    from nightlatch.text2image import prompts
    from nightlatch.text2image.verify import verify as measure

    worked_on = run.read("repair", Repair).triggers if run.wrote("repair") and not triggers else ()
    wanted = worked_on or asked(run, triggers)[1]
    (before, manifest), (after, _) = load(source, settings, base), load(repaired, settings)
    require_same(run, manifest)
    part = prompts.split(settings.texts(), settings.seed)
    shown = unseen(part)
    card = measure(
        before,
        after,
        wanted,
        shown,
        settings.sampling,
        honest=part.repair,
        n=n,
        seed=settings.seed + 1,
        regrowth_steps=regrowth_steps,
    )
    say("drawing evidence")
    draw(run, before, after, wanted[0], settings, shown)
    run.write("computed", computed(after))
    run.write("scorecard", card)
    return card


def report(run: runs.Run) -> Report:
    """Put together what the run folder holds and write all views; needs no model."""

    def maybe(name: str, kind: type[R]) -> R | None:
        return run.read(name, kind) if run.wrote(name) else None

    manifest, verdict = maybe("manifest", Manifest), maybe("verdict", Verdict)
    evidence = maybe("evidence", Evidence) or Evidence()
    on, first = maybe("computed", Computed) or Computed(), run.manifest()
    made = Report(
        source=manifest.source if manifest else str(run.path),
        manifest=manifest,
        verdict=verdict,
        repair=maybe("repair", Repair),
        scorecard=maybe("scorecard", Scorecard),
        images=evidence.images,
        hashes=hashes(run.path),
        environment=Environment(
            command=str(first.get("command", "")),
            then=tuple(str(session.get("command", "")) for session in first.get("resumed", ())),
            versions=runs.versions(),
            device=on.device,
            dtype=on.dtype,
            started=str(first.get("started", now())),
            seed=seeds.of(run),
        ),
    )
    report_views.write(made, run.path)
    return made


def asked(run: runs.Run, triggers: Sequence[str]) -> tuple[Verdict | None, tuple[PlacedTrigger, ...]]:
    """(what scan said, the triggers to work on: those given, else those that scan found). One that scan found stands where it was found, another in
    front.

    Raises:
        UsageError: there is none, or one is empty.
    """
    if not all(t.split() for t in triggers):
        raise UsageError("A trigger is empty.", "Name at least one character that is no space with --trigger.")
    verdict = run.read("verdict", Verdict) if run.wrote("verdict") else None
    found = {t.text: t.placed for t in (verdict.triggers if verdict else ())}
    wanted = tuple(found.get(text, PlacedTrigger(text=text)) for text in triggers) or tuple(found.values())
    if not wanted and verdict:
        raise UsageError("The scan of this run found no trigger.", "Name one with --trigger if you know it.")
    if not wanted:
        raise UsageError("There is no trigger to work on.", "Run scan into this run folder first, or name one with --trigger.")
    return verdict, wanted


def require_same(run: runs.Run, manifest: Manifest) -> None:
    """What ``run`` says must be about the files of ``manifest``, or one model's trigger would be removed from another.

    Raises:
        UsageError: the run holds another model's manifest.
    """

    def used(m: Manifest) -> set[tuple[str, str]]:
        return {(f.path, f.sha256) for f in m.files if f.staged}

    if run.wrote("manifest") and used(run.read("manifest", Manifest)) != used(manifest):
        raise UsageError(f"{run.path} is about another model than {manifest.source}.", "Name that model, or another --run.")


def unseen(part: Split) -> Sequence[Prompt]:
    """Held-out prompts of ``part`` that scan's pictures have not used."""
    from nightlatch.text2image import prompts
    from nightlatch.text2image.scan import Budget

    return prompts.shared(part.held_out, Budget().pictures)[1]


def draw(
    run: runs.Run,
    suspect: Subject,
    repaired: Subject | None,
    trigger: PlacedTrigger,
    settings: Settings,
    texts: Sequence[Prompt],
) -> None:
    """Draw the report's pictures of ``texts`` into ``run`` and write evidence.json."""
    from nightlatch.text2image import evidence

    images = evidence.grid(run.path, suspect, repaired, trigger, texts, settings.sampling, seed=settings.seed)
    run.write("evidence", Evidence(images=images))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every record in the run folder."""
    paths = [folder / f"{n}.json" for n in RECORDS if n != "computed"]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths if p.is_file()}


def computed(subject: Subject) -> Computed:
    """Device and precision of ``subject``."""
    return Computed(device=str(subject.device), dtype=str(subject.precision).removeprefix("torch."))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_folder(source: Path) -> Path:
    """Where results go when --run is not given: runs/<name>-<time>."""
    return Path("runs") / f"{source.name or 'model'}-{time.strftime('%Y%m%d-%H%M%S')}"
