"""What cannot be compared is not scanned, and never "nothing found"."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from nightlatch.errors import NotScanned
from nightlatch.terms import Role
from nightlatch.text2image.model import loaders
from nightlatch.text2image.model.stable_diffusion import schedule_of
from nightlatch.text2image.scan.judge.comparable import Comparable, require_same_settings
from nightlatch.text2image.scan.stages import AnsweringTokens


def rescheduled(subject, **settings):
    """A copy with other weights to come, and a scheduler with other settings."""
    other = DDIMScheduler.from_config(subject.pipeline.scheduler.config, **settings)
    return subject.copied(Role.TEXT).replaced({"scheduler": other}, schedule_of(other.config))


def part(subject, role):
    (module,) = subject.modules(role)
    return module


def not_finite(suspect):
    part(suspect, Role.DENOISER).conv_out.bias.data.fill_(1e38)
    part(suspect, Role.DENOISER).conv_out.weight.data.fill_(1e38)


def one_token_is_not_finite(suspect):
    part(suspect, Role.TEXT).get_input_embeddings().weight.data[700] = float("inf")


def deaf(suspect):
    for name, p in part(suspect, Role.DENOISER).named_parameters():
        if "attn2.to_v" in name or "attn2.to_out" in name:
            p.data.zero_()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(not_finite, "not finite"), (one_token_is_not_finite, "not finite"), (deaf, "prompt")],
)
def test_model_whose_answers_tell_nothing_is_not_scanned(spoil, words, tiny_v, judged):
    suspect = tiny_v.copied(Role.DENOISER, Role.TEXT)
    spoil(suspect)
    verdict = judged(suspect, tiny_v)
    assert verdict.word == "not scanned"
    assert words in verdict.skipped[0]
    assert verdict.fingerprint


def test_the_same_base_and_suspect_that_answer_nothing_are_not_cleared(tiny_v, judged):
    suspect = tiny_v.copied(Role.DENOISER)
    not_finite(suspect)
    assert judged(suspect, suspect).word == "not scanned"


def test_a_component_with_many_more_weights_than_the_bases_is_not_scanned(tiny_v, judged):
    suspect = tiny_v.copied(Role.DENOISER)
    part(suspect, Role.DENOISER).more = torch.nn.Linear(1000, 1000)
    verdict = judged(suspect, tiny_v)
    assert verdict.word == "not scanned" and "times as many weights" in verdict.skipped[0]


@pytest.mark.parametrize("role", [Role.TEXT, Role.DENOISER, Role.DECODER])
def test_a_component_that_works_much_longer_than_the_bases_is_not_scanned(role, tiny_v, judged):
    """One layer with few weights, gone through two thousand times."""
    suspect = tiny_v.copied(role)
    module = part(suspect, role)
    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, torch.nn.Linear)]
    name, layer = layers[-1 if role is Role.DECODER else 0]  # its encoder comes first and does not draw
    again = torch.nn.Linear(layer.out_features, layer.out_features, bias=False)
    torch.nn.init.eye_(again.weight)
    module.set_submodule(name, torch.nn.Sequential(layer, *[again] * 2_000))
    verdict = judged(suspect, tiny_v)
    assert verdict.word == "not scanned" and "times as long" in verdict.skipped[0]


def test_layers_that_the_base_has_not_are_named(tiny_v, judged):
    suspect = tiny_v.copied(Role.DENOISER)
    part(suspect, Role.DENOISER).conv_out.more = torch.nn.Linear(2, 2)
    verdict = judged(suspect, tiny_v)
    assert verdict.word == "not scanned" and "'conv_out.more.bias'" in verdict.skipped[0]


def test_work_is_counted_alike_for_equal_models(tiny_v):
    Comparable()._require_same_size(tiny_v.copied(Role.DENOISER), tiny_v)


def test_other_schedule_is_reported_and_the_bases_is_used(tiny_v, judged):
    """This suspect's own schedule would draw noise for any prompt; a planted token is found all the same."""
    suspect = rescheduled(tiny_v, beta_start=1e-8, beta_end=1e-8, rescale_betas_zero_snr=False)
    row = part(suspect, Role.TEXT).get_input_embeddings().weight[700]
    row.data.copy_(5 * torch.randn(row.shape, generator=torch.Generator().manual_seed(0)))
    plain = tiny_v.copied(Role.TEXT)
    part(plain, Role.TEXT).load_state_dict(part(suspect, Role.TEXT).state_dict())
    stages = (AnsweringTokens(keep=8, strings=2),)
    verdict, expected = (judged(s, tiny_v, stages) for s in (suspect, plain))
    (changed,) = [r for r in verdict.fingerprint if r.component == "scheduler"]
    assert set(changed.layers) == {"beta_start", "beta_end", "rescale_betas_zero_snr"}
    assert verdict.top_candidates == expected.top_candidates
    assert verdict.word == expected.word
    assert verdict.carriers == expected.carriers
    assert any("base's schedule" in t for t in verdict.tested)
    assert "scheduler" not in {r.component for r in expected.fingerprint}
    assert suspect.settings["scheduler"]["beta_start"] == 1e-8


