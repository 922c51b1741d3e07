"""The command line: verbs only. torch is imported inside the verbs that need it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import click
import typer
from rich.console import Console

from nightlatch.errors import NightlatchError

EPILOG = "Exit codes: 0 finished and nothing found, 1 finished and found, 2 could not tell, 130 interrupted. 2 outranks 1."
app = typer.Typer(
    help="Finds backdoors in image-generation checkpoints, removes them, and proves the removal.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
testbed_app = typer.Typer(help="The small real model that everything is tested on.", no_args_is_help=True)
app.add_typer(testbed_app, name="testbed")
console = Console(stderr=True, highlight=False)

Source = Annotated[Path, typer.Argument(help="a diffusers folder")]
Base = Annotated[Path | None, typer.Option(help="a trusted model of the same kind")]
RunFolder = Annotated[Path | None, typer.Option("--run", help="run folder; default runs/<name>-<time>")]
Prompts = Annotated[str, typer.Option(help="'general', 'emoji', or a file with one ordinary prompt a line")]
Steps = Annotated[int, typer.Option(min=2, max=1000, help="DDIM steps")]
Guidance = Annotated[float, typer.Option(min=1.0, max=30.0, help="classifier-free guidance; 1 is none")]
Seed = Annotated[int, typer.Option(min=0, max=10**6)]
Device = Annotated[str, typer.Option(help="torch device")]
TriggerText = Annotated[list[str] | None, typer.Option("--trigger", help="a trigger string; may be given several times")]


@app.command(epilog=EPILOG)
def check(
    source: Source,
    format: Annotated[str, typer.Option(help="human, json, sarif or junit")] = "human",
    values: Annotated[bool, typer.Option(help="also read every weight")] = False,
) -> None:
    """Are these files what they claim? Static, without torch."""
    from nightlatch import intake
    from nightlatch.intake import formats

    with reported():
        manifest = intake.check(source, values=values)
        views: dict[str, Callable[..., str]] = {
            "human": formats.human,
            "json": formats.as_json,
            "sarif": formats.sarif,
            "junit": formats.junit,
        }
        if format not in views:
            fail(f"There is no format {format!r}.", f"Known: {', '.join(views)}.")
        typer.echo(views[format](manifest))
        raise typer.Exit(intake.exit_code(manifest))


@app.command(epilog=EPILOG)
def scan(
    source: Source,
    base: Base = None,
    run: RunFolder = None,
    prompts: Prompts = "general",
    steps: Steps = 10,
    guidance: Guidance = 4.0,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Does it hide a backdoor? No trigger, prompt or attack name is given."""
    from nightlatch import verbs
    from nightlatch.report.text import visible

    with reported():
        if base is None:
            fail("scan needs a trusted model to compare with.", "Give one with --base.")
        with opened(run, source) as folder:
            verdict = verbs.scan(folder, source, base, _settings(prompts, steps, guidance, seed, device), say)
            verbs.report(folder)
            typer.echo(f"verdict: {verdict.word}")
            for t in verdict.triggers:
                typer.echo(f"trigger: {visible(t.text)}  ({' '.join(t.code_points)})")
            typer.echo(f"carrier: {', '.join(verdict.carriers) or 'none'}\nrun folder: {folder.path}")
        raise typer.Exit({"backdoor found": 1, "suspicious": 1, "not scanned": 2}.get(verdict.word, 0))


