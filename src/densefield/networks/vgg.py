"""VGG's convolutions as a trunk: named layers that can be tapped, dilation instead of the last poolings.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1 (D);
poolings and dilation as DeepLab changes them (Chen et al. 2015, section 3.1, and its published definition), or the
classifier's own poolings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import check, check_map

VGG16 = (2, 2, 3, 3, 3)  # convolutions of each block


class Layer(NamedTuple):
    """A layer's features: feature i sees no pixel further than `reach` from pixel `stride`·i."""

    channels: int
    stride: int
    reach: int


class VGG(nn.Module):
    """Image (B, C, H, W) → features (B, `channels`, h, w) at stride s = `output_stride`; feature i lies at pixel s·i.

    `blocks` counts the 3×3 convolutions of each block, named as published (conv1_1 …); blocks have `width` × 1, 2, 4,
    8, 8 channels. Before every block but the first stands a 3×3 maximum, of stride 2 until `output_stride` is reached;
    from there on the convolutions are dilated instead, and see as far. `pool=2` takes the classifier's 2×2 maxima, and
    none where the stride would be 1: feature i then lies between pixels, at s·i + (s − 1)/2. `batch_norm` normalises
    before each ReLU, for learning from scratch. A feature depends on no pixel further than `reach` from s·i; `layout`
    says the same of every convolution and pooling, by name.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        blocks: Sequence[int] = VGG16,
        width: int = 64,
        output_stride: int = 8,
        pool: Literal[2, 3] = 3,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check(1 <= len(blocks) <= 5 and min(blocks) > 0, f"blocks: wanted 1 to 5 counts, received {tuple(blocks)}")
        check(output_stride in (1, 2, 4, 8, 16), f"output_stride: wanted 1, 2, 4, 8 or 16, received {output_stride}")
        check(pool in (2, 3), f"pool: wanted 2 or 3, received {pool}")
        self.in_channels, self.pool = in_channels, pool
        self.stride, self.reach = 1, 0
        self._poolings: list[int] = []  # the stride of the pooling before each block; 0: none
        self._names: list[list[str]] = []
        self.layout: dict[str, Layer] = {}
        channels, rate = in_channels, 1
        for block, count in enumerate(blocks):
            step = 0
            if block:
                step = 2 if self.stride < output_stride else 1
                rate = rate * 2 // step
                if step == 1 and pool == 2:
                    step = 0
                else:
                    self.reach += self.stride
                    self.stride *= step
                    self.layout[f"pool{block}"] = Layer(channels, self.stride, self.reach)
            self._poolings.append(step)
            self._names.append([f"conv{block + 1}_{index + 1}" for index in range(count)])
            for name in self._names[-1]:
                after = width * min(2**block, 8)
                self.add_module(name, _Convolution(channels, after, rate, batch_norm))
                channels = after
                self.reach += self.stride * rate
                self.layout[name] = Layer(channels, self.stride, self.reach)
        self.channels = channels

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, channels, h, w)
        *_, (_, features) = self.layers(image)
        return features

    def layers(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each layer's name and output, of convolutions after their ReLU; stop where you have enough."""
        check_map("image", image, self.in_channels)
        features = image
        for block, (step, names) in enumerate(zip(self._poolings, self._names, strict=True)):
            if step:
                features = functional.max_pool2d(
                    features, self.pool, stride=step, padding=self.pool - 2, ceil_mode=True
                )
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
