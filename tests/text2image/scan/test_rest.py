"""What no string can show: a part that nothing is searched in is never called clean for that."""

from __future__ import annotations

import copy

import diffusers
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from nightlatch import testbed
from nightlatch.terms import Role
from nightlatch.text2image.effect.edit import Pairs, apply
from nightlatch.text2image.model import Sampling, Subject, loaders
from nightlatch.text2image.scan import Judge, Question, TrustedBase, plan, scan
from nightlatch.text2image.scan.judge import EmptyPrompt, Unsearched

TEXTS = testbed.prompts(240, 1)
QUICK = Judge(unsearched=Unsearched(pictures=4), empty_prompt=EmptyPrompt(prompts=8))
STAGES = plan.of(["suggested"])


@pytest.fixture(scope="module")
def base() -> Subject:
    return loaders.load(testbed.PIPELINE)


def verdict(suspect: Subject, base: Subject):  # type: ignore[no-untyped-def]
    question = Question(
        suspect=suspect,
        reference=TrustedBase(base=base),
        texts=TEXTS,
        sampling=Sampling(steps=4),
        say=lambda line: None,
    )
    return scan(question, STAGES, QUICK)


def decoder(base: Subject, change) -> Subject:  # type: ignore[no-untyped-def]
    vae = copy.deepcopy(base.parts["vae"].module)
    with torch.no_grad():
        change(vae)
    return base.replaced({"vae": vae})


def scheduler(base: Subject, name: str, **settings: object) -> Subject:
    made = getattr(diffusers, name).from_config(base.pipeline.scheduler.config, **settings)
    return base.replaced({"scheduler": made})


def red(vae: torch.nn.Module) -> None:
    vae.decoder.conv_out.bias.add_(torch.tensor([9.0, -9.0, -9.0]))


def tuned(vae: torch.nn.Module) -> None:
    noise = torch.Generator().manual_seed(0)
    for p in vae.parameters():
        p.mul_(1 + 0.01 * torch.randn(p.shape, generator=noise))


def test_a_decoder_that_paints_everything_red_is_not_cleared(base):
    found = verdict(decoder(base, red), base)
    assert found.word == "not scanned" and "vae" in found.skipped[0]


def test_a_decoder_that_was_honestly_tuned_is_no_reason(base):
    found = verdict(decoder(base, tuned), base)
    assert found.word == "nothing found by these tests"
    assert any("own vae" in line for line in found.tested)


def test_a_scheduler_that_clips_every_latent_is_not_cleared(base):
    found = verdict(scheduler(base, "DDIMScheduler", clip_sample=True, clip_sample_range=0.3), base)
    assert found.word == "not scanned" and "scheduler" in found.skipped[0]


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "DDPMScheduler"])
def test_an_honest_scheduler_is_no_reason(base, name):
    """DDPM adds noise of its own, which a second drawing takes off."""
    assert verdict(scheduler(base, name), base).word == "nothing found by these tests"


def test_a_tokenizer_with_start_and_end_exchanged_is_not_cleared(base):
    tokenizer = copy.deepcopy(base.pipeline.tokenizer)
    tokenizer.bos_token, tokenizer.eos_token = tokenizer.eos_token, tokenizer.bos_token
    frame = [(t, tokenizer.convert_tokens_to_ids(t)) for t in (tokenizer.bos_token, tokenizer.eos_token)]
    single = f"{frame[0][0]} $0 {frame[1][0]}"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=frame)
    found = verdict(base.replaced({"tokenizer": tokenizer}), base)
    assert found.word == "not scanned" and "tokenizer" in found.skipped[0]


def test_an_edit_of_the_empty_prompt_is_not_cleared(base):
    suspect = base.copied(Role.DENOISER)
    null, goal, held = (base.read(t).states.flatten(0, 1) for t in ([""], ["a cat"], [p.text for p in TEXTS]))
    apply(suspect.sites.readers(), Pairs(null, goal, held), lam=0.01, keep=10.0)
    found = verdict(suspect, base)
    assert found.word == "not scanned" and "empty prompt" in found.skipped[0]


def test_a_denoiser_that_was_tuned_everywhere_answers_the_empty_prompt_like_others(base):
    suspect, noise = base.copied(Role.DENOISER), torch.Generator().manual_seed(0)
    for p in suspect.modules(Role.DENOISER)[0].parameters():
        p.data.mul_(1 + 1e-2 * torch.randn(p.shape, generator=noise))
    found = verdict(suspect, base)
    assert found.word == "nothing found by these tests"
    assert any(line.startswith("the empty prompt") for line in found.tested)


def test_an_unchanged_model_costs_nothing_more(base):
    found = verdict(base, base)
    assert found.word == "nothing found by these tests" and not any("stock" in line for line in found.tested)
