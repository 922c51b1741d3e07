"""The whole experiment, one resumable command, and the figures it leaves.

An interrupted run goes on where it stopped, and figures are written after every suspect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from operator import itemgetter
from pathlib import Path

from nightlatch import provenance, runs
from nightlatch.api import load
from nightlatch.bench import tables
from nightlatch.bench.cases import PLAN, SEEDS, Case, cases
from nightlatch.bench.matrix import CONTROL, VARIANTS, Matrix, Row, Say
from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.testbed import honest, implant
from nightlatch.text2image import adapters
from nightlatch.text2image.subject import COMPONENTS, Subject

RIVALS = ("skd", "uce", "clean-finetune", "restore", "strip", "sau: attention alone")
OTHERS = ("sau-base", "sau: no warm start")
"""What is worth knowing beside the rivals."""
HONEST = {"table": "scan", "kind": "honest", "attack": ""}
IDENTITY = {
    "attack": ("attack", "seed"),
    "scan": ("model", "kind", "attack", "seed"),
    "clean": ("attack", "seed", "method"),
}
"""What tells the rows of a table apart."""
COMMAND = "nightlatch bench --run runs/bench --models runs/bench-models"
"""What makes every row anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run; parts of one plan may be run on several machines, and joined by ``taken``.

    Args:
        seeds: of the suspects; the rivals are run on the first.
        attacks: of the suspects.
        rivals: whether to run the rivals, too.
        tuned: whether to scan an honest fine-tune of each kind for each seed.
        honest: folders of further honest pipelines, scanned against the testbed.
        taken: folders with figures of other machines, whose rows are taken over.

    Raises:
        UsageError: no such attack.
    """

    seeds: Sequence[int] = SEEDS
    attacks: Sequence[str] = tuple(PLAN)
    rivals: bool = True
    tuned: bool = True
    honest: Sequence[Path] = ()
    taken: Sequence[Path] = ()

    def __post_init__(self) -> None:
        for unknown in set(self.attacks) - set(PLAN):
            raise UsageError(f"The experiment has no attack {unknown!r}.", f"Known: {', '.join(PLAN)}.")

    def suspects(self, rare: Sequence[str], seeds: Sequence[int]) -> list[Case]:
        return [case for case in cases(rare, seeds) if case.attack in self.attacks]


def run(folder: runs.Run, models: Path, figures: Path, plan: Plan, say: Say, n: int = 300) -> None:
    """Everything, in the order in which it is most useful when it is cut short: seed by seed attack, scan and SAU, then the honest models of that
    seed; then the rivals of the first seed, and last what the base itself shows in each case."""
    matrix = Matrix(folder, models, say, n)
    for rows in (figures, *plan.taken):
        remember(folder, rows, matrix.about)
    write_figures(folder, figures)
    honest_row(matrix, "base", 0, lambda: matrix.base)
    for seed in plan.seeds:
        for case in plan.suspects(matrix.rare, (seed,)):
            one(matrix, case, ("sau",))
            write_figures(folder, figures)
        for kind in honest.KINDS if plan.tuned else ():
            honest_row(matrix, f"honest-{kind}-{seed}", seed, partial(honest.fine_tune, matrix.base, kind, seed))
            write_figures(folder, figures)
    for path in plan.honest:
        honest_row(matrix, path.name, 0, partial(load, path, precision="auto"))
        write_figures(folder, figures)
    rivals = plan.suspects(matrix.rare, plan.seeds[:1]) if plan.rivals else []
    for case, methods in [*((c, RIVALS) for c in rivals), *((c, OTHERS) for c in rivals)]:
        one(matrix, case, ("sau", *methods))
        write_figures(folder, figures)
    for case in plan.suspects(matrix.rare, plan.seeds):
        one(matrix, case, ("sau", CONTROL))
        write_figures(folder, figures)


def honest_row(matrix: Matrix, name: str, seed: int, make: Callable[[], Subject]) -> None:
    """The scan of an honest model."""
    matrix.row({**HONEST, "model": name, "seed": seed}, lambda: matrix.scan(make(), seed, None))


def one(matrix: Matrix, case: Case, methods: Sequence[str]) -> None:
    """All rows of one suspect; a rival stops where it reaches what SAU reached."""
    made = matrix.row({"table": "attack", "attack": case.attack, "seed": case.seed}, lambda: matrix.implant(case))
    if not made or made["success"]["rate"] < 0.5:
        matrix.say(f"{case.name}: the attack failed, nothing to scan")
        return
    case = replace(case, trigger=made["trigger"], target=made["target"])

    @cache
    def suspect() -> Subject:
        """Made only where a row is missing, and anew where its folder is gone."""
        if not (matrix.models / case.name).is_dir():
            matrix.make(case)
            implant.write_card(matrix.models / case.name, case.attack, made["success"]["rate"])
        return adapters.load(matrix.models / case.name, precision="auto")

    identity = {"table": "scan", "model": case.name, "kind": "backdoored", "attack": case.attack, "seed": case.seed}
    seen = matrix.row(identity, lambda: matrix.scan(suspect(), case.seed, case))
    reached = None
    for method in methods if seen else ():
        if method in VARIANTS and COMPONENTS[Role.DENOISER] not in (
            seen["carrier_found"] or [COMPONENTS[matrix.attack(case).carrier]]
        ):
            continue  # what they leave out is no part of the repair of a text encoder

        def repair(method: str = method, reached: float | None = reached) -> Row:
            if method == CONTROL:
                return matrix.control(suspect(), case)
            return matrix.repair(suspect(), case, method, seen, reached)

        row = matrix.row({"table": "clean", "attack": case.attack, "seed": case.seed, "method": method}, repair)
        if not row:
            return
        reached = row["success_after"]["rate"] if method == "sau" else reached


def remember(folder: runs.Run, figures: Path, about: Row) -> None:
    """Take over the rows that an earlier run wrote to ``figures``, if what they depend on is the same as ``about``."""
    for table, file in tables.FIGURES.items():
        path = figures / file
        for row in json.loads(path.read_text("utf-8")) if path.is_file() else ():
            key = runs.key({"table": table, **{k: row.get(k) for k in IDENTITY[table]}, **about})
            if {k: row.get(k) for k in about} == about and not folder.has(key):
                folder.add(key, {"table": table, **row})


def write_figures(folder: runs.Run, figures: Path) -> None:
    """docs/figures/*.json from the rows so far, and docs/results.md from those."""
    for table, file in tables.FIGURES.items():
        rows = [{k: v for k, v in r.items() if k not in ("table", "command")} for r in folder.rows() if r["table"] == table]
        if rows:
            rows.sort(key=itemgetter("seed", *IDENTITY[table]))
            provenance.write_figures(figures / file, rows, COMMAND, 0)
    tables.write(figures, figures.parent / "results.md")
