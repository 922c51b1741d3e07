"""Names that are two on one file system and one on another, and links that lead in a circle."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from nightlatch.intake.findings import Findings
from nightlatch.safetext import show


def ambiguous(paths: Iterable[str], findings: Findings) -> None:
    """Names that one file system keeps apart and another takes for the same; each name is normalised once.
    Folders stand before what is in them.
    """
    nodes: dict[tuple[int, str], int] = {}
    place = {"": 0}
    seen: dict[int, str] = {}
    for path in paths:
        parent, _, name = path.rpartition("/")
        at = place.get(parent, 0)
        for part in unicodedata.normalize("NFKC", name).casefold().split("/"):
            at = nodes.setdefault((at, part), len(nodes) + 1)
        place[path] = at
        other = seen.setdefault(at, path)
        if other != path:
            findings.add(
                "ambiguous-name", path, f"It differs from '{show(other, 100)}' only in case or Unicode form."
            )


def circles(links: Mapping[str, str], findings: Findings) -> None:
    """Links that lead to each other, to themselves or to a folder that they lie in; every link is followed
    once.
    """
    ends: dict[str, str] = {}
    for path in links:
        chain: dict[str, None] = {}
        at = path
        while at in links and at not in ends and at not in chain:
            chain[at] = None
            at = links[at]
        ends |= dict.fromkeys(chain, "" if at in chain else ends.get(at, at))
    for path, end in ends.items():
        if end in ("", ".") or path.startswith(f"{end}/"):
            findings.add("inventory-limit", path, "It is a link that leads in a circle.")
