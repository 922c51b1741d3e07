"""Adapters, embeddings and single files, each by the library that people write them with."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import original_layout
import peft
import torch
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from lycoris import LycorisNetwork, create_lycoris
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from writers import Parts, saved, writes


# --- LoRA and its kin
def adapted(p: Parts, config: Any, part: str = "unet") -> Any:
    model = copy.deepcopy(getattr(p, part))
    made = peft.get_peft_model(model, config)
    for name, value in made.named_parameters():
        if any(mark in name for mark in ("lora_B", "hada", "lokr", "oft", "ia3")):
            value.data += 0.1 * torch.randn_like(value)
    return made


ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


@writes("LoRA of diffusers", 0, "LoRA")
def _lora(out: Path, p: Parts) -> Path:
    layers = convert_state_dict_to_diffusers(
        get_peft_model_state_dict(adapted(p, peft.LoraConfig(r=2, target_modules=ATTENTION)))
    )
    diffusers.StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=_bare(layers))
    return out


@writes("LoRA of diffusers on both parts", 0, "LoRA")
def _lora_both(out: Path, p: Parts) -> Path:
    unet = _bare(get_peft_model_state_dict(adapted(p, peft.LoraConfig(r=2, target_modules=ATTENTION))))
    text = _bare(
        get_peft_model_state_dict(
            adapted(p, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]), "text")
        )
    )
    diffusers.StableDiffusionPipeline.save_lora_weights(
        out, unet_lora_layers=unet, text_encoder_lora_layers=text
    )
    return out


@writes("LoRA of diffusers with its settings", 0, "LoRA")
def _lora_settings(out: Path, p: Parts) -> Path:
    pipe = p.pipeline()
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["to_k", "to_v"], init_lora_weights="gaussian")
    pipe.unet.add_adapter(config)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    from diffusers.training_utils import _collate_lora_metadata

    diffusers.StableDiffusionPipeline.save_lora_weights(
        out, unet_lora_layers=layers, **_collate_lora_metadata({"unet": pipe.unet})
    )
    return out


@writes("LoRA in kohya's names by diffusers", 0, "LoRA")
def _lora_kohya(out: Path, p: Parts) -> Path:
    state = get_peft_model_state_dict(adapted(p, peft.LoraConfig(r=2, target_modules=ATTENTION)))
    prefixed = {k.replace("base_model.model", "lora_unet"): v for k, v in state.items()}
    save_file(
        {k: v.contiguous() for k, v in convert_state_dict_to_kohya(prefixed).items()},
        out.with_suffix(".safetensors"),
    )
    return out.with_suffix(".safetensors")


def _bare(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix("base_model.model."): v for k, v in state.items()}


@writes("LoRA of peft", 0, "peft")
def _peft(out: Path, p: Parts) -> Path:
    return saved(adapted(p, peft.LoraConfig(r=2, target_modules=["to_q"])), out)


@writes("DoRA of diffusers", 0, "LoRA")
def _dora(out: Path, p: Parts) -> Path:
    state = get_peft_model_state_dict(
        adapted(p, peft.LoraConfig(r=2, target_modules=["to_q"], use_dora=True))
    )
    diffusers.StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=_bare(state))
    return out


for _name, _config, _words in (
    ("LoHa", lambda: peft.LoHaConfig(r=2, target_modules=["to_q"]), "LoHa"),
    ("LoKr", lambda: peft.LoKrConfig(r=2, target_modules=["to_q"]), "LoKr"),
    ("OFT", lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=["to_q"]), "OFT"),
):  # fmt: skip

    @writes(f"{_name} of peft", 2, _words)
    def _relative(out: Path, p: Parts, config: Callable[[], Any] = _config) -> Path:
        saved(adapted(p, config()), out)
        return out / "adapter_model.safetensors"


PRESET = {
    "target_module": ["Attention"],
    "target_name": [],
    "unet_target_module": ["Attention"],
    "unet_target_name": [],
}
for _name, _options, _words in (
    ("locon", {}, "LoRA"), ("loha", {}, "LoHa"), ("lokr", {"factor": 4}, "LoKr"), ("full", {}, "full"),
    ("ia3", {}, "IA3"), ("boft", {}, "OFT"),
    ("diag-oft", {}, "OFT"), ("glora", {}, "GLoRA"), ("dora", {"dora_wd": True, "algo": "locon"}, "DoRA"),
    ("tucker", {"use_tucker": True, "algo": "locon"}, "Tucker"),
):  # fmt: skip

    @writes(f"{_name} of LyCORIS", 0 if _words == "LoRA" else 2, _words)
    def _lycoris(out: Path, p: Parts, options: dict[str, Any] = _options, algo: str = _name) -> Path:
        LycorisNetwork.apply_preset(
            {"target_module": ["Attention", "ResnetBlock2D"] if algo == "tucker" else ["Attention"]}
        )
        unet = copy.deepcopy(p.unet)
        given = {"algo": algo, **options}
        network = create_lycoris(unet, 1.0, linear_dim=4, linear_alpha=2.0, conv_dim=4, **given)
        network.apply_to()
        for value in network.parameters():
            value.data += 0.05 * torch.randn_like(value)
        file = out.with_suffix(".safetensors")
        network.save_weights(
            str(file),
            torch.float32,
            {"ss_network_module": "lycoris.kohya", "ss_tag_frequency": '{"1_x": {">_<": 2}}'},
        )
        network.restore()
        return file


# --- embeddings and single files
@writes("embedding of diffusers' script", 2, "textual-inversion")
def _embedding(out: Path, p: Parts) -> Path:
    out.mkdir()
    save_file(
        {"<cat-toy>": torch.randn(1, 768)}, out / "learned_embeds.safetensors", metadata={"format": "pt"}
    )
    return out / "learned_embeds.safetensors"


@writes("embedding for two encoders", 2, "textual-inversion")
def _embedding_xl(out: Path, p: Parts) -> Path:
    out.mkdir()
    save_file({"clip_l": torch.randn(2, 768), "clip_g": torch.randn(2, 1280)}, out / "y2k.safetensors")
    return out / "y2k.safetensors"


for _name, _dtype in (
    ("", torch.float32),
    (" of half precision", torch.float16),
    (" in bfloat16", torch.bfloat16),
    (" of 8 bits", torch.float8_e4m3fn),
):

    @writes(f"single file{_name}")
    def _single(out: Path, p: Parts, dtype: torch.dtype = _dtype) -> Path:
        tensors = {
            k: v.to(dtype) if v.is_floating_point() else v
            for k, v in original_layout.tensors(p.pipeline()).items()
        }
        save_file(tensors, out.with_suffix(".safetensors"), metadata={"format": "pt"})
        return out.with_suffix(".safetensors")


@writes("folder with a single file, a card and previews")
def _repository(out: Path, p: Parts) -> Path:
    out.mkdir()
    original_layout.save(p.pipeline(), out / "realistic.safetensors")
    (out / "README.md").write_text("---\nlicense: mit\ntags:\n- stable-diffusion\n---\n# A model\n")
    (out / "realistic.preview.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    return out


@writes("training output", 2, "training")
def _training(out: Path, p: Parts) -> Path:
    for step in (500, 1000):
        saved(p.unet, out / f"checkpoint-{step}" / "unet")
    return out


@writes("pipeline in a folder of its own", 2, "folder of it")
def _nested(out: Path, p: Parts) -> Path:
    saved(p.pipeline(), out / "model")
    return out


@writes("what nightlatch saves")
def _ours(out: Path, p: Parts) -> Path:
    from nightlatch import testbed
    from nightlatch.text2image.model import loaders

    loaders.load(testbed.PIPELINE).save(out)
    return out


# --- other runtimes: the layouts of optimum 2.1 (as it exports a Stable Diffusion pipeline) and of diffusers' Flax classes
RUNTIMES = {
    "ONNX of optimum": ("ORT", ("model.onnx",), "ONNX"),
    "large ONNX of optimum": ("ORT", ("model.onnx", "model.onnx_data"), "ONNX"),
    "OpenVINO of optimum": ("OV", ("openvino_model.xml", "openvino_model.bin"), "OpenVINO"),
    "ONNX of diffusers": ("Onnx", ("model.onnx", "weights.pb"), "ONNX"),
}  # fmt: skip
CONTENTS = {
    ".onnx": b"\x08\x08\x12\x07pytorch\x1a\x062.13.0" + bytes(200),
    ".xml": b'<?xml version="1.0"?>\n<net name="Model0" version="11">\n</net>\n',
}


for _name, (_prefix, _files, _words) in RUNTIMES.items():

    @writes(f"pipeline in {_name}", 2, _words)
    def _exported(out: Path, p: Parts, prefix: str = _prefix, files: tuple[str, ...] = _files) -> Path:
        """The index keeps diffusers' classes and names of parts; the autoencoder is two parts."""
        saved(p.pipeline(), out)
        shutil.copytree(out / "vae", out / "vae_encoder")
        (out / "vae").rename(out / "vae_decoder")
        for weights in out.rglob("*.safetensors"):
            weights.unlink()
        for part in ("unet", "text_encoder", "vae_encoder", "vae_decoder"):
            for file in files:
                content = CONTENTS.get(Path(file).suffix, torch.randn(200).numpy().tobytes())
                (out / part / file).write_bytes(content)
            config = json.loads((out / part / "config.json").read_text())
            config["_class_name"] = {"unet": f"{prefix}Unet"}.get(part, f"{prefix}Model")
            (out / part / "config.json").write_text(json.dumps(config))
        index = json.loads((out / "model_index.json").read_text())
        index["_class_name"] = f"{prefix}StableDiffusionPipeline"
        (out / "model_index.json").write_text(json.dumps(index))
        return out
