"""DeepLab's second networks: branches of several rates (ASPP) on VGG-16 and on ResNet-101, at several scales.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", PAMI 2017, section 3.2, figure 7, tables 3 and 4, with their published
definitions. The authors keep the statistics of ResNet's batch normalization as they were while they train; ours follow
the mode of the module.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check, shown
from densefield.networks.classifier import Fully, fully, scoring
from densefield.networks.resnet import ResNet
from densefield.networks.scales import Factors, Scaled, Scales
from densefield.networks.vgg import VGG

Rates: TypeAlias = Annotated[
    Sequence[Channels], Field(min_length=1, max_length=16, description="a branch for each; one is LargeFOV's")
]
ASPP_L = (6, 12, 18, 24)  # ASPP-S is (2, 4, 8, 12)


@described()
def deeplab_aspp_vgg16(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    width: Channels = 64,
    rates: Rates = ASPP_L,
    dropout: Share = 0.5,
    batch_norm: bool = False,
    scales: Factors = (1.0,),
    align_corners: bool = True,
) -> DeepLabVGG:
    """DeepLab v2 on VGG-16: a classifier fc6, fc7, fc8 for each of `rates`, summed; 37,877,652 parameters, 21 classes.

    `scales` and `align_corners` as in `deeplab_largefov`; `batch_norm` and a smaller `width` to learn from scratch.
    """
    trunk = VGG(in_channels, width=width, batch_norm=batch_norm)
    channels = 16 * width
    return DeepLabVGG(
        num_classes, trunk, channels, rates=rates, dropout=dropout, scales=scales, align_corners=align_corners
    )


@described()
def deeplab_resnet101(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    width: Channels = 64,
    rates: Rates = ASPP_L,
    scales: Factors = (1.0,),
    align_corners: bool = True,
) -> DeepLabResNet:
    """DeepLab v2 on ResNet-101: a 3×3 convolution for each of `rates`, summed; 44,048,532 parameters for 21 classes.

    `rates=(12,)` is its LargeFOV, 42,887,253. Published with `scales=(0.5, 0.75, 1.0)`; those and `align_corners` as in
    `deeplab_largefov`.
    """
    trunk = ResNet(101, "caffe", in_channels, width=width)
    return DeepLabResNet(num_classes, trunk, rates=rates, scales=scales, align_corners=align_corners)


class DeepLabVGG(Scaled):
    """Image (B, C, H, W) → scores (B, K, H, W), as `deeplab_aspp_vgg16` builds it."""

    def __init__(
        self,
        num_classes: int,
        trunk: VGG,
        channels: int,
        *,
        rates: Sequence[int],
        dropout: float = 0.5,
        scales: Sequence[float] = (1.0,),
        align_corners: bool = True,
    ) -> None:
        _check(rates)
        coarse = trunk.reach + trunk.stride * (1 + max(rates))  # 1: pool5
        super().__init__(num_classes, trunk, Scales(scales, align_corners=align_corners), coarse)
        self._branches = range(1, len(rates) + 1)
        for branch, rate in zip(self._branches, rates, strict=True):
            self.add_module(f"fc6_{branch}", fully(trunk.channels, Fully(3, channels, rate), dropout, trunk.batch_norm))
            self.add_module(f"fc7_{branch}", fully(channels, Fully(1, channels), dropout, trunk.batch_norm))
            self.add_module(f"fc8_{branch}", scoring(channels, num_classes))

    def _coarse(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, h, w)
        features = functional.max_pool2d(self.trunk(image), 3, stride=1, padding=1)
        return _sum(self._branch(branch, features) for branch in self._branches)

    def _branch(self, branch: int, features: Tensor) -> Tensor:
        for layer in ("fc6", "fc7", "fc8"):
            features = self.get_submodule(f"{layer}_{branch}")(features)
        return features


class DeepLabResNet(Scaled):
    """Image (B, C, H, W) → scores (B, K, H, W), as `deeplab_resnet101` builds it."""

    def __init__(
        self,
        num_classes: int,
        trunk: ResNet,
        *,
        rates: Sequence[int],
        scales: Sequence[float] = (1.0,),
        align_corners: bool = True,
    ) -> None:
        _check(rates)
        coarse = trunk.reach + trunk.stride * max(rates)
        super().__init__(num_classes, trunk, Scales(scales, align_corners=align_corners, round_up=False), coarse)
        self._branches = [f"fc1_c{branch}" for branch in range(len(rates))]
        for name, rate in zip(self._branches, rates, strict=True):
            self.add_module(name, scoring(trunk.channels, num_classes, kernel=3, rate=rate))

    def _coarse(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, h, w)
        features = self.trunk(image)
        return _sum(self.get_submodule(name)(features) for name in self._branches)


def _check(rates: Sequence[int]) -> None:
    several = isinstance(rates, Sequence) and len(rates) > 0
    check(several and min(rates) >= 1, f"rates: wanted a list of numbers of at least 1, received {shown(rates)}")


def _sum(branches: Iterable[Tensor]) -> Tensor:
    return functools.reduce(operator.add, branches)  # one at a time, so that only two are held