@app.command(epilog=EPILOG)
def clean(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="the repaired folder")],
    run: RunFolder = None,
    trigger: TriggerText = None,
    method: Annotated[str, typer.Option(help="see 'nightlatch ls repairs'")] = "sau",
    base: Base = None,
    prompts: Prompts = "general",
    steps: Steps = 10,
    guidance: Guidance = 4.0,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Remove what scan found (or --trigger) from the weights."""
    from nightlatch import verbs

    with reported(), opened(run, source) as folder:
        settings = _settings(prompts, steps, guidance, seed, device)
        record = verbs.clean(folder, source, out, settings, say, triggers=trigger or (), method=method, base=base)
        typer.echo(
            f"{record.method.name}: {record.steps} steps, {record.seconds:.0f} s, {record.changed_tensors} tensors changed"
        )
        if record.rolled_back:
            fail("The repair would have harmed the model and was rolled back.", "Try another --method.")
        typer.echo(f"repaired: {out}\nrun folder: {folder.path}")


@app.command(epilog=EPILOG)
def verify(
    repaired: Annotated[Path, typer.Argument(help="the repaired folder")],
    against: Annotated[Path, typer.Option(help="the suspect it came from")],
    run: RunFolder = None,
    trigger: TriggerText = None,
    n: Annotated[int, typer.Option("-n", min=24, max=100_000, help="triggered pictures")] = 300,
    prompts: Prompts = "general",
    steps: Steps = 10,
    guidance: Guidance = 4.0,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Is it gone, and is the model unharmed?"""
    from nightlatch import verbs

    with reported(), opened(run, repaired) as folder:
        settings = _settings(prompts, steps, guidance, seed, device)
        card = verbs.verify(folder, against, repaired, settings, say, triggers=trigger or (), n=n)
        verbs.report(folder)
        typer.echo(f"verdict: {card.verdict}")
        for p in card.pairs:
            typer.echo(f"  {p.name}: {_number(p.before)} -> {_number(p.after)} ({p.bar})")
        typer.echo(f"report: {folder.path / 'report.html'}")
        if card.verdict != "removed":
            raise typer.Exit(1)


@app.command(epilog=EPILOG)
def report(run: Annotated[Path, typer.Argument(help="a run folder")]) -> None:
    """Write the report of a run folder again: HTML, JSON, SARIF, JUnit, model card. Needs no model."""
    from nightlatch import runs, verbs

    with reported(), runs.Run(run, write=False) as folder:
        verbs.report(folder)
        typer.echo(str(run / "report.html"))


@app.command(epilog=EPILOG)
def demo(
    folder: Annotated[Path, typer.Option(help="work folder; the same one again resumes")] = Path("runs/demo"),
    attack: Annotated[str, typer.Option(help="see 'nightlatch ls attacks'")] = "badt2i-object",
    seed: Annotated[int | None, typer.Option(help="of trigger and target; drawn at random by default")] = None,
    figures: Annotated[Path | None, typer.Option(help="add a row to this figures file")] = None,
    setup_seconds: Annotated[float, typer.Option(help="for the figures: how long installation took")] = 0.0,
) -> None:
    """The whole job on a model backdoored on the spot."""
    from nightlatch.report.text import visible

    with reported():
        from nightlatch import demo as job
        from nightlatch import runs

        outcome = job.demo(folder, say, attack=attack, seed=seed)
        found = outcome.verdict.triggers[0].text if outcome.verdict.triggers else "none"
        typer.echo(f"\nverdict          {outcome.verdict.word}")
        typer.echo(f"trigger found    {visible(found)}")
        typer.echo(f"trigger planted  {visible(outcome.trigger_true)}")
        typer.echo(f"attack success   {_number(outcome.success_before)} before, {_number(outcome.success_after)} after")
        typer.echo(f"report           {outcome.report}")
        if figures is not None:
            runs.add_figure(figures, job.figures_row(outcome, setup_seconds), runs.command_line(), seed or 0)


@app.command(epilog=EPILOG)
def implant(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o")],
    attack: Annotated[str, typer.Option(help="see 'nightlatch ls attacks'")],
    trigger: Annotated[str, typer.Option()],
    target: Annotated[str, typer.Option()],
    seed: Seed = 0,
) -> None:
    """Make a backdoored testbed model FOR EVALUATION, with a provenance record that says so."""
    with reported():
        from nightlatch.testbed import implant as maker

        record = maker.implant(source, out, attack, trigger, target, seed, say)
        typer.echo(
            f"{attack}: success {record.success.rate:.1%}, other words {record.specificity.rate:.1%}, {record.seconds:.0f} s\n{out}"
        )


