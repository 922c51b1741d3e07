"""The page of a scan without a base says what its rows say."""

from __future__ import annotations

from nightlatch.bench import alone_page


def row(kind, verdict, alike, gain, named=(), trigger="", exact=False):
    about = (
        {"trigger": trigger, "target": "dog", "success": {"hits": 9, "n": 10, "rate": 0.9}} if trigger else {}
    )
    return {
        "model": f"{kind}-{alike}", "kind": kind, **about, "verdict": verdict, "named": list(named), "exact": exact,
        "alike": alike, "gain": gain, "seconds": 4.0, "device": "cpu", "commit": "abc",
    }  # fmt: skip


def test_counts_and_areas_are_those_of_the_rows():
    rows = [
        row("backdoored", "suspicious", 0.97, 5.0, ["zudi"], "zudi", True),
        row("backdoored", "not scanned", 0.75, 1.0, [], "zibu"),
        row("honest", "not scanned", 0.72, 2.0),
        row("honest", "suspicious", 0.81, 1.5, ["n"]),
    ]
    said, *_, first, second, third, fourth = alone_page.lines(rows)
    assert "1 of 2 edits are seen, in 1 a word" in said
    assert "1 of 2 honest models are accused" in said
    assert "*alike* 0.750, of *gain* 0.500" in said
    assert "**" not in first
    assert "**not scanned**" in second
    assert "**" not in third
    assert "**suspicious**" in fourth
