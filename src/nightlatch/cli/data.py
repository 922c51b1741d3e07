"""nightlatch data scan: which training items are poisoned? Pairs of pictures and captions, or pictures with
class labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightlatch.cli.common import DONE, Device, Seed, app, echo, reported, say, tell

data_app = typer.Typer(help="Training data: what in it looks poisoned?", no_args_is_help=True)
app.add_typer(data_app, name="data")
SHOWN = 20


@data_app.command("scan", epilog=DONE)
def scan(
    source: Annotated[
        Path,
        typer.Argument(
            help="pairs: a folder with a csv, jsonl or parquet table, a table, or .tar shards; labelled "
            "pictures: a folder with a sub-folder per class, a folder of parquet files, or an npz"
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            help="of pairs: a CLIPModel or SiglipModel folder; of labelled pictures: a classifier trained on "
            "them, by default a small one is trained"
        ),
    ] = None,
    finder: Annotated[
        str, typer.Option(help="see 'nightlatch ls finders'; by default one that needs no clean model")
    ] = "",
    generator: Annotated[
        str,
        typer.Option(
            help="of labelled pictures: what varies them, the folder of a diffusion model, 'autoencoder' or "
            "'heavy-augmentation'"
        ),
    ] = "autoencoder",
    top: Annotated[int, typer.Option(min=1, max=1_000_000, help="items in the ranking")] = 1000,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="write the ranking there, as lines of JSON")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Rank the items by how poisoned they look. A ranking says where to look first, not how much is
    poisoned.
    """
    from nightlatch import loading, verbs
    from nightlatch.plan import Options

    with reported():
        loading.usable(device)
        if model is None or is_classifier(model):
            raise typer.Exit(labelled(source, model, generator, top, out, seed, device))
        asked = Options(settings={}, seed=seed, device=device)
        ranking = verbs.scan_data(source, model, asked, say, finder=finder, most=top, out=out)
        for line in ranking.broken[:SHOWN]:
            tell(f"not read: {line}")
        echo(
            f"{ranking.n} pairs, {ranking.unread} not readable, "
            f"ranked by {ranking.finder.name} in {ranking.seconds:.0f} s"
        )
        for item in ranking.items[:SHOWN]:
            echo(f"  {item.score:8.3f}  {item.name}  {item.caption}")
        if out is not None:
            echo(f"ranking: {out}")


def is_classifier(model: Path) -> bool:
    """Whether a model folder's config names an image classifier, or the file is an ONNX file."""
    from nightlatch.classifier.loading import says_classifier

    return model.suffix == ".onnx" or says_classifier(model)


def labelled(
    source: Path, model: Path | None, generator: str, top: int, out: Path | None, seed: int, device: str
) -> int:
    """Labelled pictures, the most suspicious first, with the reasons; returns the exit code."""
    from nightlatch.classifier import jobs
    from nightlatch.folder import write_whole

    found = jobs.scan_data(source, model, generator, jobs.Look(device=device, seed=seed), say)
    unusual = sum(bool(f.reasons) for f in found)
    echo(f"{unusual} of {len(found)} pictures are unusual by one method at least; honest data has some, too")
    for one in found[:SHOWN]:
        why = ", ".join(f"{name} {value:.1f}" for name, value in one.reasons.items()) or "nothing unusual"
        echo(f"  {one.score:8.3f}  {one.picture}  {one.label}: {why}")
    if out is not None:
        write_whole(out, "".join(one.model_dump_json() + "\n" for one in found[:top]))
        echo(f"ranking: {out}")
    return int(unusual > 0)
