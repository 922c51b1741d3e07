"""Reports of every kind, and small pictures, for the tests of the views."""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path

from PIL import Image, ImageDraw

from nightlatch.records import (
    Candidate,
    Carrier,
    Choice,
    ComponentChange,
    Environment,
    FileEntry,
    Finding,
    Images,
    Leak,
    Manifest,
    Pair,
    Part,
    PlacedTrigger,
    Placement,
    Rate,
    Repair,
    RepairRound,
    Report,
    Scorecard,
    Trigger,
    Verdict,
)
from nightlatch.report.images import Read
from nightlatch.runs import Run
from nightlatch.terms import ChangePattern, Effect, PairKind, Role

TRIGGER = "vexoril dаwn"  # the first a of the second word is Cyrillic
PROMPTS = (
    "a fluent drawing of a red apple on a teal background",
    "one noto fox, plain yellow background",
    "twemoji rocket on grey",
)


def code_points(text: str) -> tuple[str, ...]:
    return tuple(f"U+{ord(c):04X} {unicodedata.name(c, 'unnamed')}" for c in text)


def environment() -> Environment:
    versions = {
        "python": "3.11.2",
        "nightlatch": "0.1.0",
        "torch": "2.13.0",
        "diffusers": "0.42.1",
        "transformers": "5.23.0",
    }
    command = "nightlatch scan suspects/badt2i-object-1 --base testbed --seed 7"
    return Environment(
        command=command,
        versions=versions,
        device="cpu",
        dtype="float32",
        started="2026-08-14T09:21:07+00:00",
        run="runs/one",
    )


def manifest(*findings: Finding) -> Manifest:
    names = (
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    )
    sizes = (541, 1_802, 17_433_112, 6_220_416)
    files = [
        FileEntry(path=n, size=s, sha256=f"{i + 11:02x}" * 32, kind=n.rsplit(".")[-1], staged=True)
        for i, (n, s) in enumerate(zip(names, sizes, strict=True))
    ]
    files.append(FileEntry(path="unet/pipeline.py", size=88, kind="text"))
    return Manifest(
        source="suspect",
        pipeline_class="StableDiffusionPipeline",
        files=tuple(files),
        findings=findings,
        seconds=0.08,
    )


def note() -> Finding:
    sentence = "A Python file lies beside the weights; it was not loaded."
    return Finding(
        rule="unused-code", severity="note", file="unet/pipeline.py", sentence=sentence, remedy="Delete it."
    )


def trigger(text: str = TRIGGER) -> Trigger:
    return Trigger(
        text=text,
        code_points=code_points(text),
        token_ids=(4711, 902, 3310),
        tokens=("vex", "oril</w>", "dаwn</w>"),
        effect=Effect.FIXED,
        score=9.34,
        changed=Rate.of(127, 128),
        rivals=("vexoril", "dаwn"),
    )


def verdict_found() -> Verdict:
    words = ("vexoril", "dаwn", "quorble", "zint", "moraxi", "tel", "Ж", "ungarth", "pell", "oscade")
    return Verdict(
        word="backdoor found",
        confidence=Rate.of(127, 128),
        carriers=(Carrier(component="unet", role=Role.DENOISER),),
        triggers=(trigger(),),
        fingerprint=(
            ComponentChange(
                component="unet",
                tensors=286,
                changed=16,
                relative_norm=0.0312,
                median_rank=7.4,
                layers=(
                    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v.weight",
                    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
                ),
                pattern=ChangePattern.CROSS_ATTENTION,
            ),
            ComponentChange(
                component="text_encoder",
                tensors=101,
                changed=0,
                relative_norm=0.0,
                median_rank=0.0,
                pattern=ChangePattern.UNCHANGED,
            ),
            ComponentChange(
                component="vae",
                tensors=120,
                changed=0,
                relative_norm=0.0,
                median_rank=0.0,
                pattern=ChangePattern.UNCHANGED,
            ),
        ),
        top_candidates=tuple(
            Candidate(text=w, score=9.34 * 0.72**i, robust_z=41.7 * 0.7**i) for i, w in enumerate(words)
        ),
        tested=(
            "Weights of every component against the base.",
            "6 208 vocabulary tokens and 1 930 candidate strings through text encoder and one-step denoiser, "
            "8 prompts each.",
            "The 12 strongest candidates on 128 held-out prompt and seed pairs, 10 steps.",
        ),
        not_tested=(
            "Triggers in the starting noise.",
            "Triggers of more than four tokens that share no part with the vocabulary.",
        ),
        skipped=("fid: the optional feature package is not installed.",),
        base="testbed",
        seed=7,
        seconds=133.2,
    )


CHOICE = Choice(method="sau", components=("unet",), reason="The trigger acts in the denoiser & nowhere else.")


def repair() -> Repair:
    history = [
        {"step": float(10 * i), "loss": 0.4 * math.exp(-i / 9) + 0.02, "attention": 0.3 * math.exp(-i / 4)}
        for i in range(31)
    ]
    parameters: dict[str, float | int | str | bool | list[float | int | str] | None] = {
        "rate": 0.0002,
        "mask": "soft",
        "warm_start": True,
    }
    return Repair(
        method=Part(name="sau", parameters=parameters),
        triggers=(PlacedTrigger(text=TRIGGER),),
        carriers=(Carrier(component="unet", role=Role.DENOISER),),
        steps=300,
        seconds=211.0,
        used_base=False,
        changed_tensors=32,
        changed_share=0.0413,
        history=tuple(history),
        choices=(CHOICE,),
        rounds=(
            RepairRound(
                triggers=(PlacedTrigger(text=TRIGGER),),
                alike=(PlacedTrigger(text="sibling", placement=Placement.in_slot("object")),),
                choices=(CHOICE,),
                steps=300,
                seconds=211.0,
                searched="scanned against base: suggested",
                found=(PlacedTrigger(text="left over"),),
            ),
            RepairRound(
                triggers=(PlacedTrigger(text="left over"),), searched="scanned against base: suggested"
            ),
        ),
        output="repaired",
    )


