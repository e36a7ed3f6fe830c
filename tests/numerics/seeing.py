"""How far a network sees, and whether its tiles are seamless, found from its scores alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from densefield.classes import ClassList
from densefield.segmenter import Segmenter


def farthest(network: nn.Module, length: int, across: int, step: int = 1) -> int:
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
    torch.testing.assert_close(tiled.scores(image), whole.scores(image))


def unsettled(network: nn.Module) -> nn.Module:
    """`network` in float64 and evaluation, with other statistics and shifts than a fresh one's."""
    for name, tensor in [*network.named_buffers(), *network.named_parameters()]:
        with torch.no_grad():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif name.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.3)
    return network.double().eval()
