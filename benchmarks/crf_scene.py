"""What the benchmarks of the dense CRF run on: a photograph, network-like scores, the default kernels."""

from __future__ import annotations

import importlib

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from densefield.ops.mean_field import GridTerm, LatticeTerm

WIDTHS = {"80x13": (80.0, 13.0), "49x5": (49.0, 5.0), "67x3": (67.0, 3.0), "1080p": (80.0, 13.0)}


def photograph(case: str) -> np.ndarray:  # (H, W, 3) uint8
    """Give a photograph that ships with scikit-image, in the case's size."""
    data = importlib.import_module("skimage.data")
    size = (1920, 1080) if case == "1080p" else (500, 375)
    return np.array(
        Image.fromarray(data.stereo_motorcycle()[0]).crop((0, 0, 667, 500)).resize(size, Image.Resampling.BICUBIC)
    )


def network_like_scores(labels: int, height: int, width: int) -> Tensor:  # (1, labels, H, W)
    """Give scores as a network of output stride 32 does: a few labels strong, smooth, a little noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = 4 * torch.randn(1, labels, height // 32 + 2, width // 32 + 2, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return smooth + 0.5 * torch.randn(1, labels, height, width, generator=generator)


def terms_of(image: np.ndarray, alpha: float, beta: float) -> list[GridTerm | LatticeTerm]:
    """Give the default kernels: spatial weight 3, width 3; bilateral weight 10."""
    height, width, _ = image.shape
    features = torch.empty(5, height, width)
    features[0] = torch.arange(width)
    features[1] = torch.arange(height)[:, None]
    features[2:] = torch.from_numpy(image).permute(2, 0, 1)
    widths = torch.tensor([alpha, alpha, beta, beta, beta])
    return [
        GridTerm(torch.tensor([3.0, 3.0]), torch.tensor(-3.0)),
        LatticeTerm(features.reshape(1, 5, -1), widths, torch.tensor(-10.0)),
    ]
