"""What an adapter adds to a weight: equal to the layers of the libraries that write it, and to each kind's
definition written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import peft
import pytest
import torch
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from safetensors.torch import save_file

from nightlatch.intake.adapters import merge, parts
from nightlatch.intake.adapters.delta import delta
from nightlatch.intake.adapters.fit import NoFit

Array = npt.NDArray[np.float32]
LAYERS = {
    "linear": lambda: torch.nn.Linear(24, 16), "convolution": lambda: torch.nn.Conv2d(8, 16, 3),
    "pointwise": lambda: torch.nn.Conv2d(8, 16, 1),
}  # fmt: skip
INPUTS = {"linear": (3, 24), "convolution": (2, 8, 5, 5), "pointwise": (2, 8, 5, 5)}
ADAPTERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "locon": (LoConModule, {"lora_dim": 4, "alpha": 2.0}),
    "locon tucker": (LoConModule, {"lora_dim": 4, "alpha": 2.0, "use_tucker": True}),
    "loha": (LohaModule, {"lora_dim": 4, "alpha": 2.0}),
    "loha tucker": (LohaModule, {"lora_dim": 4, "alpha": 2.0, "use_tucker": True}),
    "lokr": (LokrModule, {"lora_dim": 2, "alpha": 1.0, "factor": 4}),
    "lokr of whole factors": (LokrModule, {"lora_dim": 100, "alpha": 1.0, "factor": 4}),
    "lokr of two products": (LokrModule, {"lora_dim": 1, "alpha": 3.0, "factor": 4, "decompose_both": True}),
    "lokr tucker": (LokrModule, {"lora_dim": 1, "alpha": 1.0, "factor": 4, "decompose_both": True, "use_tucker": True}),
    "ia3": (IA3Module, {}),
    "ia3 on inputs": (IA3Module, {"train_on_input": True}),
    "full": (FullModule, {}),
    "oft": (DiagOFTModule, {"lora_dim": 4}),
    "oft rescaled": (DiagOFTModule, {"lora_dim": 4, "rescaled": True}),
    "oft within its bound": (DiagOFTModule, {"lora_dim": 4, "constraint": 100.0}),
    "boft": (ButterflyOFTModule, {"lora_dim": 4}),
    "boft rescaled": (ButterflyOFTModule, {"lora_dim": 4, "rescaled": True}),
    "glora": (GLoRAModule, {"lora_dim": 3, "alpha": 2.0}),
    "dora of outputs": (LoConModule, {"lora_dim": 4, "alpha": 2.0, "weight_decompose": True, "wd_on_out": True}),
    "dora of inputs": (LoConModule, {"lora_dim": 4, "alpha": 2.0, "weight_decompose": True, "wd_on_out": False}),
}  # fmt: skip


def arrays(tensors: Mapping[str, torch.Tensor], layer: str = "layer") -> dict[str, Array]:
    """The parts of one layer, as they are read from a file."""
    named = {f"{layer}.{k}": v for k, v in tensors.items()}
    return {
        part: named[name].detach().float().numpy() for part, name in parts.split(named).layers[layer].items()
    }


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("layer", LAYERS)
def test_the_change_is_that_of_lycoris_layers(kind: str, layer: str) -> None:
    """The layer with the change in its weight gives what the library's adapted layer gives."""
    torch.manual_seed(0)
    plain = LAYERS[layer]()
    weight, bias = plain.weight.detach().clone(), plain.bias.detach().clone()
    make, options = ADAPTERS[kind]
    module = make("layer", plain, 1.0, **options)
    module.apply_to()
    for p in module.parameters():
        p.data += 0.2 * torch.randn_like(p)
    module.eval()
    x = torch.randn(*INPUTS[layer])
    with torch.no_grad():
        wanted = module.forward(x)
        found = delta(arrays(module.custom_state_dict() or module.state_dict()), weight.numpy())
        assert found.weight is not None
        changed = weight + torch.from_numpy(found.weight)
        shifted = bias if found.bias is None else bias + torch.from_numpy(found.bias)
        apply = torch.nn.functional.linear if layer == "linear" else torch.nn.functional.conv2d
        assert torch.allclose(apply(x, changed, shifted), wanted, atol=1e-4)
    assert np.abs(found.weight).max() > 1e-3


