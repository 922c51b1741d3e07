"""Whether a loader would use what is staged and scanned, or would take more than that or something else from
the same folder.
"""

from __future__ import annotations

from nightlatch.errors import NotScanned
from nightlatch.intake.configs.classes import STABLE_DIFFUSION
from nightlatch.records import Finding, Manifest

_COMPONENTS = frozenset(STABLE_DIFFUSION.slots) | frozenset(STABLE_DIFFUSION.optional)
MAY_DIFFER = frozenset({
    "ambiguous-name", "ambiguous-weights", "auto-map", "connected-pipeline", "extra-weights",
    "hidden-adapter", "link-inside",
    "polyglot", "second-variant", "unused-pickle",
})  # fmt: skip
"""Warnings after which some program may load other weights than those that were scanned."""


class Departs(NotScanned):
    """Loaders use other weights than those that are staged; ``manifest`` says which."""

    def __init__(self, sentence: str, remedy: str, manifest: Manifest) -> None:
        super().__init__(sentence, remedy)
        self.manifest = manifest


def require_alone(manifest: Manifest) -> None:
    """Nothing in the source may change, unasked, what a loader makes of the files that are staged.

    Raises:
        Departs: an adapter lies where a loader applies it, or a component has two sets of weights and loaders
            differ in their choice.
    """
    for finding in manifest.findings:
        if finding.rule == "hidden-adapter" and _is_applied(finding, manifest):
            raise Departs(
                f"Loaders apply the adapter{_at(finding)} without asking, and it is not in the weights that "
                "a scan reads.",
                "Delete it, or merge it into the weights, and scan again.",
                manifest,
            )
        if finding.rule == "ambiguous-weights":
            raise Departs(
                f"There are two sets of weights{_at(finding)}, loaders differ in which they take, and a scan "
                "reads one of them.",
                "Delete the index or the single file, and scan again.",
                manifest,
            )


def _is_applied(finding: Finding, manifest: Manifest) -> bool:
    """Whether the adapter lies in a component's folder, or in the pipeline's, where older loaders look; one
    that was only counted may.
    """
    folder = finding.file.rpartition("/")[0].lower()
    return folder in _COMPONENTS or not finding.file or (not folder and bool(manifest.pipeline_class))


def _at(finding: Finding) -> str:
    return f" at '{finding.file}'" if finding.file else ""
