"""Commands on image classifiers and their data: guard a model, look through a data set, rebuild it, train
past it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightlatch.cli.common import DONE, Device, Seed, app, echo, number, reported, say
from nightlatch.cli.data import data_app

FLAGGED = "Exit codes: 0 nothing flagged, 1 something flagged, 2 could not tell."
guard_app = typer.Typer(
    help="Watch an image classifier's inputs.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(guard_app, name="guard")

Model = Annotated[Path, typer.Argument(help="a transformers image classification folder, or an ONNX file")]
Set = Annotated[
    Path,
    typer.Argument(help="an image folder with a class per sub-folder, a folder of parquet files, or an npz"),
]
Clean = Annotated[Path, typer.Option("--data", help="clean pictures: a data set of any of the three forms")]
Features = Annotated[str, typer.Option(help="of an ONNX file: the output that holds its features")]
Generator = Annotated[
    str,
    typer.Option(
        help="folder of a diffusion model or image-to-image pipeline, or 'autoencoder', 'heavy-augmentation', 'none'"
    ),
]
Strength = Annotated[float, typer.Option(min=0.0, max=1.0, help="how far a variation goes from its original")]


@guard_app.command("fit", epilog=DONE)
def guard_fit(
    model: Model,
    data: Clean,
    out: Annotated[Path, typer.Option("--out", "-o", help="the guard's folder")],
    detector: Annotated[
        str, typer.Option(help="diffense, knn, mahalanobis, autoencoder, strip, scale-up, teco, ibd-psc")
    ] = "diffense",
    false_positives: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="of clean pictures that may be flagged")
    ] = 0.05,
    features: Features = "",
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Learn what a classifier's features look like on clean pictures."""
    with reported():
        from nightlatch.classifier import jobs

        look = jobs.Look(device=device, features=features, seed=seed)
        record = jobs.fit_guard(model, data, out, look, detector, false_positives, say)
        echo(f"{record.detector.name}: threshold {record.threshold:.4g} at {record.false_positives:.1%} false positives, "
             f"from {record.held_out} of {record.clean + record.held_out} pictures, {record.seconds:.0f} s\n{out}")  # fmt: skip


@guard_app.command("check", epilog=FLAGGED)
def guard_check(
    guard: Annotated[Path, typer.Argument(help="the folder that guard fit wrote")],
    pictures: Set,
    model: Annotated[Path | None, typer.Option(help="the classifier, if it was moved since")] = None,
    features: Features = "",
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Is one of these pictures triggered? One JSON line a picture, flagged ones first."""
    with reported():
        from nightlatch.classifier import jobs

        found = jobs.check_pictures(
            guard, pictures, jobs.Look(device=device, features=features, seed=seed), model, say
        )
        for one in found:
            echo(one.model_dump_json())
        flagged = sum(f.flagged for f in found)
        say(f"{flagged} of {len(found)} pictures flagged")
        raise typer.Exit(2 if not found else int(flagged > 0))


@data_app.command("vary", epilog=DONE)
def data_vary(
    data: Set,
    out: Annotated[Path, typer.Option("--out", "-o", help="the new data set, of the same form")],
    generator: Generator,
    strength: Strength = 0.5,
    size: Annotated[
        int | None,
        typer.Option(min=8, max=2048, help="pixels of a side; that of the first picture by default"),
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Rebuild a data set from variations, with the colours of the originals; the same command resumes."""
    with reported():
        from nightlatch.classifier import jobs

        look = jobs.Look(device=device, seed=seed)
        record = jobs.vary_data(data, generator, out, strength, (size, size) if size else None, look, say)
        echo(
            f"{record.pictures - len(record.broken)} pictures varied, {len(record.broken)} could not be read\n{out}"
        )


@data_app.command("train", epilog=DONE)
def data_train(
    data: Annotated[
        list[Path], typer.Argument(help="rebuilds of one data set, one or several, with seeds of their own")
    ],
    teacher: Annotated[
        Path, typer.Option(help="a classifier trained on the original data set, poisoned as it may be")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="the student's folder")],
    alpha: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="weight of the teacher's word against the labels")
    ] = 0.5,
    temperature: Annotated[float, typer.Option(min=0.1, max=100.0)] = 10.0,
    epochs: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Train a student past the poison, on variations."""
    with reported():
        from nightlatch.classifier import jobs
        from nightlatch.classifier.vary import Distil

        look = jobs.Look(device=device, seed=seed)
        card = jobs.train_student(
            data, teacher, out, Distil(alpha=alpha, temperature=temperature), epochs, look, say
        )
        echo(
            f"agrees with the labels of held-out variations: {number(card.agreement)}; the teacher {number(card.teacher_agreement)}"
        )
        echo(str(out))
