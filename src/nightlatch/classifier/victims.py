"""The small networks that the experiments train: a ResNet for pictures of 32 x 32, and a ViT, both as
transformers models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.modeling_outputs import ImageClassifierOutput

from nightlatch.classifier.subject import Preprocessing, TorchSubject


class SmallResNetConfig(PretrainedConfig):  # type: ignore[misc]
    """Of ``SmallResNet``: width of the first stage, blocks a stage, classes, picture size."""

    model_type = "nightlatch-small-resnet"

    def __init__(
        self, width: int = 32, blocks: Sequence[int] = (2, 2, 2, 2), image_size: int = 32, **given: Any
    ) -> None:
        self.width, self.blocks, self.image_size = width, list(blocks), image_size
        super().__init__(**given)


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inner != outer:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


class SmallResNet(PreTrainedModel):  # type: ignore[misc]
    """A ResNet that does not halve a small picture before its first stage (He et al. 2016, section 4.2)."""

    config_class = SmallResNetConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        widths = [config.width * 2**i for i in range(len(config.blocks))]
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        stages, inner = [], widths[0]
        for i, (width, count) in enumerate(zip(widths, config.blocks, strict=True)):
            parts = [Block(inner if k == 0 else width, width, 2 if i and k == 0 else 1) for k in range(count)]
            stages.append(nn.Sequential(*parts))
            inner = width
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(inner, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> Any:
        x = self.stem(pixel_values)
        for stage in self.stages:
            x = stage(x)
        return ImageClassifierOutput(logits=self.classifier(x.mean((2, 3))))


AutoConfig.register(SmallResNetConfig.model_type, SmallResNetConfig, exist_ok=True)
AutoModelForImageClassification.register(SmallResNetConfig, SmallResNet, exist_ok=True)


def labelled(classes: Sequence[str]) -> dict[str, Any]:
    """What a transformers config says about classes."""
    return {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {c: k for k, c in enumerate(classes)},
    }


def resnet(
    classes: Sequence[str], size: int = 32, width: int = 32, blocks: Sequence[int] = (2, 2, 2, 2)
) -> TorchSubject:
    """ResNet-18 with ``width`` channels in its first stage, untrained."""
    config = SmallResNetConfig(width=width, blocks=blocks, image_size=size, **labelled(classes))
    return TorchSubject(
        SmallResNet(config), Preprocessing(size=(size, size)), classes, name=f"resnet-{width}"
    )


def vit_tiny(
    classes: Sequence[str], size: int = 32, patch: int = 4, width: int = 192, layers: int = 9
) -> TorchSubject:
    """A ViT-tiny (Touvron et al. 2021, table 1: width 192, 3 heads) for small pictures, untrained."""
    config = ViTConfig(
        image_size=size, patch_size=patch, hidden_size=width, num_hidden_layers=layers, num_attention_heads=3,
        intermediate_size=2 * width, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        **labelled(classes),
    )  # fmt: skip
    return TorchSubject(
        ViTForImageClassification(config), Preprocessing(size=(size, size)), classes, name="vit-tiny"
    )


VICTIMS = {"resnet": resnet, "vit-tiny": vit_tiny}