def test_norms_are_added() -> None:
    norm = torch.nn.LayerNorm(6)
    weight = norm.weight.detach().clone().numpy()
    module = NormModule("layer", norm)
    for p in module.parameters():
        p.data += torch.randn_like(p)
    found = delta(arrays(module.state_dict()), weight)
    assert found.weight is not None
    assert found.bias is not None
    assert np.allclose(found.weight, module.w_norm.detach().numpy())
    assert np.allclose(found.bias, module.b_norm.detach().numpy())


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"lora_bias": True}], ids=str)
def test_the_change_is_that_of_peft(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(24, 16))
    weight, bias = (p.detach().clone().numpy() for p in model[0].parameters())
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=2, target_modules=["0"], **options))
    for name, p in adapted.named_parameters():
        if "lora" in name:
            p.data += 0.2 * torch.randn_like(p)
    state = peft.get_peft_model_state_dict(adapted)
    held = arrays({k.removeprefix("base_model.model.0."): v for k, v in state.items()})
    found = delta({**held, "alpha": np.float32([2.0])}, weight)
    merged = adapted.merge_and_unload()[0]
    assert found.weight is not None
    assert np.allclose(weight + found.weight, merged.weight.detach().numpy(), atol=1e-5)
    assert np.allclose(
        bias + (0 if found.bias is None else found.bias), merged.bias.detach().numpy(), atol=1e-5
    )


