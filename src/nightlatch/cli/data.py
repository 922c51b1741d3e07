"""nightlatch data: which training items are poisoned?"""

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
        typer.Argument(help="pairs: a folder with a csv, jsonl or parquet table, a table, or .tar shards"),
    ],
    model: Annotated[Path, typer.Option(help="an image-text model: a CLIPModel or SiglipModel folder")],
    finder: Annotated[
        str, typer.Option(help="see 'nightlatch ls finders'; by default one that needs no clean model")
    ] = "",
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