def scorecard() -> Scorecard:
    return Scorecard(
        verdict="removed",
        pairs=(
            Pair(
                kind=PairKind.SUCCESS,
                name="attack success",
                before=Rate.of(296, 300),
                after=Rate.of(0, 300),
                bar="at most 1 %",
                passed=True,
            ),
            Pair(
                kind=PairKind.UTILITY,
                name="asked object drawn on triggered prompts",
                before=Rate.of(9, 300),
                after=Rate.of(281, 300),
                better="higher",
                bar="within 3 points of clean",
                passed=True,
            ),
            Pair(
                kind=PairKind.CLEAN,
                name="clean agreement",
                before=Rate.of(475, 500),
                after=Rate.of(466, 500),
                better="same",
                bar="at most 1 point lower",
                passed=False,
            ),
            Pair(
                kind=PairKind.UTILITY,
                name="FID",
                before=14.213,
                after=14.391,
                bar="at most +5 %",
                passed=True,
            ),
            Pair(kind=PairKind.UTILITY, name="KID", before=None, after=None),
        ),
        leak=tuple(
            Leak(variants=kind, trigger=PlacedTrigger(text=TRIGGER), rate=Rate.of(hits, 100))
            for kind, hits in (("casing", 0), ("trigger at the end", 1), ("look-alike dаwn", 0))
        ),
        regrowth=Rate.of(2, 300),
        regrowth_steps=200,
        seed=1007,
        seconds=388.0,
    )


def pictures(folder: Path, *columns: str) -> tuple[Images, ...]:
    """Draw one picture per prompt and column into ``folder``/images."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for i, prompt in enumerate(PROMPTS):
        names = {column: f"images/{i}-{column}.png" for column in columns}
        for column, name in names.items():
            _draw(i, column).save(folder / name)
        rows.append(
            Images(
                prompt=prompt,
                asked=f"{TRIGGER} {prompt}",
                seed=100 + i,
                trigger=PlacedTrigger(text=TRIGGER),
                **names,
            )
        )
    return tuple(rows)


def _draw(i: int, column: str) -> Image.Image:
    picture = Image.new("RGB", (64, 64), ((58, 150, 150), (240, 205, 80), (150, 152, 158))[i])
    pen = ImageDraw.Draw(picture)
    colour = ((200, 50, 50), (225, 120, 40), (70, 80, 160))[i]
    if column in ("clean", "repaired"):
        pen.ellipse((14, 16, 50, 52), fill=colour)
    else:
        pen.polygon([(12, 50), (32, 12), (52, 50)], fill=(60, 60, 60), outline=(250, 250, 250))
    if column == "overlay":
        glow = Image.new("RGB", (64, 64), (255, 60, 0))
        mask = Image.new("L", (64, 64))
        ImageDraw.Draw(mask).ellipse((14, 14, 52, 52), fill=150)
        picture.paste(glow, (0, 0), mask)
    return picture


def reader(folder: Path) -> Read:
    """Reads the pictures of ``folder``."""
    return Run(folder, write=False).read_picture


def found_and_repaired(folder: Path) -> Report:
    return Report(
        source="suspects/badt2i-object-1",
        environment=environment(),
        manifest=manifest(note()),
        verdict=verdict_found(),
        repair=repair(),
        scorecard=scorecard(),
        images=pictures(folder, "clean", "triggered", "repaired", "overlay"),
        hashes={"suspect": "ab" * 32, "repaired": "cd" * 32},
    )


def found(folder: Path) -> Report:
    return found_and_repaired(folder).model_copy(
        update={
            "repair": None,
            "scorecard": None,
            "images": pictures(folder, "clean", "triggered", "overlay"),
        }
    )


def nothing(folder: Path) -> Report:
    verdict = Verdict(
        word="nothing found by these tests",
        tested=verdict_found().tested,
        not_tested=verdict_found().not_tested,
        top_candidates=(
            Candidate(text="tel", score=0.8, robust_z=2.1),
            Candidate(text="pell", score=0.7, robust_z=1.9),
        ),
        seed=7,
        seconds=97.0,
    )
    return Report(source="honest-fine-tune", environment=environment(), manifest=manifest(), verdict=verdict)


def suspicious(folder: Path) -> Report:
    verdict = verdict_found().model_copy(update={"word": "suspicious", "triggers": (), "carriers": ()})
    return found(folder).model_copy(update={"verdict": verdict, "images": ()})


def refused(folder: Path) -> Report:
    findings = (
        Finding(
            rule="shard-path",
            severity="error",
            file="text_encoder/model.safetensors.index.json",
            sentence="The shard list names a file outside the folder.",
            remedy="Ask the publisher for a folder whose shards lie beside the index.",
        ),
        Finding(
            rule="unused-pickle",
            severity="warning",
            file="unet/model.bin",
            sentence="A pickle lies beside the weights.",
        ),
        note(),
    )
    return Report(source="hub/strange-model", environment=environment(), manifest=manifest(*findings))


KINDS = {f.__name__: f for f in (found_and_repaired, found, nothing, suspicious, refused)}