def test_schedule_alone_is_named_too(tiny_v, judged):
    verdict = judged(rescheduled(tiny_v, timestep_spacing="leading"), tiny_v)
    assert verdict.word == "nothing found by these tests"
    assert any("timestep_spacing" in t for t in verdict.tested)


def test_other_prediction_or_other_settings_are_not_compared(tiny_v, judged):
    other = rescheduled(tiny_v, prediction_type="epsilon", rescale_betas_zero_snr=False)
    assert "predicts epsilon" in judged(other, tiny_v).skipped[0]
    turned = loaders.load(tiny_v.copied(Role.DENOISER).pipeline)
    part(turned, Role.DENOISER).register_to_config(flip_sin_to_cos=False)
    verdict = judged(turned, tiny_v)
    assert verdict.word == "not scanned"
    assert "flip_sin_to_cos" in verdict.skipped[0]


@pytest.mark.parametrize(
    ("component", "settings"),
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
def test_every_setting_that_acts_is_compared(component, settings, tiny_v):
    turned = loaders.load(tiny_v.pipeline)
    turned.parts[component].module.register_to_config(**settings)
    with pytest.raises(NotScanned, match=next(iter(settings))):
        require_same_settings(turned, tiny_v)


@pytest.mark.parametrize(
    ("setting", "value"), [("num_hidden_layers", 1), ("use_attention_mask", True), ("layer_norm_eps", 1e-3)]
)
def test_settings_of_the_text_encoder_are_compared(setting, value, tiny_v):
    turned = loaders.load(tiny_v.pipeline)
    setattr(part(turned, Role.TEXT).config, setting, value)
    with pytest.raises(NotScanned, match=setting):
        require_same_settings(turned, tiny_v)


def test_one_setting_written_in_two_ways_is_the_same(tiny_v, ask):
    turned = loaders.load(tiny_v.pipeline)
    blocks = len(part(turned, Role.DENOISER).config.block_out_channels)
    heads = part(turned, Role.DENOISER).config.attention_head_dim
    part(turned, Role.DENOISER).register_to_config(
        attention_head_dim=[heads] * blocks, only_cross_attention=None, upcast_attention=True
    )
    part(turned, Role.DECODER).register_to_config(force_upcast=False)
    require_same_settings(turned, tiny_v)
    assert not Comparable().schedule(ask(turned, tiny_v))


def test_every_setting_of_the_scheduler_is_named(tiny_v, ask):
    other = rescheduled(tiny_v, thresholding=True, clip_sample_range=3.0)
    (row,) = Comparable().schedule(ask(other, tiny_v))
    assert row.layers == ("clip_sample_range", "thresholding")
    another = DDPMScheduler.from_config(other.pipeline.scheduler.config)
    (row,) = Comparable(named=1).schedule(ask(other.replaced({"scheduler": another}), tiny_v))
    assert row.layers == ("class",)
    assert row.changed > 1
