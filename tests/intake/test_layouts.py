"""Every kind of file gets its name, told by names and shapes that its own writers give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from intake_fixtures import edit_tensors, load_tensors, pack

from nightlatch.intake import buffers, check, exit_code, layouts, stage
from nightlatch.intake.files.header import Tensor

FIRST, OUT = "model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.out.2.weight"
VAE, TEXT = (
    "first_stage_model.decoder.conv_in.weight",
    "cond_stage_model.transformer.text_model.final_layer_norm.weight",
)
WHOLE = {VAE: (8, 4, 3, 3), TEXT: (8,), OUT: (4, 8, 3, 3)}
KINDS: list[tuple[str, dict[str, tuple[int, ...]]]] = [
    ("textual-inversion", {"emb_params": (8, 768)}),
    ("textual-inversion", {"<cat-toy>": (768,)}),
    ("textual-inversion", {"clip_l": (2, 768), "clip_g": (2, 1280)}),
    ("textual-inversion", {"string_to_param.*": (4, 768)}),
    ("motion LoRA", {"down_blocks.0.motion_modules.0.temporal_transformer.x.processor.to_q_lora.down.weight": (4, 8)}),
    ("motion module", {"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (8,)}),
    ("IP-Adapter", {"image_proj.proj.weight": (8, 8), "ip_adapter.1.to_k_ip.weight": (8, 8)}),
    ("IP-Adapter", {"image_proj.latents": (1, 8, 8), "ip_adapter.0.to_q_lora.down.weight": (4, 8)}),
    ("ControlNet", {"control_model.input_hint_block.0.weight": (16, 3, 3, 3), "control_model.input_blocks.0.0.weight": (8, 4, 3, 3)}),
    ("ControlNet", {"input_hint_block.0.weight": (16, 3, 3, 3), "zero_convs.0.0.weight": (8, 8, 1, 1)}),
    ("ControlNet", {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}),
    ("ControlNet in LoRA form", {"lora_controlnet": (0,), "input_hint_block.0.weight": (16, 3, 3, 3)}),
    ("ControlNet for Flux", {"controlnet_blocks.0.weight": (8, 8), "transformer_blocks.0.attn.to_q.weight": (8, 8)}),
    ("T2I-Adapter", {"body.0.block1.weight": (8, 8, 3, 3), "conv_in.weight": (8, 64, 3, 3)}),
    ("T2I-Adapter", {"adapter.body.0.resnets.0.block1.weight": (8, 8, 3, 3)}),
    ("hypernetwork", {"768.0.linear.0.weight": (8, 8), "768.1.linear.0.weight": (8, 8)}),
    ("upscaler", {"model.1.sub.0.RDB1.conv1.0.weight": (8, 8, 3, 3)}),
    ("XL checkpoint", {FIRST: (8, 4, 3, 3), "conditioner.embedders.0.transformer.x": (8,), VAE: (8, 4, 3, 3)}),
    ("XL refiner", {FIRST: (8, 4, 3, 3), "conditioner.embedders.0.model.x": (8,), "model.diffusion_model.label_emb.0.0.weight": (8, 2560)}),
    ("inpainting checkpoint of Stable Diffusion XL", {FIRST: (8, 9, 3, 3), "conditioner.embedders.0.x": (8,), OUT: (4, 8, 3, 3)}),
    ("inpainting", {FIRST: (8, 9, 3, 3), **WHOLE}),
    ("instruct-pix2pix", {FIRST: (8, 8, 3, 3), **WHOLE}),
    ("depth", {FIRST: (8, 5, 3, 3), **WHOLE}),
    ("4x upscaler", {FIRST: (8, 7, 3, 3), **WHOLE}),
    ("Video", {FIRST: (8, 8, 3, 3), "model.diffusion_model.input_blocks.1.0.time_stack.x": (8,), VAE: (8, 4, 3, 3)}),
    ("without a text encoder", {FIRST: (8, 4, 3, 3), VAE: (8, 4, 3, 3)}),
    ("Stable Diffusion 3 checkpoint", {"model.diffusion_model.joint_blocks.0.x": (8,), "text_encoders.clip_l.x": (8,)}),
    ("Flux checkpoint", {"model.diffusion_model.double_blocks.0.x": (8,), "vae.decoder.conv_in.weight": (8, 16, 3, 3)}),
    ("Flux transformer", {"double_blocks.0.img_attn.qkv.weight": (24, 8)}),
    ("Flux transformer", {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": (24, 8)}),
    ("Flux transformer", {"single_transformer_blocks.0.x": (8,), "x_embedder.weight": (8, 8), "context_embedder.weight": (8, 8)}),
    ("Flux.2", {"double_stream_modulation_img.lin.weight": (8, 8), "double_blocks.0.x": (8,)}),
    ("Chroma", {"distilled_guidance_layer.in_proj.weight": (8, 8), "double_blocks.0.x": (8,)}),
    ("Stable Diffusion 3 transformer", {"joint_blocks.0.x_block.attn.qkv.weight": (24, 8)}),
    ("Qwen-Image", {"transformer_blocks.0.img_mod.1.weight": (8, 8), "txt_norm.weight": (8,)}),
    ("Wan", {"patch_embedding.weight": (8, 16, 1, 2, 2), "blocks.0.cross_attn.k.weight": (8, 8), "text_embedding.0.weight": (8, 8)}),
    ("Z-Image", {"cap_embedder.0.weight": (8,), "cap_pad_token": (1, 8), "layers.0.attention.qkv.weight": (24, 8)}),
    ("Lumina", {"cap_embedder.0.weight": (8,), "noise_refiner.0.x": (8,)}),
    ("PixArt", {"y_embedder.y_proj.fc1.weight": (8, 8)}),
    ("UNet of Stable Diffusion XL", {FIRST: (8, 4, 3, 3), "model.diffusion_model.label_emb.0.0.weight": (8, 2816), OUT: (4, 8, 3, 3)}),
    ("UNet (denoiser) alone", {FIRST: (8, 4, 3, 3), OUT: (4, 8, 3, 3)}),
    ("UNet (denoiser) alone", {"conv_in.weight": (8, 4, 3, 3), "down_blocks.0.x": (8,), "time_embedding.linear_1.weight": (8, 8)}),
    ("autoencoder (VAE) alone", {"decoder.conv_in.weight": (8, 4, 3, 3), "encoder.conv_in.weight": (8, 3, 3, 3)}),
    ("autoencoder (VAE) alone", {"first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3)}),
    ("video autoencoder", {"decoder.conv_in.weight": (8, 4, 3, 3, 3), "encoder.conv_in.weight": (8, 3, 3, 3, 3)}),
    ("T5", {"encoder.block.0.layer.0.SelfAttention.q.weight": (8, 8)}),
    ("CLIP text encoder", {"text_model.encoder.layers.0.mlp.fc1.weight": (8, 8)}),
    ("language model", {"model.layers.0.self_attn.q_proj.weight": (8, 8)}),
    ("quantised", {"double_blocks.0.img_attn.qkv.weight": (8, 1), "double_blocks.0.img_attn.qkv.weight.absmax": (8,)}),
]  # fmt: skip


def write(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    def size(shape: tuple[int, ...]) -> int:
        return 2 * int(torch.Size(shape).numel())

    path.write_bytes(pack({n: ["F16", list(s), bytes(size(s))] for n, s in shapes.items()}))
    return path


@pytest.mark.parametrize(("words", "shapes"), KINDS, ids=lambda v: v if isinstance(v, str) else "")
def test_each_kind_is_named(tmp_path: Path, words: str, shapes: dict[str, tuple[int, ...]]) -> None:
    manifest = check(write(tmp_path / "model.safetensors", shapes))
    assert exit_code(manifest) == 2
    assert words in " ".join(f.sentence for f in manifest.findings if f.unsupported), manifest.findings
    assert not [f for f in manifest.findings if f.severity != "note"]


def test_a_name_of_another_program_does_not_make_an_embedding() -> None:
    assert not layouts.is_embedding({"x.weight": Tensor("F32", (8, 768), 0, 1)})
    assert not layouts.is_embedding({str(i): Tensor("F32", (768,), 0, 1) for i in range(9)})


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.gguf", b"GGUF\3\0\0\0" + bytes(40), "GGUF"), ("a.onnx", b"\x08\x07" + bytes(40), "ONNX"),
        ("a.xml", b'<?xml version="1.0"?><net name="x">', "OpenVINO"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "picture"),
        ("flow.json", b'{"last_node_id": 9, "nodes": [{"type": "x"}]}', "workflow"),
        ("a.yaml", b"model:\n  target: x\n", "YAML"),
        ("flax_model.msgpack", b"\x81\xa6params" + bytes(9), "Flax"),
        ("config.json", b'{"_class_name": "x"}', "config"),
        ("a.txt", b"hello", "a text"), ("model.mlmodel", b"\x08\x04" + bytes(9), "Core ML"),
    ],
)  # fmt: skip
def test_other_formats_are_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    manifest = check(tmp_path / name)
    assert exit_code(manifest) == 2
    (finding,) = manifest.findings
    assert (finding.severity, finding.unsupported) == ("note", True)
    assert words in finding.sentence


def test_a_web_page_named_as_a_pickle_is_no_pickle(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"<!DOCTYPE html><html><title>Login</title></html>")
    (finding,) = check(tmp_path / "model.ckpt").findings
    assert "web page" in finding.sentence


def test_numbers_of_other_programs_are_no_pickles(model: Path) -> None:
    for name in (
        "unet/openvino_model.bin",
        "coreml/Unet.mlmodelc/weights/weight.bin",
        "x.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
    ):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(bytes(range(1, 200)))
    assert exit_code(check(model)) == 0
    package = check(model / "x.mlpackage")
    assert "pickle-weights" not in {f.rule for f in package.findings}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html><title>Login</title></html>" + b"x" * 900, "web page"),
        (b'{"error": "Repository not found", "x": "' + b"y" * 99 + b'"}', "answer of a server"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n", "Git-LFS"),
        (b"GGUF\3\0\0\0" + bytes(40), "GGUF"),
    ],
)  # fmt: skip
def test_what_was_saved_as_safetensors_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    manifest = check(tmp_path / "model.safetensors")
    assert exit_code(manifest) == 2
    assert words in " ".join(f.sentence for f in manifest.findings)


def test_the_schedule_is_that_of_diffusers() -> None:
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    found = buffers.schedule()
    assert torch.allclose(torch.tensor(found["alphas_cumprod"]), scheduler.alphas_cumprod, rtol=1e-4)
    assert torch.allclose(torch.tensor(found["betas"]), scheduler.betas, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda i: i, 0),
        (lambda i: i + 0.4, 1),
        (lambda i: [*i[:1], *i[1:].flip(0)], 2),
        (lambda i: i * 1e9, 2),
    ],
    ids=["counting", "rounded", "turned", "huge"],
)
def test_position_ids(model: Path, change: Any, code: int) -> None:
    ids = torch.as_tensor(change(torch.arange(16, dtype=torch.float32)))

    def add(t: dict[str, Any]) -> None:
        t[
            f"{'text_model.' if any(n.startswith('text_model.') for n in t) else ''}embeddings.position_ids"
        ] = [
            "F32",
            [1, 16],
            ids.numpy().tobytes(),
        ]

    edit_tensors(model / "text_encoder/model.safetensors", add)
    assert exit_code(check(model)) == code


def test_a_sparse_file_stays_sparse(built: Path, tmp_path: Path) -> None:
    tensors = load_tensors(built / "lora" / "pytorch_lora_weights.safetensors")
    half = 64 << 20
    tensors |= {
        f"unet.x.lora_{h}.weight": ["F16", s, b""] for h, s in (("A", [2, half // 4]), ("B", [half // 4, 2]))
    }
    path = tmp_path / "lora.safetensors"
    head: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape, _) in tensors.items():
        size = int(torch.Size(shape).numel()) * (2 if dtype == "F16" else 4)
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    with path.open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + at)
    with stage(path, values=False) as staged:
        copy = staged.path / "pytorch_lora_weights.safetensors"
        assert copy.stat().st_size == path.stat().st_size
        assert copy.stat().st_blocks * 512 < 4 << 20
