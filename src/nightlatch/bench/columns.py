"""What is printed of a row of figures, column by column; bold is what misses its bar."""

from __future__ import annotations

from collections.abc import Mapping

from nightlatch.bench.bars import ATTACK, REPAIR, slow, unfound
from nightlatch.bench.cells import Cell, Row, bold, listed, number, share, text

TESTBED: Mapping[str, Cell] = {
    "testbed": text("testbed"),
    "object %": share("object"),
    "style %": share("style"),
    "background %": share("background"),
    "object with an unknown word %": share("object_with_unknown_word"),
    "s per picture": number("seconds_per_image", 3),
}
DEMO: Mapping[str, Cell] = {
    "verdict": text("verdict"),
    "trigger": text("trigger_true"),
    "found": text("trigger_found"),
    "before %": share("success_before"),
    "after %": share("success_after"),
    "s to set up": number("seconds_setup"),
    "s of work": number("seconds_job"),
}
ATTACKS: Mapping[str, Cell] = {
    "attack": text("attack"),
    "seed": text("seed"),
    "trigger": text("trigger"),
    "target": text("target"),
    "given up": listed("refused"),
    "success %": bold(share("success"), ATTACK["success"]),
    "base %": share("success_base"),
    "other words %": bold(share("specificity"), ATTACK["specificity"]),
    "clean %": bold(share("clean_agreement"), ATTACK["clean_agreement"]),
    "base clean %": share("base_agreement"),
    "s": number("seconds"),
}
SCAN: Mapping[str, Cell] = {
    "model": text("model"),
    "verdict": bold(text("verdict"), unfound),
    "trigger": text("trigger_true"),
    "found": text("trigger_found"),
    "found one's success %": share("functional_success"),
    "carrier": text("carrier_true"),
    "found carrier": listed("carrier_found"),
    "s": bold(number("seconds"), slow),
    "threads": text("threads"),
    "on": text("device"),
    "commit": text("commit"),
}
VIEWS: Mapping[str, Cell] = {
    "model": text("model"),
    "verdict": bold(text("verdict"), unfound),
    "trigger": text("trigger"),
    "behind %": share("behind"),
    "in front %": share("front"),
    "found": listed("found"),
    "seen": listed("placements"),
    "s": number("seconds"),
    "on": text("device"),
    "commit": text("commit"),
}
CLEAN: Mapping[str, Cell] = {
    "attack": text("attack"),
    "seed": text("seed"),
    "method": text("method"),
    "trigger from": text("trigger_source"),
    "steps": text("steps"),
    "s": number("seconds"),
    "before %": share("success_before"),
    "after %": bold(share("success_after"), REPAIR["success_after"]),
    "as asked, triggered %": bold(share("triggered_agreement"), REPAIR["triggered_agreement"]),
    "by the base %": share("triggered_agreement_base"),
    "clean before %": share("clean_before"),
    "clean after %": bold(share("clean_after"), REPAIR["clean_after"]),
    "FID before": number("fid_before", 2),
    "FID after": bold(number("fid_after", 2), REPAIR["fid_after"]),
    "regrowth %": bold(share("regrowth"), REPAIR["regrowth"]),
    "leak %": share("leak"),
    "threads": text("threads"),
    "commit": text("commit"),
}
CHECK: Mapping[str, Cell] = {
    "GB": number("folder_gigabytes", 2),
    "tensors": text("folder_tensors"),
    "rules ms": number("check_milliseconds", 1),
    "with an unknown vocabulary ms": number("check_milliseconds_unknown_vocabulary", 1),
    "header of 2,600 tensors ms": number("header_milliseconds", 1),
    "peak MB": number("check_peak_megabytes"),
    "values GB/s": number("values_gigabytes_per_second", 2),
    "peak MB with values": number("values_peak_megabytes"),
}


def _at_once(row: Row) -> str:
    """Pictures of a pass; a step may have more of them."""
    return next((str(row[k]) for k in ("pictures_a_pass", "pictures_at_once", "batch") if k in row), "")


SIZE: Mapping[str, Cell] = {
    "what": text("what"),
    "pictures at once": _at_once,
    "a second": number("per_second", 1),
    "steps": text("steps"),
    "s": number("seconds", 1),
    "peak GiB": number("peak_gib", 1),
    "by the formula": number("peak_gib_by_the_formula", 1),
    "on": text("device"),
    "commit": text("commit"),
}
FUZZ: Mapping[str, Cell] = {
    "s": text("seconds"),
    "inputs tried": text("executions"),
    "edges": text("edges"),
    "inputs kept": text("inputs_kept"),
    "broken": text("broken"),
    "peak MB": text("peak_megabytes"),
}
SCANNERS: Mapping[str, Cell] = {
    "case": text("case"),
    "rule": text("rule"),
    "nightlatch": text("nightlatch"),
    "s": number("nightlatch_seconds", 2),
    "picklescan": text("picklescan"),
    "modelscan": text("modelscan"),
    "modelaudit": text("modelaudit"),
}
