"""One examination: the inventory, what was read so far, the findings, and the plan of what would be
staged.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from nightlatch.intake.files import described, header, jsonread
from nightlatch.intake.files.header import Header
from nightlatch.intake.files.inventory import Entry, Inventory
from nightlatch.intake.findings import Findings

MAX_TOKENIZER_BYTES = 16 << 20
SHORTEST = 8
"""Bytes of a header's length; what is no longer is cut, whatever its bytes look like."""
MAX_ALL_HEADERS = 32 << 20
_JSON_RULES = {
    "duplicate-key": "duplicate-key",
    "not-finite": "config-value",
    "size": "config-bound",
    "count": "config-bound",
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One file of the private folder: where it comes from, and its new content if that is not a plain
    copy.
    """

    entry: Entry
    rewritten: bytes | None = None


@dataclass(slots=True)
class Case:
    """What the rules share. ``plan`` maps a path in the private folder to its origin; ``texts`` holds sha256
    by path.
    """

    inventory: Inventory
    findings: Findings
    pipeline_class: str = ""
    plan: dict[str, Planned] = field(default_factory=dict)
    headers: dict[str, Header] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    header_bytes: int = 0
    handled: set[str] = field(default_factory=set)
    component_files: dict[str, list[str]] = field(default_factory=dict)

    def entry(self, path: str) -> Entry | None:
        """The entry at ``path``, marked as dealt with."""
        self.handled.add(path)
        return self.inventory.entries.get(path)

    def read(self, path: str, limit: int) -> bytes | None:
        """The whole file, at most ``limit`` + 1 bytes; None (with a finding) when it cannot be read."""
        entry = self.entry(path)
        if entry is None or entry.kind in ("fifo", "socket", "device", "special"):
            return None
        if entry.kind == "link":
            self.findings.add("unreadable", path, "It is a link, and links are not followed.")
            return None
        if entry.kind == "folder":
            self.findings.add("special-file", path, "It is a folder, not a file.")
            return None
        if entry.kind == "lfs-pointer":
            self.findings.add("lfs-pointer", path)
            return None
        try:
            with entry.open() as handle:
                data = handle.read(limit + 1)
        except OSError:
            self.findings.add("unreadable", path)
            return None
        if len(data) != min(entry.size, limit + 1):
            self.findings.add("source-changed", path)
        self.digests[path] = hashlib.sha256(data).hexdigest()
        return data

    def json(
        self, path: str, *, limit: int = jsonread.MAX_BYTES, rule: str = "", infinite: bool = False
    ) -> dict[str, Any] | None:
        """The JSON object at ``path``; None when there is none or, with a finding, when it is defective.

        ``rule`` replaces the usual rule ids (except 'duplicate-key'). ``infinite``: -Infinity is let through,
        for the caller to judge.
        """
        data = self.read(path, limit)
        if data is None:
            return None
        try:
            value = jsonread.parse(data, max_bytes=limit, infinite=infinite)
        except jsonread.JsonProblem as e:
            usual = _JSON_RULES.get(e.code, "json")
            self.findings.add(rule if rule and usual != "duplicate-key" else usual, path, e.sentence)
            return None
        if not isinstance(value, dict):
            self.findings.add(rule or "json", path, "It is not a JSON object.")
            return None
        return value

    def header(self, path: str) -> Header | None:
        """The safetensors header at ``path``; None, with a finding, when there is none."""
        entry = self.entry(path)
        if entry is None:
            return None
        if path in self.headers:
            return self.headers[path]
        if refusal := _not_weights(entry):
            found = (
                f"It is named .safetensors and is {described.describe(entry).words}."
                if refusal == "not-safetensors"
                else ""
            )
            self.findings.add(refusal, path, found)
            return None
        try:
            self.headers[path] = self.read_header(entry)
        except header.HeaderProblem as e:
            self.findings.add(e.rule, path, e.sentence)
            return None
        except OSError:
            self.findings.add("unreadable", path)
            return None
        return self.headers[path]

    def read_header(self, entry: Entry) -> Header:
        """The header of any entry; all headers of one source together may be 32 MB long.

        Raises:
            HeaderProblem: the first defect found, or 'header-size' when the budget is spent.
            OSError: the file cannot be read.
        """
        if self.header_bytes > MAX_ALL_HEADERS:
            raise header.HeaderProblem(
                "header-size", f"All headers together are longer than {MAX_ALL_HEADERS:,} bytes."
            )
        found = None
        try:
            with entry.open() as handle:
                found = header.read(handle, entry.size)
        finally:
            self.header_bytes += found.data_start if found else min(entry.size, header.MAX_HEADER)
        return found

    def stage(self, target: str, path: str, rewritten: bytes | None = None) -> None:
        """Plan ``target`` in the private folder from the source's ``path``."""
        self.plan[target] = Planned(self.inventory.entries[path], rewritten)
        self.handled.add(path)


def _not_weights(entry: Entry) -> str:
    """The rule that a weights file breaks before its header is even read, or ''."""
    if entry.kind in ("fifo", "socket", "device", "special", "folder"):
        return "special-file"
    if entry.kind == "lfs-pointer":
        return "lfs-pointer"
    if entry.kind == "link":
        return "missing-weights"
    readable = entry.kind in ("safetensors", "empty", "binary") or entry.size <= SHORTEST
    return "" if readable else "not-safetensors"
