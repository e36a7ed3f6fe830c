"""VGG's convolutions as a trunk: named layers that can be tapped, dilation instead of the last poolings.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1 (D);
poolings and dilation as DeepLab changes them (Chen et al. 2015, section 3.1, and its published definition).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import check, check_map

VGG16 = (2, 2, 3, 3, 3)  # convolutions of each block


class Layer(NamedTuple):
    """A convolution's features: feature i lies at pixel `stride`·i and sees no pixel further away than `reach`."""

    channels: int
    stride: int
    reach: int


class Pooling(NamedTuple):
    """A maximum over size × size features; Caffe's rounds the number of its results up."""

    size: int
    stride: int
    padding: int


class VGG(nn.Module):
    """Image (B, C, H, W) → features (B, `channels`, h, w) at stride s = `output_stride`; feature i lies at pixel s·i.

    `blocks` counts the 3×3 convolutions of each block, named as published (conv1_1 …); blocks have `width` × 1, 2, 4,
    8, 8 channels. Before every block but the first stands a maximum, of stride 2 until `output_stride` is reached;
    from there on the convolutions are dilated instead, and see as far. `pool` is its side: 3, padded by 1, or 2, the
    classifier's, unpadded; with `pool_padding` 1 padded where its stride is 2, as in DeepLab's first networks. The
    middle of what feature i sees lies at s·i + `offset`, 0 with 3×3 maxima. `batch_norm` normalises before each ReLU,
    for learning from scratch. A feature depends on no pixel further than `reach` from its own; `layout` says the same
    of every convolution, by name.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        blocks: Sequence[int] = VGG16,
        width: int = 64,
        output_stride: int = 8,
        pool: Literal[3, 2] = 3,
        pool_padding: Literal[0, 1] = 0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check(pool in (2, 3), f"pool: wanted 2 or 3, received {pool}")
        check(1 <= len(blocks) <= 5 and min(blocks) > 0, f"blocks: wanted 1 to 5 counts, received {tuple(blocks)}")
        check(output_stride in (1, 2, 4, 8, 16), f"output_stride: wanted 1, 2, 4, 8 or 16, received {output_stride}")
        self.in_channels, self.batch_norm = in_channels, batch_norm
        self.stride = 1
        self._poolings: list[Pooling | None] = []  # before each block
        self._names: list[list[str]] = []
        self.layout: dict[str, Layer] = {}
        channels, rate = in_channels, 1
        before = after = 0  # pixels that feature i sees on either side of pixel stride·i
        for block, count in enumerate(blocks):
            pooling = None
            if block:
                step = 2 if self.stride < output_stride else 1
                pooling = Pooling(pool, step, 1 if pool == 3 else pool_padding * (step - 1))
                before += self.stride * pooling.padding
                after += self.stride * (pool - 1 - pooling.padding)
                self.stride, rate = self.stride * step, rate * 2 // step
            self._poolings.append(pooling)
            self._names.append([f"conv{block + 1}_{index + 1}" for index in range(count)])
            for name in self._names[-1]:
                made = width * min(2**block, 8)
                self.add_module(name, _Convolution(channels, made, rate, batch_norm))
                channels = made
                before, after = before + self.stride * rate, after + self.stride * rate
                self.layout[name] = Layer(channels, self.stride, max(before, after))
        self.channels, self.reach, self.offset = channels, max(before, after), (after - before) / 2

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, channels, h, w)
        *_, (_, features) = self.layers(image)
        return features

    def layers(self, image: Tensor, *, poolings: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yield each convolution's name and output after its ReLU, from the image down; stop where you have enough.

        With `poolings` also what the maximum behind each block gives, as pool1, pool2 …
        """
        check_map("image", image, self.in_channels)
        features = image
        for block, (pooling, names) in enumerate(zip(self._poolings, self._names, strict=True)):
            if pooling is not None:
                features = functional.max_pool2d(features, *pooling, ceil_mode=True)
                if poolings:
                    yield f"pool{block}", features
            for name in names:
                features = self.get_submodule(name)(features)
                yield name, features


class _Convolution(nn.Sequential):
    def __init__(self, before: int, after: int, rate: int, batch_norm: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=rate, dilation=rate, bias=not batch_norm)
        if batch_norm:
            self.norm = nn.BatchNorm2d(after)
        self.activation = nn.ReLU()
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)
