"""PSPNet: features of a dilated ResNet beside their means over the image's parts, from a whole to a sixth.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017, sections 3.2 and 3.3, figures 3 and 4, with its
published definition, whose layers keep their names; those of the trunk are torchvision's. Not known to us for sure:
the names conv4_24 and conv6_1 of the auxiliary layers. Deviation: the definition is written for one size of image; ours
pads any other to sides of 8 q + 1 with zeros, and takes parts that do not divide as torch's adaptive pooling does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check, check_map
from densefield.networks.classifier import scoring
from densefield.networks.resampling import averages, bilinear, padded
from densefield.networks.resnet import ResNet

BINS = (6, 3, 2, 1)  # in the order in which the definition joins them


@described()
def pspnet101(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    width: Channels = 64,
    dropout: Share = 0.1,
    auxiliary: bool = True,
) -> PSPNet:
    """PSPNet on ResNet-101: 65,708,501 parameters for 21 classes, and 2,365,205 of its auxiliary head.

    The head, which helps in training only (the paper weighs its loss 0.4), stands behind the 23 blocks of res4; without
    it, `auxiliary=False`. Training needs batches of two or more: the whole image's mean is one value a channel.
    """
    trunk = ResNet(101, "caffe", in_channels, width=width, stem="3x3")
    return PSPNet(num_classes, trunk, 8 * width, dropout=dropout, auxiliary=auxiliary)


class PSPNet(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W), as `pspnet101` builds it.

    Every score depends on the whole image, so tiles are nearly, never quite, the whole: `reach` is unknown.
    """

    margin = 0
    reach: int | None = None

    def __init__(
        self, num_classes: int, trunk: ResNet, channels: int, *, dropout: float = 0.1, auxiliary: bool = True
    ) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        self.num_classes, self.in_channels, self.stride = num_classes, trunk.in_channels, trunk.stride
        self.trunk = trunk
        for bins in BINS:
            _add(self, f"conv5_3_pool{bins}_conv", trunk.channels, channels, 1)
        _add(self, "conv5_4", trunk.channels + len(BINS) * channels, channels, 3)
        self.dropout = nn.Dropout(dropout)
        self.conv6 = scoring(channels, num_classes)
        self.auxiliary = auxiliary
        self.all_strides = (1, self.stride) if auxiliary else (1,)
        if auxiliary:
            _add(self, "conv4_24", trunk.channels // 2, channels // 2, 3)
            self.conv6_1 = scoring(channels // 2, num_classes)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        return self._scores(self.trunk(padded(image, self.stride, 1)), image)

    def all_scores(self, image: Tensor) -> tuple[Tensor, ...]:
        """The scores, then the auxiliary head's at stride 8: score i lies at pixel 8 i."""
        check_map("image", image, self.in_channels)
        stages = dict(self.trunk.layers(padded(image, self.stride, 1)))
        scores = self._scores(stages["layer4"], image)
        if not self.auxiliary:
            return (scores,)
        rows, columns = ((length - 1) // self.stride + 1 for length in image.shape[2:])
        beside = self.conv6_1(self.dropout(self._layer("conv4_24", stages["layer3"])))
        return scores, beside[:, :, :rows, :columns]

    def _scores(self, features: Tensor, image: Tensor) -> Tensor:
        parts = (self._part(bins, features) for bins in BINS)
        joined = self._layer("conv5_4", torch.cat([features, *parts], dim=1))
        scores = self.conv6(self.dropout(joined))
        size = [(length - 1) * self.stride + 1 for length in scores.shape[2:]]
        scores = functional.interpolate(scores, size=size, mode="bilinear", align_corners=True)
        return scores[:, :, : image.shape[2], : image.shape[3]].contiguous()

    def _part(self, bins: int, features: Tensor) -> Tensor:  # (B, C, h, w) -> (B, channels, h, w)
        made = self._layer(f"conv5_3_pool{bins}_conv", averages(features, bins))
        return bilinear(made, *(_corners(length, bins, features) for length in features.shape[2:]))

    def _layer(self, name: str, features: Tensor) -> Tensor:
        normalized: Tensor = self.get_submodule(f"{name}_bn")(self.get_submodule(name)(features))
        return functional.relu(normalized)


def _add(network: nn.Module, name: str, before: int, after: int, kernel: int) -> None:
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    network.add_module(name, convolution)
    network.add_module(f"{name}_bn", nn.BatchNorm2d(after))


def _corners(length: int, bins: int, like: Tensor) -> Tensor:
    """Where `length` cells lie between `bins` whose corners are aligned with theirs."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    cells = torch.arange(length, dtype=dtype, device=like.device)
    return cells * (bins - 1) / cells[-1:].clamp(min=1)
