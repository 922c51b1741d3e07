"""The verbs: check, scan, clean, verify, report, and what is here. torch is imported inside the verbs that need it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightlatch.cli.common import (
    DONE,
    FOUND,
    PROVEN,
    Base,
    Device,
    Guidance,
    Precision,
    Prompts,
    RunFolder,
    RunSeed,
    Source,
    Steps,
    TriggerText,
    app,
    echo,
    fail,
    number,
    opened,
    options,
    reported,
    say,
)

if TYPE_CHECKING:
    from nightlatch.registry import Registry

OTHERS = "Try another --method; 'nightlatch ls repairs' lists them."


@app.command(epilog=FOUND)
def check(
    source: Source,
    format: Annotated[str, typer.Option(help="human, json, sarif, junit or csv")] = "human",
    values: Annotated[bool, typer.Option(help="also read every weight")] = False,
) -> None:
    """Are these files what they claim? Static, without torch."""
    from nightlatch import intake
    from nightlatch.intake import formats

    with reported():
        located = intake.locate(source)
        manifest = located.annotated(intake.check(located.path, values=values))
        if format not in formats.VIEWS:
            fail(f"There is no format {format!r}.", f"Known: {', '.join(formats.VIEWS)}.")
        echo(formats.VIEWS[format](manifest))
        raise typer.Exit(intake.exit_code(manifest))


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
) -> None:
    """Does it hide a backdoor? No trigger, prompt or attack name is given."""
    from nightlatch import verbs
    from nightlatch.report import words
    from nightlatch.safetext import visible

    with reported():
        if base is None:
            fail("scan needs a trusted model to compare with.", "Give one with --base.")
        with opened(run, source) as folder:
            settings = options(folder, prompts, steps, guidance, seed, device, precision, anew=True)
            verdict = verbs.scan(folder, source, base, settings, say)
            code = words.exit_code(verbs.report(folder))
            echo(f"verdict: {verdict.word}")
            for t in verdict.triggers:
                echo(f"trigger: {visible(t.text)}  ({' '.join(t.code_points)})")
            echo(f"carrier: {', '.join(c.component for c in verdict.carriers) or 'none'}\nrun folder: {folder.path}")
        raise typer.Exit(code)


@app.command(epilog=DONE)
def clean(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="the repaired folder")],
    run: RunFolder = None,
    trigger: TriggerText = None,
    method: Annotated[str, typer.Option(help="see 'nightlatch ls repairs'")] = "sau",
    base: Base = None,
    prompts: Prompts = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: RunSeed = None,
    device: Device = "cpu",
    precision: Precision = None,
) -> None:
    """Remove what scan found (or --trigger) from the weights."""
    from nightlatch import verbs

    with reported(), opened(run, source) as folder:
        settings = options(folder, prompts, steps, guidance, seed, device, precision)
        record = verbs.clean(folder, source, out, settings, say, triggers=trigger or (), method=method, base=base)
        verbs.report(folder)
        echo(f"{record.method.name}: {record.steps} steps, {record.seconds:.0f} s, {record.changed_tensors} tensors changed")
        if record.rolled_back:
            fail("The repair would have harmed the model and was rolled back.", OTHERS)
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
    n: Annotated[int, typer.Option("-n", min=24, max=100_000, help="triggered pictures")] = 300,
    prompts: Prompts = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: RunSeed = None,
    device: Device = "cpu",
    precision: Precision = None,
) -> None:
    """Is it gone, and is the model unharmed?"""
    from nightlatch import verbs

    with reported():
        if run is None and seed is None:
            remedy = "Give the --run of scan and clean, or their --seed and --trigger."
            fail("verify must know which prompts the repair has seen.", remedy)
        with opened(run, repaired) as folder:
            settings = options(folder, prompts, steps, guidance, seed, device, precision)
            card = verbs.verify(folder, against, repaired, settings, say, triggers=trigger or (), base=base, n=n)
            verbs.report(folder)
            echo(f"verdict: {card.verdict}")
            for p in card.pairs:
                echo(f"  {p.name}: {number(p.before)} -> {number(p.after)} ({p.bar})")
            echo(f"report: {folder.path / 'report.html'}")
        if card.verdict != "removed":
            raise typer.Exit(2 if card.verdict == "not verified" else 1)


@app.command(epilog=DONE)
def report(run: Annotated[Path, typer.Argument(help="a run folder")]) -> None:
    """Write the report of a run folder again: HTML, JSON, SARIF, JUnit, model card. Needs no model."""
    from nightlatch import runs, verbs

    with reported(), runs.Run(run, write=False) as folder:
        verbs.report(folder)
        echo(str(run / "report.html"))


@app.command("ls")
def list_parts(kind: Annotated[str, typer.Argument(help="attacks or repairs")] = "repairs") -> None:
    """What is here."""
    with reported():
        from nightlatch.text2image.attacks import ATTACKS
        from nightlatch.text2image.repair import METHODS

        kinds: dict[str, Registry[Any]] = {"attacks": ATTACKS, "repairs": METHODS}
        if kind not in kinds:
            fail(f"There are no {kind}.", f"Known: {', '.join(kinds)}.")
        for part in kinds[kind]:
            echo(f"{part.name:24}{(part.__doc__ or '').strip().splitlines()[0]}")


@app.command()
def doctor() -> None:
    """What works on this machine?"""
    from importlib.util import find_spec

    import torch

    from nightlatch import runs
    from nightlatch.text2image.model.precision import computes_in

    devices = [
        "cpu",
        *(f"cuda:{i}" for i in range(torch.cuda.device_count())),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    rows = {
        **runs.versions(),
        "devices": ", ".join(devices),
        "bfloat16": ", ".join(d for d in devices if computes_in("auto", d) == torch.bfloat16)
        or "on no device natively: fp32 is used",
        "LoRA files": "yes" if find_spec("peft") else "no: install nightlatch[lora]",
        "hub": "offline" if os.environ.get("HF_HUB_OFFLINE") else "online",
    }
    for name, value in rows.items():
        echo(f"{name:16}{value}")
