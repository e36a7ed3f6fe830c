"""Layers of released weights, whoever wrote the file: names, and values as PyTorch's layers have them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from densefield.weights.caffe import Numbers


class Scaling(NamedTuple):
    """(value − mean) / std a channel, of RGB in [0, 1]: how the released network read its images."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a file: its name there, what it may be called elsewhere, and its values by their PyTorch names.

    A normalization (`norm`) comes `after` a convolution; a `folded` one has only a factor and a bias. `turned`: its
    channels were BGR in the file.
    """

    name: str
    names: tuple[str, ...]
    values: Mapping[str, Numbers]
    norm: bool = False
    after: str | None = None
    folded: bool = False
    turned: bool = False


class Released(NamedTuple):
    """The layers in the file's order, how images were read where that is known, and the layers that are copies.

    `release` lets go of what has been read of the file so far.
    """

    layers: tuple[Layer, ...]
    scaling: Scaling | None
    copies: tuple[str, ...]
    release: Callable[[], None]


def less_mean(mean: Sequence[float]) -> Scaling:
    """Of networks that read 0 to 255 less a mean, given as RGB."""
    return Scaling(tuple(value / 255 for value in mean), (1 / 255,) * 3)
