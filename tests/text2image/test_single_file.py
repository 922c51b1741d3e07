"""A whole checkpoint in one file, in the layout of the original training code."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent.parent / "intake"))

import original_layout

from nightlatch import intake
from nightlatch.cli import app
from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.text2image.model import Subject, loaders

CALL = CliRunner()
QUICK = ("--prompts", "emoji", "--steps", "2", "--guidance", "1")


@pytest.fixture(scope="module")
def checkpoint(tiny_v: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return original_layout.save(tiny_v.pipeline, tmp_path_factory.mktemp("single") / "model.safetensors")


def test_the_same_weights_come_back(checkpoint, tiny_folder, tiny_v):
    with intake.stage(checkpoint) as staged:
        assert {f.rule for f in staged.manifest.findings} <= {
            "single-file",
            "values-scanned",
            "constant-tensor",
        }
        loaded = loaders.load(staged.path, configs=tiny_folder)
    for name, part in tiny_v.parts.items():
        mine = loaded.parts[name].module.state_dict()
        for key, value in part.module.state_dict().items():
            assert torch.equal(value, mine[key]), (name, key)
    assert loaded.ids(["a red cat"])[0].tolist() == tiny_v.ids(["a red cat"])[0].tolist()


def test_a_single_file_is_scanned_against_its_base(checkpoint, tiny_folder, tmp_path):
    done = CALL.invoke(
        app, ["scan", str(checkpoint), "--base", str(tiny_folder), "--run", str(tmp_path / "run"), *QUICK]
    )
    assert done.exit_code == 0, done.output
    assert "nothing found by these tests" in done.output


def test_without_a_base_it_says_what_is_missing(checkpoint, tmp_path):
    args = [
        "clean",
        str(checkpoint),
        "-o",
        str(tmp_path / "out"),
        "--run",
        str(tmp_path / "run"),
        "--trigger",
        "x",
        *QUICK,
    ]
    done = CALL.invoke(app, args)
    assert done.exit_code == 2
    assert "no configs and no tokenizer" in done.output
    assert "--base" in done.output


@pytest.mark.parametrize(
    ("change", "rule", "code"),
    [
        (
            lambda t: [t.pop(k) for k in list(t) if k.startswith("first_stage_model.")],
            "no-autoencoder",
            2,
        ),
        (lambda t: t.update({"model_ema.decay": torch.ones(1)}), "second-variant", 1),
        (lambda t: t.update({"state": torch.ones(1)}), "extra-keys", 1),
        (
            lambda t: t.update({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(16, 9, 3, 3)}),
            "unsupported-layout",
            2,
        ),
        (
            lambda t: t.update({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(4)}),
            "shape-mismatch",
            2,
        ),
    ],
)
def test_what_is_wrong_with_it_is_named(change, rule, code, checkpoint, tmp_path):
    tensors = load_file(checkpoint)
    change(tensors)
    save_file(tensors, tmp_path / "changed.safetensors")
    manifest = intake.check(tmp_path / "changed.safetensors")
    assert rule in {f.rule for f in manifest.findings}
    assert intake.exit_code(manifest) == code


def test_tensors_that_do_not_fit_the_base_are_one_sentence(checkpoint, tiny_folder, tmp_path):
    tensors = load_file(checkpoint)
    name = next(k for k in tensors if k.endswith("attn2.to_k.weight"))
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, tmp_path / "changed.safetensors")
    done = CALL.invoke(
        app,
        [
            "scan",
            str(tmp_path / "changed.safetensors"),
            "--base",
            str(tiny_folder),
            "--run",
            str(tmp_path / "run"),
            *QUICK,
        ],
    )
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert "--base" in done.output


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.diffusion_model.input_blocks.99.0.in_layers.0.weight", "unet"),
        ("first_stage_model.decoder.mid.attn_1.to_q.weight", "vae"),
        ("cond_stage_model.transformer.text_model.encoder.layers.77.layer_norm1.weight", "text_encoder"),
    ],
)
def test_weights_that_are_not_loaded_are_not_passed_over(name, part, checkpoint, tiny_folder, tmp_path):
    save_file({**load_file(checkpoint), name: torch.ones(4)}, tmp_path / "checkpoint.safetensors")
    with pytest.raises((NotScanned, UnreadableModel), match=f"{part} holds 4 numbers|does not fit"):
        loaders.load(tmp_path, configs=tiny_folder)


def test_what_no_program_draws_with_is_passed_over(checkpoint, tiny_folder, tmp_path):
    spare = (
        "cond_stage_model.logit_scale",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "betas",
    )
    save_file(
        {**load_file(checkpoint), **{n: torch.ones(7) for n in spare}}, tmp_path / "checkpoint.safetensors"
    )
    loaders.load(tmp_path, configs=tiny_folder)


def test_a_checkpoint_without_an_autoencoder_takes_the_bases(checkpoint, tiny_folder, tiny_v, tmp_path):
    held = load_file(checkpoint)
    save_file(
        {k: v for k, v in held.items() if not k.startswith("first_stage_model.")}, tmp_path / "a.safetensors"
    )
    found = intake.check(tmp_path / "a.safetensors")
    assert intake.exit_code(found) == 2
    assert [f.rule for f in found.findings if f.unsupported] == ["no-autoencoder"]
    with intake.stage(tmp_path / "a.safetensors") as staged, intake.stage(tiny_folder) as base:
        loaded = loaders.load_staged(staged.path, base.path)
    for name, part in tiny_v.parts.items():
        mine = loaded.parts[name].module.state_dict()
        assert all(torch.equal(v, mine[k]) for k, v in part.module.state_dict().items()), name


@pytest.mark.parametrize("predicts", ["v_prediction", "epsilon"])
def test_a_mark_must_agree_with_the_base(checkpoint, tiny_folder, tmp_path, predicts):
    file, base = tmp_path / "a.safetensors", Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    save_file({**load_file(checkpoint), "v_pred": torch.zeros(0)}, file)
    settings = base / "scheduler/scheduler_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"prediction_type": predicts}))
    with intake.stage(file) as staged:
        if predicts == "v_prediction":
            assert loaders.load(staged.path, configs=base)
        else:
            with pytest.raises(NotScanned, match="mark 'v_pred'"):
                loaders.load(staged.path, configs=base)
