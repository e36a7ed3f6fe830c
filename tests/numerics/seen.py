"""What networks are held against: pixels that scores depend on by gradient, and the whole image's scores by tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.classes import ClassList
from densefield.segmenter import Segmenter


def awake(network: nn.Module) -> nn.Module:
    """Weights above zero that average, in float64: no unit of a narrow layer rests, scores are as large as pixels."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand_like(parameter) + 0.1)
            if parameter.dim() == 4:
                parameter /= parameter.sum((1, 2, 3), keepdim=True)
    return network.double().eval()


def open_to_gradients(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Let a gradient reach all that a score depends on: weights above zero, averages in place of maxima."""

    def average(values: Tensor, size: int, stride: int | None = None, padding: int = 0, **options: Any) -> Tensor:
        return functional.avg_pool2d(values, size, stride, padding, ceil_mode=options.get("ceil_mode", False))

    monkeypatch.setattr(functional, "max_pool2d", average)
    return awake(network)


def rows_seen(values: Tensor, image: Tensor, row: int) -> tuple[int, int]:
    """The first and the last row of `image` on which row `row` of `values` depends."""
    (gradient,) = torch.autograd.grad(values[:, :, row].sum(), image, retain_graph=True)
    rows = gradient.abs().amax((0, 1, 3)).nonzero().flatten()
    return int(rows[0]), int(rows[-1])


def farthest_seen(network: nn.Module, every: int = 1) -> tuple[int, int]:
    """How many rows before and after its own a score depends on at most, over `every` so many rows of a stride."""
    stride = network.stride
    middle = -(-(network.reach + 8) // stride) * stride
    image = torch.rand(1, network.in_channels, 2 * middle + stride, 1, dtype=torch.float64, requires_grad=True)
    scores = network(image)
    ends = [(row, *rows_seen(scores, image, row)) for row in range(middle, middle + stride, every)]
    assert all(first > 0 and last < image.shape[2] - 1 for _, first, last in ends)
    return max(row - first for row, first, _ in ends), max(last - row for row, _, last in ends)


def tiles_and_whole(network: nn.Module, size: tuple[int, int], tile: int, overlap: int) -> tuple[Tensor, Tensor]:
    """Scores (K, H, W) of a random image, in tiles and at once."""
    image = np.random.default_rng(int(torch.randint(2**31, ()))).integers(0, 256, (*size, 3), np.uint8)
    count = range(network.num_classes)
    classes = ClassList([str(number) for number in count], [(number, 0, 0) for number in count])

    def scores(side: int) -> Tensor:
        return Segmenter(network, classes, mean=(0.5,) * 3, std=(0.2,) * 3, tile=side, overlap=overlap).scores(image)

    return scores(tile), scores(max(size))
