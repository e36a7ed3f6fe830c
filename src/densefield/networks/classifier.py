"""How a classifier becomes a network of scores: its fully connected layers as convolutions, and the last layer."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Fully(NamedTuple):
    """A fully connected layer as a convolution: a kernel of `kernel` × `kernel` taps, `rate` apart, of `channels`."""

    kernel: int
    channels: int
    rate: int = 1

    @property
    def half(self) -> int:
        """How far it reads to either side, in features."""
        return (self.kernel - 1) * self.rate // 2


def fully(
    before: int, layer: Fully, dropout: float, batch_norm: bool, *, stride: int = 1, padded: bool = True
) -> nn.Sequential:
    """Convolution, [batch normalization,] ReLU, dropout; `padded` keeps the size where the kernel is odd."""
    convolution = nn.Conv2d(
        before,
        layer.channels,
        layer.kernel,
        stride,
        padding=layer.half if padded else 0,
        dilation=layer.rate,
        bias=not batch_norm,
    )
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    norm = [nn.BatchNorm2d(layer.channels)] if batch_norm else []
    return nn.Sequential(convolution, *norm, nn.ReLU(), nn.Dropout(dropout))


def scoring(before: int, num_classes: int, *, kernel: int = 1, rate: int = 1, std: float = 0.01) -> nn.Conv2d:
    """The convolution that makes scores, begun as most are published: deviation `std`, no bias."""
    layer = nn.Conv2d(before, num_classes, kernel, padding=kernel // 2 * rate, dilation=rate)
    nn.init.normal_(layer.weight, std=std)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