def test_definitions_written_out() -> None:
    """Element by element, as the papers have them."""
    chance = np.random.default_rng(0)

    def some(*shape: int) -> Array:
        return chance.standard_normal(shape).astype(np.float32)

    core, up, down = some(2, 3, 2, 2), some(4, 2, 1, 1), some(3, 5, 1, 1)
    got = delta({"mid": core, "up": up, "down": down}, some(4, 5, 2, 2)).weight
    for i, j, a, b in np.ndindex(4, 5, 2, 2):
        wanted = sum(core[m, n, a, b] * up[i, m, 0, 0] * down[n, j, 0, 0] for m in range(2) for n in range(3))
        assert got is not None
        assert got[i, j, a, b] == pytest.approx(wanted, abs=1e-5)
    first, second = some(2, 3), some(4, 5)
    got = delta({"lokr_w1": first, "lokr_w2": second}, some(8, 15)).weight
    for i, j in np.ndindex(8, 15):
        assert got is not None
        assert got[i, j] == pytest.approx(first[i // 4, j // 5] * second[i % 4, j % 5], abs=1e-6)
    a, b, c, d = some(4, 2), some(2, 5), some(4, 2), some(2, 5)
    held = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": np.float32(3)}
    got = delta(held, some(4, 5)).weight
    for i, j in np.ndindex(4, 5):
        assert got is not None
        assert got[i, j] == pytest.approx(1.5 * (a[i] @ b[:, j]) * (c[i] @ d[:, j]), abs=1e-5)


def test_orthogonal_blocks_turn_outputs() -> None:
    """Lengths and angles of the outputs stay; blocks of two turn by twice the angle whose tangent they hold."""
    chance = np.random.default_rng(0)
    weight = chance.standard_normal((4, 5)).astype(np.float32)
    blocks = np.zeros((2, 2, 2), np.float32)
    blocks[:, 0, 1] = tangents = np.float32([0.3, -1.2])
    found = delta({"oft_blocks": blocks}, weight).weight
    for k, angle in enumerate(2 * np.arctan(tangents)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        assert found is not None
        assert np.allclose(
            weight[2 * k : 2 * k + 2] + found[2 * k : 2 * k + 2], turn @ weight[2 * k : 2 * k + 2], atol=1e-6
        )
    stages = chance.standard_normal((2, 2, 2, 2)).astype(np.float32)
    turned = delta({"oft_blocks": stages, "alpha": np.float32(0)}, weight).weight
    assert turned is not None
    assert np.allclose((weight + turned).T @ (weight + turned), weight.T @ weight, atol=1e-5)


def test_a_bound_that_programs_read_differently_is_not_guessed() -> None:
    blocks = np.full((2, 2, 2), 0.5, np.float32)
    blocks[:, 0, 1] = 2.0
    weight = np.eye(4, dtype=np.float32)
    with pytest.raises(NoFit, match="bound"):
        delta({"oft_blocks": blocks, "alpha": np.float32(1.0)}, weight)
    held = [delta({"oft_blocks": blocks, "alpha": np.float32(a)}, weight).weight for a in (0.0, 5.0)]
    assert np.array_equal(held[0], held[1])
    with pytest.raises(NoFit, match="strength"):
        delta({"oft_blocks": blocks}, weight, 0.5)


@pytest.mark.parametrize(
    "held",
    [
        {"up": (4, 2), "down": (3, 5)}, {"up": (4, 2), "down": (2, 6)}, {"diff": (4, 4)},
        {"ia3": (3,), "on_input": (1,)},
        {"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 1), "lokr_w2_a": (2, 2), "lokr_w2_b": (2, 5)}, {"up": (4, 2)},
        {"oft": (2, 2)}, {"oft_blocks": (2, 2)}, {"oft_blocks": (2, 3, 3)}, {"oft_blocks": (3, 2, 2, 2)},
        {"oft_blocks": (2, 2, 2), "rescale": (3,)}, {"oft_blocks": (1, 4, 1, 1)},
        {"glora_a1": (5, 2), "glora_a2": (2, 5), "glora_b1": (4, 2), "glora_b2": (2, 4)},
        {"glora_a1": (2, 5), "glora_a2": (5, 2), "glora_b1": (2, 4), "glora_b2": (5, 2)},
        {"glora_a1": (5,), "glora_a2": (5,), "glora_b1": (4,), "glora_b2": (5,)},
        {"glora_a1": (5, 5), "glora_a2": (5, 5), "glora_b1": (4, 5), "glora_b2": (5, 5)},
        {"up": (4, 2), "down": (2, 5), "dora": (7,)}, {"up": (4, 2), "down": (2, 5), "diff_b": (3,)},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_said(held: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(NoFit):
        delta({k: np.ones(s, np.float32) for k, s in held.items()}, np.ones((4, 5), np.float32))


MODULES = {
    "unet": ["down.0.attn1.to_q", "down.0.attn1.to_out.0"],
    "text_encoder": ["encoder.layers.0.mlp.fc1"],
}
SPELLINGS = {
    "kohya": ("lora_unet_down_0_attn1_to_q", "lora_unet_down_0_attn1_to_out_0", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    "lycoris": ("lycoris_down_0_attn1_to_q", "lycoris_down_0_attn1_to_out_0", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    "diffusers": ("unet.down.0.attn1.to_q", "unet.down.0.attn1.to_out.0", "text_encoder.text_model.encoder.layers.0.mlp.fc1"),
    "processors": ("unet.down.0.attn1.processor.to_q_lora", "unet.down.0.attn1.processor.to_out_lora", "text_encoder.encoder.layers.0.mlp.fc1"),
    "kohya's OFT": ("oft_unet_down_0_attn1_to_q", "oft_unet_down_0_attn1_to_out_0", "text_encoder.encoder.layers.0.mlp.fc1"),
    "peft": ("base_model.model.down.0.attn1.to_q", "base_model.model.down.0.attn1.to_out.0", "text_encoder.encoder.layers.0.mlp.fc1"),
}  # fmt: skip


@pytest.mark.parametrize("writer", SPELLINGS)
def test_every_layer_of_a_file_lands_on_its_module(tmp_path: Path, writer: str) -> None:
    tensors = {f"{name}.diff": torch.full((2, 2), float(i)) for i, name in enumerate(SPELLINGS[writer])}
    save_file(tensors, tmp_path / "a.safetensors")
    found = list(merge.changes(tmp_path / "a.safetensors", MODULES, lambda _: np.zeros((2, 2), np.float32)))
    assert {c.place: c.delta.weight[0, 0] for c in found if c.delta.weight is not None} == {
        ("unet", "down.0.attn1.to_q"): 0, ("unet", "down.0.attn1.to_out.0"): 1,
        ("text_encoder", "encoder.layers.0.mlp.fc1"): 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("lora_unet_down_1_attn1_to_q.diff",), "no place"),
        (("unet.down.0.attn1.to_q.diff", "lora_unet_down_0_attn1_to_q.diff"), "same weight"),
        (("unet.down.0.attn1.to_q.diff", "junk"), "no layer"),
        (("unet.down.0.attn1.to_q.oft_R.weight",), "no kind"),
        (("unet.down.0.attn1.to_q.oft_blocks",), "no square"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_land_whole_is_not_merged(
    tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    save_file({name: torch.ones(2, 2) for name in names}, tmp_path / "a.safetensors")
    with pytest.raises(NoFit, match=said):
        list(merge.changes(tmp_path / "a.safetensors", MODULES, lambda _: np.zeros((2, 2), np.float32)))
