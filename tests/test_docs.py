"""What the pages say is there is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
FILES = [
    p.relative_to(ROOT).as_posix()
    for folder in ("src", "tests", "bench", "examples", "docs")
    for p in (ROOT / folder).rglob("*")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"`([\w/-]+/[\w-]+\.(?:py|j2))`", text))
    assert [n for n in sorted(named) if not any(f"/{f}".endswith(f"/{n}") for f in FILES)] == []
    linked = {m.split("#")[0] for m in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text)}
    assert [n for n in sorted(linked) if n and not (page.parent / n).exists()] == []
