"""What a network says of its scores' geometry, held against its gradients and its tiles; bilinear values by numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from densefield.segmenter.tiling import padded_spans, score_tiles


def positive(network: nn.Module) -> nn.Module:
    """The network in float64 with weights of one sign, so that no ReLU hides a path, and small ones."""
    network = network.eval().double()
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_().clamp_(1e-3, 0.5)
    return network


def seen(network: nn.Module, length: int, width: int = 1) -> int:
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


def tiled(network: nn.Module, image: Tensor, tile: int) -> Tensor:
    """The scores of `image` put together from tiles that overlap by the network's reach."""
    rows, columns = (
        padded_spans(length, tile=tile, overlap=network.reach, stride=network.stride) for length in image.shape[2:]
    )
    assert len(rows) > 1
    with torch.no_grad():
        parts = score_tiles(
            lambda row, column: network(image[:, :, row.start : row.stop, column.start : column.stop]), rows, columns
        )
        scores = torch.full((image.shape[0], network.num_classes, *image.shape[2:]), torch.nan, dtype=image.dtype)
        for top, left, part in parts:
            scores[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
    return scores


def between(maps: Tensor, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Tensor:
    """Bilinear values of (B, C, h, w) at real positions, in cells; outside the first and last cell theirs."""
    values = maps.detach().numpy()
    for axis, positions in ((2, rows), (3, columns)):
        cells = np.arange(values.shape[axis])
        values = np.apply_along_axis(lambda line, at=positions, of=cells: np.interp(at, of, line), axis, values)
    return torch.from_numpy(values)
