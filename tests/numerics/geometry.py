"""What networks are held against: how far scores see, tiles beside the whole image, values between pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
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


def positive(network: nn.Module) -> nn.Module:
    """The network in float64 with weights of one sign, so that no ReLU hides a path, and small ones."""
    network = network.eval().double()
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_().clamp_(1e-3, 0.5)
    return network


def unsettled(network: nn.Module) -> nn.Module:
    """`network` in float64 and evaluation, with other statistics and shifts than a fresh one's."""
    for name, tensor in [*network.named_buffers(), *network.named_parameters()]:
        with torch.no_grad():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif name.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.3)
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


def field_by_gradient(
    network: nn.Module, made: nn.Module, side: int, monkeypatch: pytest.MonkeyPatch, *, across: int = 1
) -> int:
    """How many rows of `side` × `across` pixels the middle output of the layer `made` depends on.

    A kernel of an even number of columns has none above column 0: the image must be as wide as one of them reaches.
    """
    found: list[Tensor] = []
    made.register_forward_hook(lambda module, given, output: found.append(output))
    open_to_gradients(network, monkeypatch)
    image = torch.rand(1, network.in_channels, side, across, dtype=torch.float64, requires_grad=True)
    network(image)
    first, last = rows_seen(found[0], image, found[0].shape[2] // 2)
    assert 0 < first < last < side - 1  # else the image was too small to tell
    return last - first + 1


def farthest_seen(network: nn.Module, every: int = 1) -> tuple[int, int]:
    """How many rows before and after its own a score depends on at most, over `every` so many rows of a stride."""
    stride = network.stride
    middle = -(-(network.reach + 8) // stride) * stride
    image = torch.rand(1, network.in_channels, 2 * middle + stride, 1, dtype=torch.float64, requires_grad=True)
    scores = network(image)
    ends = [(row, *rows_seen(scores, image, row)) for row in range(middle, middle + stride, every)]
    assert all(first > 0 and last < image.shape[2] - 1 for _, first, last in ends)
    return max(row - first for row, first, _ in ends), max(last - row for row, _, last in ends)


def seen_by_maxima(network: nn.Module, length: int, width: int = 1) -> int:
    """How far up and down scores around the middle of an image of `length` rows see, over a whole stride and more."""
    ramp = torch.linspace(0, 1, length, dtype=torch.float64)
    furthest = 0
    for rows in (ramp, ramp.flip(0)):  # a maximum passes only its largest on
        image = rows[None, None, :, None].expand(1, 3, -1, width).clone().requires_grad_()
        scores = network(image)
        for row in range(length // 2 - 9, length // 2 + 9):
            (gradient,) = torch.autograd.grad(scores[0, :, row, 0].sum(), image, retain_graph=True)
            touched = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
            furthest = max(furthest, row - int(touched.min()), int(touched.max()) - row)
    return furthest


def seen_by_changes(network: nn.Module, length: int, across: int, step: int = 1) -> int:
    """The largest distance, down an image of length × across pixels, from a pixel to a score that changes with it.

    All pixels behind a border, or before it, take other values, for every `step`-th place that the border can have in
    a stride. Those are loud, so that comparisons of maxima turn over too. Weights are made positive first: units at
    rest hide what they see.
    """
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_()
    first = torch.rand(1, 3, length, across, dtype=torch.float64)
    other = 1e6 * torch.rand_like(first)
    found = 0
    with torch.no_grad():
        scores = network(first)
        for border in range(length // 2, length // 2 + network.stride, step):
            rows = _changed(scores, network(torch.cat([first[:, :, :border], other[:, :, border:]], dim=2)))
            found = max(found, border - int(rows.min()))
            rows = _changed(scores, network(torch.cat([other[:, :, :border], first[:, :, border:]], dim=2)))
            found = max(found, int(rows.max()) - (border - 1))
    return found


def _changed(scores: Tensor, others: Tensor) -> Tensor:
    return (scores != others).any(3).any(1)[0].nonzero()


def assert_tiles_equal_the_whole(network: nn.Module, image: Tensor, tile: int) -> None:
    """`image` (3, H, W) is read in several tiles that overlap by the network's own `reach`."""
    count = int(network.num_classes)
    classes = ClassList(names=[f"class {i}" for i in range(count)], colors=[(i, i, i) for i in range(count)])
    scaling = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    whole = Segmenter(network, classes, tile=10_000, **scaling)
    tiled = Segmenter(network, classes, tile=tile, overlap=network.reach, **scaling)
    assert len(list(tiled.score_tiles(image))) > 1
    assert (whole.scores(image).std((1, 2)) > 1e-6).all()  # units that rest would hide a seam
    torch.testing.assert_close(tiled.scores(image), whole.scores(image), rtol=1e-10, atol=1e-10)


def between(maps: Tensor, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Tensor:
    """Bilinear values of (B, C, h, w) at real positions, in cells; outside the first and last cell theirs."""
    values = maps.detach().numpy()
    for axis, positions in ((2, rows), (3, columns)):
        cells = np.arange(values.shape[axis])
        values = np.apply_along_axis(lambda line, at=positions, of=cells: np.interp(at, of, line), axis, values)
    return torch.from_numpy(values)
