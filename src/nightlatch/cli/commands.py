"""The commands: arguments in, one verb called, its result said, an exit code. torch is imported inside those
that need it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nightlatch.cli.common import (
    DONE,
    FOUND,
    PROVEN,
    Base,
    Blind,
    Device,
    FailOn,
    Guidance,
    PairsOption,
    Pictures,
    Planted,
    Poison,
    Precision,
    Prompts,
    Rounds,
    RunFolder,
    RunSeed,
    SearchOption,
    Source,
    Steps,
    TriggerText,
    Trusted,
    app,
    echo,
    fail,
    inputs,
    number,
    opened,
    options,
    reported,
    say,
)

OTHERS = "Try another --method; 'nightlatch ls repairs' lists them."


def _version(asked: bool) -> None:
    if asked:
        from nightlatch import __version__

        echo(f"nightlatch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="the version, and end")
    ] = False,
) -> None:
    """Finds backdoors in models that make or read pictures, removes them, and proves the removal."""


@app.command(epilog=FOUND)
def check(
    source: Source,
    format: Annotated[str, typer.Option(help="human, json, sarif, junit or csv")] = "human",
    values: Annotated[bool, typer.Option(help="also read every weight")] = False,
    fail_on: FailOn = "warning",
) -> None:
    """Are these files what they claim? Static, without torch."""
    from nightlatch import exits, verbs
    from nightlatch.report import files

    with reported():
        if format not in files.VIEWS:
            fail(f"There is no format {format!r}.", f"Known: {', '.join(files.VIEWS)}.")
        policy = exits.policy(fail_on)
        manifest = verbs.check(source, values=values)
        echo(files.VIEWS[format](manifest, policy))
        raise typer.Exit(exits.of_files(manifest, policy))


@app.command(epilog=FOUND)
def scan(
    source: Source,
    base: Base = None,
    run: RunFolder = None,
    prompts: Prompts = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: RunSeed = None,
    device: Device = "cpu",
    precision: Precision = None,
    plan: Annotated[
        str,
        typer.Option(help="stages in order, such as 'assembled,single-tokens'; see 'nightlatch ls stages'"),
    ] = "",
    skip: Annotated[
        list[str] | None, typer.Option(help="a stage to leave out; may be given several times")
    ] = None,
    fail_on: FailOn = "warning",
    data: Pictures = None,
) -> None:
    """Does it hide a backdoor? No trigger, prompt or attack name is given; without --base only edits are looked for."""
    from nightlatch import exits, loading, verbs
    from nightlatch.safetext import visible

    with reported():
        policy = exits.policy(fail_on)
        loading.require_there(source, base)
        asked = options(prompts, steps, guidance, seed, device, precision)
        asked = replace(asked, inputs=inputs(data=data))
        stages = {
            "plan": tuple(name.strip() for name in plan.split(",") if name.strip()),
            "skip": tuple(skip or ()),
        }
        asked = replace(
            asked, settings={**asked.settings, **{name: told for name, told in stages.items() if told}}
        )
        with opened(run, source) as folder:
            verdict = verbs.scan(folder, source, base, asked, say)
            made = verbs.report(folder)
            echo(f"verdict: {verdict.word}")
            for t in verdict.triggers:
                echo(f"trigger: {visible(t.text)}  ({' '.join(t.code_points)}) {t.placement.words()}")
            for p in verdict.pictures:
                echo(f"trigger in pictures: {p.finder} turns {number(p.flips)} into {visible(p.target)}")
            echo(
                f"carrier: {', '.join(c.component for c in verdict.carriers) or 'none'}\nrun folder: "
                f"{folder.path}"
            )
        raise typer.Exit(exits.of_scan(made.manifest, verdict, policy))


@app.command(epilog=DONE)
def clean(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="the repaired folder")],
    run: RunFolder = None,
    trigger: TriggerText = None,
    method: Annotated[
        str, typer.Option(help="see 'nightlatch ls repairs'; by default the usual one of the kind of model")
    ] = "",
    rounds: Rounds = 3,
    blind: Blind = False,
    base: Base = None,
    trusted: Trusted = None,
    pairs: PairsOption = None,
    poison: Poison = None,
    data: Pictures = None,
    prompts: Prompts = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: RunSeed = None,
    device: Device = "cpu",
    precision: Precision = None,
) -> None:
    """Remove what scan found (or --trigger) from the weights."""
    from nightlatch import verbs

    with reported():
        named = inputs(trusted=trusted, pairs=pairs, poison=poison, data=data)
        asked = replace(options(prompts, steps, guidance, seed, device, precision), inputs=named)
        with opened(run, source) as folder:
            record = verbs.clean(
                folder,
                source,
                out,
                asked,
                say,
                triggers=trigger or (),
                method=method,
                base=base,
                inputs=named,
                rounds=rounds,
                blind=blind,
            )
            verbs.report(folder)
            echo(
                f"{record.method.name}: {record.steps} steps, {record.seconds:.0f} s, "
                f"{record.changed_tensors} tensors changed"
            )
            if record.rolled_back:
                fail("The repair would have harmed the model and was rolled back.", OTHERS)
            for choice in record.choices:
                echo(f"{choice.method} ({', '.join(choice.components)}): {choice.reason}")
            for sentence in record.left:
                echo(sentence)
            if not record.output:
                fail(f"{record.method.name} changes no weight, so nothing was written.", OTHERS)
            echo(f"repaired: {out}\nrun folder: {folder.path}")


@app.command(epilog=PROVEN)
def verify(
    repaired: Annotated[Path, typer.Argument(help="the repaired folder")],
    against: Annotated[Path, typer.Option(help="the suspect it came from")],
    run: RunFolder = None,
    trigger: TriggerText = None,
    base: Base = None,
    trusted: Trusted = None,
    pairs: PairsOption = None,
    poison: Poison = None,
    data: Pictures = None,
    n: Annotated[int, typer.Option("-n", min=24, max=100_000, help="triggered pictures")] = 300,
    regrowth_steps: Annotated[
        int,
        typer.Option(
            min=0,
            max=100_000,
            help="of honest fine-tuning, after which the trigger is tried again; 0 leaves it out",
        ),
    ] = 200,
    planted: Planted = None,
    search: SearchOption = True,
    prompts: Prompts = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: RunSeed = None,
    device: Device = "cpu",
    precision: Precision = None,
) -> None:
    """Is it gone, and is the model unharmed?"""
    from nightlatch import exits, verbs
    from nightlatch.safetext import visible

    with reported():
        if run is None and seed is None:
            remedy = "Give the --run of scan and clean, or their --seed and --trigger."
            fail("verify must know which prompts the repair has seen.", remedy)
        named = inputs(trusted=trusted, pairs=pairs, poison=poison, data=data)
        asked = replace(options(prompts, steps, guidance, seed, device, precision), inputs=named)
        with opened(run, repaired) as folder:
            card = verbs.verify(
                folder, against, repaired, asked, say,
                triggers=trigger or (), base=base, n=n, regrowth_steps=regrowth_steps, inputs=named,
                planted_in=planted, search=search,
            )  # fmt: skip
            verbs.report(folder)
            echo(f"verdict: {card.verdict}")
            for p in card.pairs:
                about = f" [{p.trigger.text} {p.trigger.placement.words()}]" if p.trigger else ""
                echo(f"  {p.name}{about}: {number(p.before)} -> {number(p.after)} ({p.bar})")
            if card.search:
                echo(f"  second search: {', '.join(visible(t.text) for t in card.search.found) or 'nothing'}")
            echo(f"report: {folder.path / 'report.html'}")
        raise typer.Exit(exits.of_scorecard(card))


@app.command(epilog=DONE)
def report(run: Annotated[Path, typer.Argument(help="a run folder")]) -> None:
    """Write the report of a run folder again: HTML, JSON, SARIF, JUnit, model card. Needs no model."""
    from nightlatch import runs, verbs

    with reported(), runs.Run(run, note=False) as folder:
        verbs.report(folder)
        echo(str(run / "report.html"))
