"""From a name to a subject: what every verb that loads a model needs, and the way through the gate."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from nightlatch import intake
from nightlatch.drawing import Drawing, valid
from nightlatch.errors import NotScanned, UsageError
from nightlatch.intake.gate import LORA_TARGET, PEFT_TARGET
from nightlatch.intake.single import TARGET as SINGLE_TARGET
from nightlatch.records import Manifest

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from nightlatch.text2image.model import Sampling, Subject
    from nightlatch.text2image.model.precision import Precision
    from nightlatch.text2image.prompts import Prompt

DEFAULT_PROMPTS, FEWEST_PROMPTS = 900, 128
LOAD_SECONDS, LOAD_MEGABYTES = 120, 8000
"""What loading a small model may take, libraries included; larger models get more by their size."""
MAX_LOAD_SECONDS, MAX_LOAD_MEGABYTES = 1800, 128_000
"""What loading any model may take."""


class Settings(Drawing):
    """What every verb that loads a model needs: how pictures are drawn, and

    Args:
        seed: of everything drawn at random.
        device: a torch device name.
    """

    seed: int = 0
    device: str = "cpu"

    @property
    def sampling(self) -> Sampling:
        from nightlatch.text2image.model import Sampling

        return Sampling(steps=self.steps, guidance=self.guidance)

    def texts(self) -> list[Prompt]:
        """The ordinary prompts.

        Raises:
            UsageError: the file is not there, not text, or holds too few prompts to split.
        """
        from nightlatch.text2image import prompts

        if self.prompts == "general":
            return prompts.general(DEFAULT_PROMPTS, self.seed)
        if self.prompts == "emoji":
            from nightlatch import testbed

            return testbed.prompts(DEFAULT_PROMPTS, self.seed)
        try:
            lines = Path(self.prompts).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise UsageError(
                f"The prompts file {self.prompts} cannot be read as text.", "Give a file with one prompt a line."
            ) from e
        texts = prompts.from_lines(lines)
        if len(texts) < FEWEST_PROMPTS:
            remedy = f"At least {FEWEST_PROMPTS} are needed to keep held-out ones apart."
            raise UsageError(f"{self.prompts} holds {len(texts)} prompts.", remedy)
        return texts


def load(source: Path | str, settings: Settings, base: Path | None = None) -> tuple[Subject, Manifest]:
    """Through the gate: fetch if it is a hub name, check, stage, load what was staged once in a guarded child process, then here.

    Args:
        base: what a LoRA goes on, or what gives a single-file checkpoint its configs and tokenizer; not used for folders.

    Raises:
        UsageError: a LoRA or a single file without ``base``.
        UnreadableModel: refused, with the reason.
        Departs: a loader would use other weights than those that are staged.
        NotScanned: a LoRA in peft's own form; loading crashed, took too long or too much memory.
    """
    located = intake.locate(source)
    with ExitStack() as stack:
        staged = stack.enter_context(intake.stage(located.path))
        manifest = located.annotated(staged.manifest)
        intake.require_alone(manifest)
        if (staged.path / PEFT_TARGET).is_file():
            raise NotScanned(
                f"{source} is a LoRA as peft saves it, with its scales in a second file, and is not loaded in that form.",
                "Write it with diffusers' save_lora_weights, and scan that file with --base.",
            )
        lora, single = ((staged.path / target).is_file() for target in (LORA_TARGET, SINGLE_TARGET))
        if (lora or single) and base is None:
            what = (
                "a LoRA, which needs the model it goes on"
                if lora
                else "a single-file checkpoint, which has no configs and no tokenizer"
            )
            raise UsageError(f"{source} is {what}.", "Name the model it was made from with --base.")
        beside = stack.enter_context(intake.stage(intake.locate(base).path)) if (lora or single) and base is not None else None
        if beside is not None and not (beside.path / "model_index.json").is_file():
            raise UsageError(
                f"{base} is no diffusers folder.", "Name one with --base: a LoRA or a single file needs a whole model."
            )
        from nightlatch.text2image.model import loaders

        under = beside.path if beside is not None else None
        seconds, megabytes = load_limits(*(s.manifest for s in (staged, beside) if s is not None))
        intake.guarded(
            loaders.rehearse,
            str(staged.path),
            str(under or ""),
            seconds=seconds,
            megabytes=megabytes,
            what="Loading the model",
        )
        subject = loaders.load_staged(staged.path, under, device=settings.device, precision=settings.precision)
        subject.name = Path(source).name
        return subject, manifest


def subject(
    source: Path | str | DiffusionPipeline, *, base: Path | str | None = None, device: str = "cpu", precision: Precision = "fp32"
) -> Subject:
    """``nightlatch.load``: what ``load`` makes of a path or a hub name, or a subject with copies of an in-memory pipeline's modules.

    Raises:
        UsageError, UnreadableModel, NotScanned: as ``load`` does.
    """
    if isinstance(source, str | Path):
        under = None if base is None else Path(base)
        return load(source, valid(Settings, {"device": device, "precision": precision}), under)[0]
    from nightlatch.text2image.model import loaders

    return loaders.load(source, device=device, precision=precision)


def usable(device: str) -> None:
    """Whether torch can compute on ``device`` here.

    Raises:
        UsageError: it cannot.
    """
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError):
        raise UsageError(f"There is no device {device!r} on this machine.", "Use --device cpu.") from None


def load_limits(*manifests: Manifest) -> tuple[float, int]:
    """(seconds, megabytes) that loading may take, by the size of what was staged; what lies beside it gives nothing."""
    staged = sum(f.size for m in manifests for f in m.files if f.staged) >> 20
    return min(MAX_LOAD_SECONDS, LOAD_SECONDS + staged / 20), min(MAX_LOAD_MEGABYTES, LOAD_MEGABYTES + 6 * staged)
