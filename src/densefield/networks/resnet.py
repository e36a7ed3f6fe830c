"""ResNet's layers as a trunk at stride 8: dilation in place of the strides of the last two stages.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1; dilated as DeepLab v2's
published definition or torchvision has it. Layers have torchvision's names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import check, check_map

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # bottlenecks of each stage
EXPANSION = 4
STRIDE = 8


class ResNet(nn.Module):
    """Image (B, C, H, W) → features (B, `channels`, h, w) at stride 8; feature i lies at pixel 8 i.

    `convention` "caffe", the authors' and DeepLab v2's: a stage's stride is taken by its first 1×1 convolution, the
    maximum rounds up, and all blocks of res4 and res5 are dilated by 2 and 4. "torchvision": the 3×3 takes the stride,
    the maximum rounds down, and a dilated stage's first block keeps the rate before it. Weights are not exchangeable.
    `stem` is the 7×7 convolution, or PSPNet's three of 3×3. A feature depends on no pixel further than `reach`.
    """

    def __init__(
        self,
        depth: Literal[50, 101],
        convention: Literal["caffe", "torchvision"],
        in_channels: int = 3,
        *,
        width: int = 64,
        stem: Literal["7x7", "3x3"] = "7x7",
    ) -> None:
        super().__init__()
        check(depth in BLOCKS, f"depth: wanted 50 or 101, received {depth}")
        check(
            convention in ("caffe", "torchvision"),
            f"convention: wanted 'caffe' or 'torchvision', received {convention!r}",
        )
        check(stem in ("7x7", "3x3"), f"stem: wanted '7x7' or '3x3', received {stem!r}")
        self.in_channels, self.stride = in_channels, STRIDE
        self._rounds_up = convention == "caffe"
        sizes = [(7, width, 2)] if stem == "7x7" else [(3, width, 2), (3, width, 1), (3, 2 * width, 1)]
        channels, stride, self.reach = in_channels, 1, 0
        self._stem = [f"{index}" for index in range(1, len(sizes) + 1)]
        for index, (size, after, step) in zip(self._stem, sizes, strict=True):
            self.add_module(f"conv{index}", nn.Conv2d(channels, after, size, step, size // 2, bias=False))
            self.add_module(f"bn{index}", nn.BatchNorm2d(after))
            self.reach += stride * (size // 2)
            channels, stride = after, stride * step
        self.reach += stride  # of the maximum
        stride *= 2
        rate = 1
        for stage, count in enumerate(BLOCKS[depth]):
            before, rate, step = rate, max(1, 2 ** (stage - 1)), 2 if stage == 1 else 1
            inside = Rates(convention == "caffe", step, rate if convention == "caffe" else before)
            blocks = [Bottleneck(channels, width * 2**stage, inside, shortcut=True)]
            self.reach += inside.rate * stride * (step if inside.first else 1)
            channels, stride = EXPANSION * width * 2**stage, stride * step
            for _ in range(count - 1):
                blocks.append(Bottleneck(channels, width * 2**stage, Rates(False, 1, rate)))
                self.reach += rate * stride
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.channels = channels
        _initialize(self)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, channels, h, w)
        *_, (_, features) = self.layers(image)
        return features

    def layers(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each stage's name, layer1 to layer4, and what it gives."""
        check_map("image", image, self.in_channels)
        features = image
        for index in self._stem:
            normalized = self.get_submodule(f"bn{index}")(self.get_submodule(f"conv{index}")(features))
            features = functional.relu(normalized)
        features = functional.max_pool2d(features, 3, stride=2, padding=1, ceil_mode=self._rounds_up)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            features = self.get_submodule(name)(features)
            yield name, features


class Rates(NamedTuple):
    """Of a bottleneck: whether its first convolution takes the stride or the 3×3, the stride, the 3×3's rate."""

    first: bool
    stride: int
    rate: int


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, added to what came in, or to a 1×1 convolution of it (`shortcut`)."""

    def __init__(self, before: int, inside: int, rates: Rates, *, shortcut: bool = False) -> None:
        super().__init__()
        first, stride, rate = rates
        self.conv1 = nn.Conv2d(before, inside, 1, stride if first else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, 1 if first else stride, padding=rate, dilation=rate, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3 = nn.Conv2d(inside, EXPANSION * inside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(EXPANSION * inside)
        self.downsample = None
        if shortcut:
            through = nn.Conv2d(before, EXPANSION * inside, 1, stride, bias=False)
            self.downsample = nn.Sequential(through, nn.BatchNorm2d(EXPANSION * inside))

    def forward(self, features: Tensor) -> Tensor:
        made = functional.relu(self.bn1(self.conv1(features)))
        made = functional.relu(self.bn2(self.conv2(made)))
        made = self.bn3(self.conv3(made))
        return functional.relu(made + (features if self.downsample is None else self.downsample(features)))


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