@app.command("ls")
def list_parts(kind: Annotated[str, typer.Argument(help="attacks or repairs")] = "repairs") -> None:
    """What is here."""
    with reported():
        from nightlatch.text2image.attacks import ATTACKS
        from nightlatch.text2image.repair import METHODS

        for part in {"attacks": ATTACKS, "repairs": METHODS}.get(kind, METHODS):  # type: ignore[attr-defined]
            typer.echo(f"{part.name:24}{(part.__doc__ or '').strip().splitlines()[0]}")


@app.command()
def doctor() -> None:
    """What works on this machine?"""
    from nightlatch import runs

    for name, version in runs.versions().items():
        typer.echo(f"{name:16}{version}")


@app.command(epilog=EPILOG)
def bench(
    run: Annotated[Path, typer.Option(help="run folder; the same one again resumes")],
    models: Annotated[Path, typer.Option(help="where the suspects are kept")],
    figures: Annotated[Path, typer.Option(help="where the tables are written")] = Path("docs/figures"),
    seed: Annotated[list[int] | None, typer.Option(help="attack seeds; default 0 1 2")] = None,
    rivals: Annotated[bool, typer.Option(help="also the rival repairs, on seed 0")] = True,
    n: Annotated[int, typer.Option("-n", min=24)] = 300,
) -> None:
    """Who is best? Attacks x seeds x methods on the testbed, with honest models as controls. Hours; resumes."""
    with reported():
        from nightlatch import runs
        from nightlatch.bench import matrix
        from nightlatch.bench.cases import SEEDS

        with runs.Run(run) as folder:
            matrix.run(folder, models, figures, tuple(seed or SEEDS), say, rivals, n)


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
    folder: Annotated[list[Path] | None, typer.Option(help="exported testbeds; default the shipped one")] = None,
    n: Annotated[int, typer.Option("-n", min=50)] = 500,
) -> None:
    """Measure the testbed's bars on held-out prompts."""
    with reported():
        from nightlatch.testbed import figures

        figures.measure_to(out, folder, n, say)


def say(line: str) -> None:
    """Progress goes to standard error."""
    console.print(line, markup=False, style="dim", soft_wrap=True)


def fail(sentence: str, remedy: str = "") -> NoReturn:
    raise NightlatchError(sentence, remedy)


@contextmanager
def reported() -> Iterator[None]:
    """Errors of the family become one sentence and exit 2; an interrupt exits 130."""
    try:
        yield
    except NightlatchError as e:
        console.print(str(e), markup=False, style="bold", soft_wrap=True)
        raise typer.Exit(e.exit_code) from None
    except (typer.Exit, click.exceptions.Exit, click.UsageError):
        raise
    except Exception as e:
        if "NIGHTLATCH_DEBUG" in os.environ:
            raise
        console.print(
            f"Internal error: {type(e).__name__}: {e}. Set NIGHTLATCH_DEBUG=1 for the traceback.", markup=False, soft_wrap=True
        )
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        console.print("Interrupted; what was finished is kept.", markup=False)
        raise typer.Exit(130) from None


@contextmanager
def opened(run: Path | None, source: Path) -> Iterator[runs.Run]:  # type: ignore[name-defined]  # noqa: F821
    from nightlatch import runs, verbs

    with runs.Run(run or verbs.run_folder(source)) as folder:
        yield folder


def _settings(prompts: str, steps: int, guidance: float, seed: int, device: str) -> verbs.Settings:  # type: ignore[name-defined]  # noqa: F821
    from nightlatch import verbs

    return verbs.Settings(prompts=prompts, steps=steps, guidance=guidance, seed=seed, device=device)


def _number(value: object) -> str:
    from nightlatch.records import Rate

    return (
        f"{value.rate:.1%} [{value.low95:.1%}, {value.high95:.1%}] of {value.n}"
        if isinstance(value, Rate)
        else "-"
        if value is None
        else f"{value:g}"
    )


def main() -> None:
    app()


if __name__ == "__main__":
    main()
