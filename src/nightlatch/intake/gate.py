"""The gate: all static rules on one source, in order. Reads headers and small files only; imports neither
torch nor diffusers.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from nightlatch.intake import buffers, folders, leftovers, lone, single
from nightlatch.intake.case import Case
from nightlatch.intake.configs import components, crosscheck, index
from nightlatch.intake.configs.classes import Pipeline
from nightlatch.intake.configs.fields import Fields
from nightlatch.intake.files import inventory, values, weights
from nightlatch.intake.files.header import Header, Tensor
from nightlatch.intake.files.inventory import Entry, Inventory
from nightlatch.intake.findings import Findings
from nightlatch.intake.tokenizer import mapping
from nightlatch.records import FileEntry, Manifest
from nightlatch.safetext import display_path, show

_LOG = logging.getLogger(__name__)
MAX_PLANNED = 64 * 10**9
MAX_LORA = 8 * 10**9
LORA_TARGET, PEFT_TARGET = folders.LORA_NAMES


def check(source: Path | str, *, values: bool = False) -> Manifest:
    """All static rules on a folder or a .safetensors file; never raises for what is in it.

    Args:
        source: a diffusers folder, or a single .safetensors file (a LoRA, or a Stable Diffusion 1.x or 2.x
            checkpoint).
        values: also read every weight (finite, not constant) at disk speed; adds a note with the GB/s.

    Returns:
        What lies there and what was found; ``seconds`` is wall time.
    """
    started = time.perf_counter()
    case = examine(source)
    if values and not case.findings.has("error"):
        scan_values(case)
    confirm_unchanged(case)
    return manifest(case, source, time.perf_counter() - started)


def examine(source: Path | str) -> Case:
    """The case with all findings of the static rules and the plan of what would be staged."""
    findings = Findings()
    empty = Case(Inventory(Path()), findings)
    try:
        root = Path(source).resolve(strict=True)
        mode = root.stat().st_mode
    except PermissionError:
        findings.add("unreadable", "", "The source cannot be read.")
        return empty
    except (OSError, ValueError, RuntimeError):
        findings.add("not-found", "", f"'{show(str(source))}' is neither a folder nor a file here.")
        return empty
    try:
        if stat.S_ISDIR(mode):
            return _completed(_folder(root, findings))
        if stat.S_ISREG(mode) and _leads_away(Path(source), root):
            command = f"Check the file itself: 'nightlatch check {show(str(root), 250)}'."
            findings.add(
                "link-outside", "", "It is a link, and its path leads to a file in another folder.", command
            )
            return empty
        if stat.S_ISREG(mode):
            return _completed(lone.file(root, Path(source), findings))
    except OSError:
        findings.add("unreadable", "", "The source cannot be read.")
        return empty
    except Exception as e:
        _LOG.debug("a rule failed", exc_info=True)
        findings.add(
            "internal", "", f"A rule failed with {type(e).__name__}, so the source counts as not scanned."
        )
        return empty
    findings.add("special-file", "", "The source is a FIFO, socket or device.")
    return empty


def _leads_away(source: Path, file: Path) -> bool:
    """Whether ``source`` is a link to a ``file`` of another folder; a Hub cache's link to its own blobs is
    not.
    """
    if not source.is_symlink():
        return False
    folder = source.parent.resolve()
    snapshots = next(
        (p for p in folder.parents if p.name == "snapshots" and p.parent.name.startswith("models--")), None
    )
    stores = (
        [snapshots.parent / "blobs", snapshots.parent.parent / "blobs" / file.name[:2]] if snapshots else []
    )
    return file.parent not in (folder, *stores)


def scan_values(case: Case) -> values.Throughput:
    """Read every value of the planned weights; findings and a note with the speed go to the case."""
    parts = [(name, weight_files(case, targets)) for name, targets in case.component_files.items()]
    return values.scan(parts, case.findings)


def weight_files(case: Case, targets: list[str]) -> list[tuple[Entry, Header]]:
    """Entry and header of each planned weights file."""
    entries = [case.plan[t].entry for t in targets if t in case.plan]
    return [(e, case.headers[e.path]) for e in entries if e.path in case.headers]


def confirm_unchanged(case: Case) -> None:
    """Every planned file must still be the one that was read."""
    for planned in case.plan.values():
        try:
            with planned.entry.open() as handle:
                same = inventory.signature(os.fstat(handle.fileno())) == planned.entry.signature
        except OSError:
            same = False
        if not same:
            case.findings.add("source-changed", planned.entry.path)


def manifest(
    case: Case, source: Path | str, seconds: float, staged: Mapping[str, str] | None = None
) -> Manifest:
    """The record of a case; ``staged`` maps source paths to the sha256 of what was copied."""
    done = staged or {}
    files = tuple(
        FileEntry(
            path=display_path(e.path),
            size=e.size,
            sha256=done.get(e.path, case.digests.get(e.path, "")),
            kind=e.kind,
            staged=e.path in done,
        )
        for e in case.inventory.entries.values()
    )
    name = os.fsencode(source).decode("utf-8", "backslashreplace")
    return Manifest(
        source=name,
        pipeline_class=case.pipeline_class,
        files=files,
        findings=case.findings.result(),
        seconds=seconds,
    )


def _folder(root: Path, findings: Findings) -> Case:
    if cached := folders.hub_cache(root):
        sentence, _, command = cached.partition("|")
        findings.add("unsupported-layout", "", sentence, command)
        return Case(Inventory(root), findings)
    case = Case(inventory.walk(root, findings), findings)
    if case.inventory.stopped:
        return case
    if index.INDEX not in case.inventory.entries:
        loadable = folders.judge(case)
        leftovers.sweep(case, None, loadable=loadable)
        return case
    found = index.read_index(case)
    index.check_card(case)
    if found is not None:
        _components(case, *found)
    leftovers.sweep(case, found[0] if found else None, loadable=found is not None or findings.untold())
    if not findings.untold():
        _confirm_complete(case, found[0] if found else None)
    return case


def _confirm_complete(case: Case, pipeline: Pipeline | None) -> None:
    """Without an error, every component must have been read; else a rule has overlooked something."""
    planned = {target.partition("/")[0] for target in case.plan}
    complete = (
        pipeline is not None
        and pipeline.slots.keys() <= planned
        and len(case.component_files) == sum(bool(s.stem) for s in pipeline.slots.values())
    )
    if not complete and not case.findings.has("error"):
        case.findings.add("internal", "", "A component was not read and no rule says why.")


def _completed(case: Case) -> Case:
    """The case, with findings about size and types of what would be staged; components were compared with
    their configs before.
    """
    for target in (*folders.LORA_NAMES, single.TARGET):
        if target in case.plan and (header := case.headers.get(path := case.plan[target].entry.path)):
            crosscheck.check_types(header.tensors, path, case.findings)
    size = sum(p.entry.size for p in case.plan.values())
    limit = MAX_PLANNED if case.plan.keys().isdisjoint(folders.LORA_NAMES) else MAX_LORA
    if size > limit:
        case.findings.add(
            "inventory-limit",
            "",
            f"The weights are {size / 1e9:,.0f} GB; at most {limit / 1e9:,.0f} are read.",
        )
    return case


def _components(case: Case, pipeline: Pipeline, chosen: Mapping[str, str]) -> None:
    loaded: dict[str, Fields] = {}
    tensors: dict[str, Mapping[str, Tensor]] = {}
    for name, slot in pipeline.slots.items():
        if name not in chosen or name == "tokenizer":
            continue
        config_path = f"{name}/{slot.config}"
        config = components.load(case, config_path, chosen[name])
        if config is not None:
            loaded[name] = config
        held = weights.find(case, name, slot.stem) if slot.stem else None
        if held is not None:
            tensors[name] = held
            for path in [e.path for e, _ in weight_files(case, case.component_files[name])]:
                buffers.check_positions(case, path, case.headers[path])
            files = case.component_files[name]
            where = files[0] if len(files) == 1 else name
            if config is not None:
                crosscheck.compare(chosen[name], config, held, config_path, where, case.findings)
    _fit(case, loaded)
    if "tokenizer" in chosen:
        mapping.check(case, "tokenizer", chosen["tokenizer"], *_tables(tensors.get("text_encoder", {})))


def _tables(tensors: Mapping[str, Tensor]) -> tuple[int | None, int | None]:
    """Rows of the token and of the position embedding, as the weights hold them under the names that the
    class reads.
    """

    def rows(table: str) -> int | None:
        names = (f"{prefix}embeddings.{table}.weight" for prefix in ("", "text_model."))
        return next((tensors[n].shape[0] for n in names if n in tensors and tensors[n].shape), None)

    return rows("token_embedding"), rows("position_embedding")


def _fit(case: Case, loaded: Mapping[str, Fields]) -> None:
    """The components must fit each other, or the first prompt fails."""
    if not {"unet", "vae", "text_encoder"} <= loaded.keys():
        return
    unet, vae, text = (loaded[n].values for n in ("unet", "vae", "text_encoder"))
    context = unet.get("cross_attention_dim", 1280)
    if any(c != text.get("hidden_size", 512) for c in (context if isinstance(context, list) else [context])):
        case.findings.add(
            "component-mismatch",
            "unet/config.json",
            "The UNet expects prompts of another width than the text encoder gives.",
        )
    if unet.get("in_channels", 4) != vae.get("latent_channels", 4):
        case.findings.add(
            "component-mismatch",
            "unet/config.json",
            "The UNet expects other latents than the autoencoder gives.",
        )
