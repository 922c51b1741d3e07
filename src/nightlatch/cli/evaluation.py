"""For evaluation: the demonstration, backdoored models, the experiment, the small model that everything is
tested on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightlatch import provenance
from nightlatch.cli.common import (
    DEMONSTRATED,
    DONE,
    Device,
    Seed,
    Source,
    app,
    echo,
    number,
    reported,
    say,
    testbed_app,
)


def parameter(given: str) -> tuple[str, object]:
    """NAME=VALUE, the value as JSON has it where it is JSON, else as text.

    Raises:
        UsageError: there is no equals sign.
    """
    import json

    from nightlatch.errors import UsageError
    from nightlatch.safetext import show

    name, sign, value = given.partition("=")
    if not sign:
        raise UsageError(f"{show(given)} is no parameter.", "Write NAME=VALUE, such as steps=1200.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@app.command(epilog=DEMONSTRATED)
def demo(
    folder: Annotated[Path, typer.Option(help="work folder; the same one again resumes")] = Path("runs/demo"),
    attack: Annotated[str, typer.Option(help="see 'nightlatch ls attacks'")] = "rickrolling-prompt",
    seed: Annotated[
        int | None, typer.Option(help="of trigger and target; drawn at random by default")
    ] = None,
    device: Device = "cpu",
    figures: Annotated[Path | None, typer.Option(help="add a row to this figures file")] = None,
    setup_seconds: Annotated[float, typer.Option(help="for the figures: how long installation took")] = 0.0,
) -> None:
    """The whole job on a model backdoored on the spot."""
    from nightlatch.safetext import visible

    with reported():
        from nightlatch import loading
        from nightlatch.bench import demo as job

        loading.usable(device)
        outcome = job.demo(folder, say, job.Show(attack=attack, seed=seed, device=device))
        found = outcome.verdict.triggers[0].text if outcome.verdict.triggers else "none"
        echo(f"\nverdict          {outcome.verdict.word}")
        echo(f"trigger found    {visible(found)}")
        echo(f"trigger planted  {visible(outcome.trigger_true)}")
        echo(
            f"target drawn     {number(outcome.success_before)} before, {number(outcome.success_after)} after"
        )
        echo(
            "                 (as the small model's judge sees it; the report counts pictures that go the "
            "attacker's way)"
        )
        echo(f"report           {outcome.report}")
        if figures is not None:
            provenance.add_figure(
                figures, job.figures_row(outcome, setup_seconds), provenance.command_line(), outcome.seed
            )
        if outcome.scorecard is None or outcome.scorecard.verdict != "removed":
            raise typer.Exit(1)


@app.command(epilog=DONE)
def implant(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o")],
    attack: Annotated[str, typer.Option(help="see 'nightlatch ls attacks'")],
    trigger: Annotated[str, typer.Option()],
    target: Annotated[str, typer.Option()],
    seed: Seed = 0,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="a parameter of the attack, such as steps=1200"),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Make a backdoored testbed model FOR EVALUATION, with a provenance record that says so."""
    with reported():
        from nightlatch import loading
        from nightlatch.testbed import implant as maker
        from nightlatch.text2image.attacks import ATTACKS

        parameters = dict(map(parameter, given or ()))
        part = ATTACKS.create(attack, trigger=trigger, target=target, **parameters)
        loading.usable(device)
        record = maker.implant(source, out, part, seed, say, device)
        echo(
            f"{attack}: success {record.success.rate:.1%}, other words {record.specificity.rate:.1%}, "
            f"{record.seconds:.0f} s\n{out}"
        )


@app.command(epilog=DONE)
def bench(
    run: Annotated[Path, typer.Option(help="run folder; the same one again resumes")],
    models: Annotated[Path, typer.Option(help="where the suspects are kept")],
    figures: Annotated[Path, typer.Option(help="where the tables are written")] = Path("docs/figures"),
    seed: Annotated[
        list[int] | None, typer.Option(help="attack seeds; default 9 (held out), then 6 7 8 and 0 1 2")
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="only these attacks, see 'nightlatch ls attacks'")
    ] = None,
    only: Annotated[str, typer.Option(help="what is done with each model, by comma")] = "makes,scans,repairs",
    anew: Annotated[
        list[str] | None, typer.Option(help="make the rows of this table again: attack, scan or clean")
    ] = None,
    rivals: Annotated[bool, typer.Option(help="also the rival repairs, on the first seed")] = True,
    tuned: Annotated[bool, typer.Option(help="also honest fine-tunes")] = True,
    honest: Annotated[list[Path] | None, typer.Option(help="another honest pipeline to scan")] = None,
    take: Annotated[
        list[Path] | None, typer.Option(help="figures of another machine, whose rows are taken over")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="processes that share the work")] = 1,
    limit: Annotated[
        float | None, typer.Option(min=1, help="seconds after which the rest is left to the next call")
    ] = None,
    device: Device = "cpu",
    n: Annotated[int, typer.Option("-n", min=24, help="pictures per rate")] = 300,
) -> None:
    """Who is best? Attacks x seeds x methods on the testbed, with honest models as controls. Hours;
    resumes.
    """
    with reported():
        from nightlatch import loading, runs
        from nightlatch.bench.cases import SEEDS
        from nightlatch.bench.experiment import Bench, Plan
        from nightlatch.bench.tasks import steps
        from nightlatch.bench.where import Where

        plan = Plan(
            seeds=tuple(seed or SEEDS),
            attacks=tuple(attack or ()),
            steps=steps(only),
            rivals=rivals,
            tuned=tuned,
            honest=tuple(honest or ()),
            taken=tuple(take or ()),
            anew=tuple(anew or ()),
        )
        loading.usable(device)
        with runs.Run(run) as folder:
            failed = Bench(
                run=folder,
                figures=figures,
                page=figures.parent / "results.md",
                where=Where(models=models, device=device, n=n),
                jobs=jobs,
                limit=limit or float("inf"),
                say=say,
            )(plan)
        for line in failed:
            say(line)


@testbed_app.command("train")
def testbed_train(
    out: Annotated[Path, typer.Option(help="work folder; stages resume from it")],
    seed: Seed = 0,
    stage: Annotated[list[str] | None, typer.Option(help="only these stages")] = None,
    export: Annotated[Path | None, typer.Option(help="write the half-precision result here")] = None,
) -> None:
    """Train the testbed: drawings, vae, clip, unet, judge. Hours; run it again to resume."""
    with reported():
        from nightlatch.testbed import stages

        for name, p in stages.train(out, stages.Recipe(seed=seed), tuple(stage or stages.STAGES)):
            if p.step % 50 == 0:
                say(f"{name} {p.step}/{p.total} " + " ".join(f"{k} {v:.4f}" for k, v in p.values.items()))
        if export is not None:
            stages.export(out, export)


@testbed_app.command("measure")
def testbed_measure(
    out: Annotated[Path, typer.Option(help="figures file to write")] = Path("docs/figures/testbed.json"),
    folder: Annotated[
        list[Path] | None, typer.Option(help="exported testbeds; default the shipped one")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=50)] = 500,
) -> None:
    """Measure the testbed's bars on held-out prompts."""
    with reported():
        from nightlatch.testbed import figures

        figures.measure_to(out, folder, n, say)
