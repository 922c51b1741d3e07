"""The recipe: drawings, vae, clip, unet, judge; each stage resumes, and the result is one ordinary diffusers
folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from nightlatch.testbed import captions, clip, compose, emoji, judge, tokenizer, unet, vae
from nightlatch.testbed.training import Progress, Resumable
from nightlatch.text2image.model.precision import computes_in
from nightlatch.text2image.model.saving import tidy_configs

STAGES = ("drawings", "vae", "clip", "unet", "judge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Sizes of the stages; the defaults are what the shipped model was trained with."""

    seed: int = 0
    pictures: int = 24_000
    vae_steps: int = 6000
    vae_batch: int = 8
    vae_rate: float = 2e-3
    clip_steps: int = 600
    clip_batch: int = 96
    clip_rate: float = 1e-3
    unet_steps: int = 9000
    unet_batch: int = 32
    unet_rate: float = 7e-4
    prediction: str = "v_prediction"
    judge_steps: int = 900
    judge_batch: int = 96
    judge_rate: float = 2e-3

    def pool(self) -> compose.Pictures:
        """The training pictures; the judge's and the held-out ones come from other seeds."""
        return compose.pool(self.pictures, self.seed * 10 + 1)


def train(out: Path, recipe: Recipe, stages: tuple[str, ...] = STAGES) -> Iterator[tuple[str, Progress]]:
    """Run the named stages in order into ``out``; yields (stage, progress) after every step. Finished stages
    are skipped.

    Raises:
        MissingPart: a package that a later stage needs is not installed; said before the first.
    """
    if "clip" in stages and not (out / "clip").is_dir():
        tokenizer.build()
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    run: dict[str, Callable[[Path, Path, Recipe], Iterator[Progress]]] = {
        "drawings": _drawings,
        "vae": _vae,
        "clip": _clip,
        "unet": _unet,
        "judge": _judge,
    }
    for stage in STAGES:
        if stage in stages:
            for progress in run[stage](out, work, recipe):
                yield stage, progress


def _drawings(out: Path, work: Path, recipe: Recipe) -> Iterator[Progress]:
    if not emoji.ASSET.is_file():
        emoji.render()
    yield Progress(0, 1, {})


def _vae(out: Path, work: Path, recipe: Recipe) -> Iterator[Progress]:
    if (out / "vae").is_dir():
        return
    pictures = recipe.pool()
    torch.manual_seed(recipe.seed)
    state = Resumable(vae.build(), work / "vae.pt", recipe.seed)
    yield from vae.train(state, pictures, recipe.vae_steps, recipe.vae_batch, recipe.vae_rate)
    model = state.model.eval()
    assert isinstance(model, AutoencoderKL)
    vae.fit_scale(model, compose.Pictures(pictures.images[:512], pictures.scenes[:512]))
    _whole(out / "vae", model.save_pretrained)


def _clip(out: Path, work: Path, recipe: Recipe) -> Iterator[Progress]:
    if (out / "clip").is_dir():
        return
    tok = tokenizer.build()
    torch.manual_seed(recipe.seed + 1)
    state = Resumable(clip.WithHead(clip.build(tok)), work / "clip.pt", recipe.seed)
    yield from clip.train(
        state, tok, recipe.pool(), heard_words(tok), recipe.clip_steps, recipe.clip_batch, recipe.clip_rate
    )
    model = state.model
    assert isinstance(model, clip.WithHead)
    _whole(out / "tokenizer", lambda folder: tokenizer.save(tok, Path(folder)))
    _whole(out / "text_encoder", clip.text_model(model.clip).save_pretrained)
    _whole(out / "clip", model.clip.save_pretrained)


def _unet(out: Path, work: Path, recipe: Recipe) -> Iterator[Progress]:
    if (out / "unet").is_dir():
        return
    tok = CLIPTokenizer.from_pretrained(out / "tokenizer")
    text = CLIPTextModel.from_pretrained(out / "text_encoder").eval()
    latents = _latents(out, work, recipe)
    torch.manual_seed(recipe.seed + 2)
    state = Resumable(unet.build(), work / "unet.pt", recipe.seed, average=0.999, every=250)
    noise = unet.scheduler(recipe.prediction)
    words, precision = heard_words(tok), computes_in("auto", "cpu")
    yield from unet.train(
        state,
        text,
        tok,
        latents,
        noise,
        words,
        recipe.unet_steps,
        recipe.unet_batch,
        recipe.unet_rate,
        precision,
    )
    state.use_average()
    _whole(out / "scheduler", noise.save_pretrained)
    trained: Any = state.model
    _whole(out / "unet", trained.save_pretrained)


def _latents(out: Path, work: Path, recipe: Recipe) -> unet.Latents:
    """Scaled latents of the training pictures, computed once."""
    path = work / "latents.safetensors"
    if not path.is_file():
        model, pictures = AutoencoderKL.from_pretrained(out / "vae").eval(), recipe.pool()
        values = vae.encode(model, pictures).float() * model.config.scaling_factor
        partial = path.with_suffix(".partial")
        save_file(
            {"values": values.half().contiguous(), "scenes": torch.from_numpy(pictures.scenes)}, partial
        )
        os.replace(partial, path)
    stored = load_file(path)
    return unet.Latents(stored["values"], stored["scenes"])


def _judge(out: Path, work: Path, recipe: Recipe) -> Iterator[Progress]:
    if (out / "judge.safetensors").is_file():
        return
    torch.manual_seed(recipe.seed + 3)
    state = Resumable(judge.Judge(), work / "judge.pt", recipe.seed)
    pictures = compose.pool(recipe.pictures, recipe.seed * 10 + 5)
    model = AutoencoderKL.from_pretrained(out / "vae").eval()
    yield from judge.train(state, pictures, model, recipe.judge_steps, recipe.judge_batch, recipe.judge_rate)
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in state.model.state_dict().items()},
        out / "judge.safetensors",
    )


def heard_words(tok: CLIPTokenizer) -> list[str]:
    """The rare words that training captions may carry."""
    return [w for w in tokenizer.rare_words(tok) if captions.heard(w)]


def pipeline(out: Path) -> StableDiffusionPipeline:
    """The trained parts as a stock pipeline."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(out / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(out / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(out / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(out / "unet"),
        scheduler=DDIMScheduler.from_pretrained(out / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(out: Path, to: Path) -> None:
    """Write pipeline, CLIP and judge in half precision to ``to``: what the package ships."""
    model: DiffusionPipeline = pipeline(out).to(torch.float16)
    _whole(to / "pipeline", lambda folder: model.save_pretrained(folder, safe_serialization=True))
    tidy_configs(to / "pipeline")
    tokenizer.save(model.tokenizer, to / "pipeline" / "tokenizer")
    _whole(to / "clip", CLIPModel.from_pretrained(out / "clip").to(torch.float16).save_pretrained)
    shutil.copyfile(out / "judge.safetensors", to / "judge.safetensors")


def _whole(folder: Path, write: Callable[[str], object]) -> None:
    """Write a folder to a temporary name and rename it, so that it appears whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(str(partial))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
