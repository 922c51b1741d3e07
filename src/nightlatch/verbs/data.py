"""data scan: which items of a data set look poisoned? Ranked before anyone trains on them."""

from __future__ import annotations

from pathlib import Path

from nightlatch import loading
from nightlatch.errors import UsageError
from nightlatch.families import Ranks, Say
from nightlatch.folder import write_whole
from nightlatch.plan import Options
from nightlatch.records import Ranking


def scan_data(
    source: Path,
    model: Path,
    options: Options,
    say: Say,
    *,
    finder: str = "",
    most: int = 1000,
    out: Path | None = None,
) -> Ranking:
    """Rank the items of ``source`` by what ``model`` sees in them.

    Args:
        model: of the kind that the data is for; pairs of pictures and captions need an image-text model.
        finder: name of a finder; by default the family's usual one.
        most: items in the ranking.
        out: where the ranking is written as lines of JSON; None for nowhere.

    Raises:
        UsageError: ``out`` is there already, there is no such finder, or the model's family ranks no data.
        UnreadableModel: the model or the data cannot be read.
    """
    if out is not None and out.exists():
        raise UsageError(f"{out} is there already.", "Choose another file; nothing is overwritten.")
    loading.require_there(model)
    family, plan, subject = loading.model(model, options)
    if not isinstance(family, Ranks):
        raise UsageError(
            f"{model} is no model that ranks data.", "Pairs need an image-text model such as CLIP."
        )
    ranking = family.rank(subject, source, finder, most, plan, say)
    if out is not None:
        write_whole(out, "".join(f"{item.model_dump_json()}\n" for item in ranking.items))
    return ranking
