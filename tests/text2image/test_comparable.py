"""What cannot be compared is not scanned, and never "nothing found"."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from nightlatch.errors import NotScanned
from nightlatch.text2image.model import loaders
from nightlatch.text2image.scan import Budget, scan
from nightlatch.text2image.scan.comparable import on_one_schedule

QUICK = Budget(contexts=2, keep=8, confirm=2, pictures=8)


def rescheduled(subject, **settings):
    made = subject.copy("text_encoder")
    made.schedule = DDIMScheduler.from_config(made.schedule.config, **settings)
    return made


def judged(suspect, base, texts, sampling):
    return scan(suspect, base, texts, sampling, QUICK, say=lambda line: None)


def not_finite(suspect):
    suspect.unet.conv_out.bias.data.fill_(1e38)
    suspect.unet.conv_out.weight.data.fill_(1e38)


def one_token_is_not_finite(suspect):
    suspect.text_encoder.get_input_embeddings().weight.data[700] = float("inf")


def deaf(suspect):
    for name, p in suspect.unet.named_parameters():
        if "attn2.to_v" in name or "attn2.to_out" in name:
            p.data.zero_()


@pytest.mark.parametrize(
    ("spoil", "words"), [(not_finite, "not finite"), (one_token_is_not_finite, "not finite"), (deaf, "prompt")]
)
def test_model_whose_answers_tell_nothing_is_not_scanned(spoil, words, tiny_v, texts, few_steps):
    suspect = tiny_v.copy("unet", "text_encoder")
    spoil(suspect)
    verdict = judged(suspect, tiny_v, texts, few_steps)
    assert verdict.word == "not scanned"
    assert words in verdict.skipped[0]
    assert verdict.fingerprint


def test_the_same_base_and_suspect_that_answer_nothing_are_not_cleared(tiny_v, texts, few_steps):
    suspect = tiny_v.copy("unet")
    not_finite(suspect)
    assert judged(suspect, suspect, texts, few_steps).word == "not scanned"


def test_other_schedule_is_reported_and_the_bases_is_used(tiny_v, texts, few_steps):
    """This suspect's own schedule would draw noise, whatever the prompt; a planted token is found all the same."""
    suspect = rescheduled(tiny_v, beta_start=1e-8, beta_end=1e-8, rescale_betas_zero_snr=False)
    row = suspect.text_encoder.get_input_embeddings().weight[700]
    row.data.copy_(5 * torch.randn(row.shape, generator=torch.Generator().manual_seed(0)))
    plain = tiny_v.copy("text_encoder")
    plain.text_encoder.load_state_dict(suspect.text_encoder.state_dict())
    verdict, expected = (judged(s, tiny_v, texts, few_steps) for s in (suspect, plain))
    (changed,) = [r for r in verdict.fingerprint if r.component == "scheduler"]
    assert set(changed.layers) == {"beta_start", "beta_end", "rescale_betas_zero_snr"}
    assert verdict.top_candidates == expected.top_candidates
    assert verdict.word == expected.word
    assert verdict.carriers == expected.carriers
    assert any("base's schedule" in t for t in verdict.tested)
    assert "scheduler" not in {r.component for r in expected.fingerprint}
    assert suspect.schedule.config.beta_start == 1e-8


def test_schedule_alone_is_named_too(tiny_v, texts, few_steps):
    verdict = judged(rescheduled(tiny_v, timestep_spacing="leading"), tiny_v, texts, few_steps)
    assert verdict.word == "nothing found by these tests"
    assert any("timestep_spacing" in t for t in verdict.tested)


def test_other_prediction_or_other_settings_are_not_compared(tiny_v, texts, few_steps):
    other = rescheduled(tiny_v, prediction_type="epsilon", rescale_betas_zero_snr=False)
    assert "predicts epsilon" in judged(other, tiny_v, texts, few_steps).skipped[0]
    turned = loaders.load(tiny_v.copy("unet").pipeline)
    turned.unet.register_to_config(flip_sin_to_cos=False)
    verdict = judged(turned, tiny_v, texts, few_steps)
    assert verdict.word == "not scanned"
    assert "flip_sin_to_cos" in verdict.skipped[0]


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        ("unet", {"downsample_padding": 0}),
        ("unet", {"resnet_time_scale_shift": "scale_shift"}),
        ("unet", {"only_cross_attention": True}),
        ("unet", {"mid_block_only_cross_attention": True}),
        ("unet", {"timestep_post_act": "silu"}),
        ("unet", {"time_cond_proj_dim": 256}),
        ("vae", {"use_quant_conv": False}),
        ("vae", {"latents_mean": [0.0, 0.0, 0.0, 1.0]}),
    ],
)
def test_every_setting_that_acts_is_compared(part, settings, tiny_v):
    turned = loaders.load(tiny_v.pipeline)
    turned.components[part].register_to_config(**settings)
    with pytest.raises(NotScanned, match=next(iter(settings))):
        on_one_schedule(turned, tiny_v)


@pytest.mark.parametrize(("setting", "value"), [("num_hidden_layers", 1), ("use_attention_mask", True), ("layer_norm_eps", 1e-3)])
def test_settings_of_the_text_encoder_are_compared(setting, value, tiny_v):
    turned = loaders.load(tiny_v.pipeline)
    setattr(turned.text_encoder.config, setting, value)
    with pytest.raises(NotScanned, match=setting):
        on_one_schedule(turned, tiny_v)


def test_one_setting_written_in_two_ways_is_the_same(tiny_v):
    turned = loaders.load(tiny_v.pipeline)
    blocks = len(turned.unet.config.block_out_channels)
    heads = turned.unet.config.attention_head_dim
    turned.unet.register_to_config(attention_head_dim=[heads] * blocks, only_cross_attention=None, upcast_attention=True)
    turned.vae.register_to_config(force_upcast=False)
    assert on_one_schedule(turned, tiny_v) == (turned, ())


def test_every_setting_of_the_scheduler_is_named(tiny_v):
    other = rescheduled(tiny_v, thresholding=True, clip_sample_range=3.0)
    (row,) = on_one_schedule(other, tiny_v)[1]
    assert row.layers == ("clip_sample_range", "thresholding")
    other.pipeline.scheduler = DDPMScheduler.from_config(other.pipeline.scheduler.config)
    (row,) = on_one_schedule(other, tiny_v)[1]
    assert row.layers[0] == "class"
