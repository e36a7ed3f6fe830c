"""DeepLab's first networks: VGG-16 with holes, its classifier as convolutions of several sizes and rates.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional Nets and Fully
Connected CRFs", ICLR 2015, sections 3.1 and 3.2, table 2, with their published definitions; MSc is section 4.3. Not
known to us for sure: the order in which MSc joins, and that dropout follows its convolutions as it does fc6 and fc7;
the names of its layers are ours.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check, check_map
from densefield.networks.resampling import padded
from densefield.networks.scales import Factors, Scales
from densefield.networks.vgg import VGG


@described()
def deeplab_7x7(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    width: Channels = 64,
    rate: Channels = 4,
    dropout: Share = 0.5,
    batch_norm: bool = False,
    scales: Factors = (1.0,),
    align_corners: bool = True,
) -> DeepLab:
    """VGG-16 whole (DeepLab-CRF-7x7): 134,346,581 parameters for 21 classes; fc6, fc7 have 64 × `width` channels.

    Options as in `deeplab_largefov`.
    """
    trunk = VGG(in_channels, width=width, pool=2, pool_padding=1, batch_norm=batch_norm)
    fc6 = Fc6(7, rate, 64 * width)
    return DeepLab(num_classes, trunk, fc6, dropout=dropout, scales=scales, align_corners=align_corners)


@described()
def deeplab_4x4(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    width: Channels = 64,
    rate: Literal[4, 8] = 4,
    dropout: Share = 0.5,
    batch_norm: bool = False,
    scales: Factors = (1.0,),
    align_corners: bool = True,
) -> DeepLab:
    """Every other tap of fc6 (DeepLab-CRF, and at rate 8 DeepLab-CRF-4x4): 65,140,565 parameters for 21 classes.

    Options as in `deeplab_largefov`.
    """
    trunk = VGG(in_channels, width=width, pool=2, pool_padding=1, batch_norm=batch_norm)
    fc6 = Fc6(4, rate, 64 * width)
    return DeepLab(num_classes, trunk, fc6, dropout=dropout, scales=scales, align_corners=align_corners)


@described()
def deeplab_largefov(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    width: Channels = 64,
    rate: Channels = 12,
    dropout: Share = 0.5,
    batch_norm: bool = False,
    scales: Factors = (1.0,),
    align_corners: bool = True,
) -> DeepLab:
    """The LargeFOV network; 20.5 M parameters for 21 classes at the published `width` 64 (fc6, fc7: 16 × width).

    Scores are made at stride 8 and enlarged bilinearly, so boundaries are blurred over some 8 pixels: what a
    refinement is for. `batch_norm` and a smaller `width` make it learn from scratch on a few hundred images. With
    `scales`, such as (0.5, 0.75, 1.0), the largest scores of the image at several sizes count; `align_corners=False`
    places them as kazuto1011/deeplab-pytorch does.
    """
    trunk = VGG(in_channels, width=width, batch_norm=batch_norm)
    fc6 = Fc6(3, rate, 16 * width)
    return DeepLab(num_classes, trunk, fc6, dropout=dropout, scales=scales, align_corners=align_corners)


@described()
def deeplab_msc_largefov(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    width: Channels = 64,
    rate: Channels = 12,
    dropout: Share = 0.5,
    batch_norm: bool = False,
    scales: Factors = (1.0,),
    align_corners: bool = True,
) -> DeepLab:
    """LargeFOV that also sees the image and pool1 to pool4: 21,711,445 parameters for 21 classes.

    Options as in `deeplab_largefov`.
    """
    trunk = VGG(in_channels, width=width, batch_norm=batch_norm)
    fc6 = Fc6(3, rate, 16 * width)
    joined = 2 * width
    return DeepLab(num_classes, trunk, fc6, joined, dropout=dropout, scales=scales, align_corners=align_corners)


class Fc6(NamedTuple):
    """The first of the classifier's layers as a convolution."""

    kernel: int
    rate: int
    channels: int


class DeepLab(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W), by the layers of `trunk` and a classifier that begins with `fc6`.

    `joined`: of the image and of each of the first four maxima, a 3×3 and a 1×1 convolution of so many channels also go
    into the last layer. `field_of_view` is table 2's: what fc6 covers in the classifier's terms, not what reaches it.
    """

    margin = 0

    def __init__(
        self,
        num_classes: int,
        trunk: VGG,
        fc6: Fc6,
        joined: int = 0,
        *,
        dropout: float = 0.5,
        scales: Factors = (1.0,),
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        check(fc6.rate >= 1, f"rate: wanted at least 1, received {fc6.rate}")
        batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in trunk.modules())
        self.num_classes, self.in_channels = num_classes, trunk.in_channels
        self.trunk = trunk
        self._scales = Scales(scales, align_corners=align_corners, offset=trunk.offset)
        # LargeFOV alone, which came with the 3×3 maxima, averages behind pool5. Each sees a feature further.
        self._averages, half = trunk.offset == 0, (fc6.kernel - 1) * fc6.rate // 2
        coarse = trunk.reach + trunk.stride * (1 + self._averages + half)
        self.stride, self.reach = self._scales.stride, self._scales.reach(coarse)
        self.field_of_view = 2 * half * trunk.stride + 32
        self.fc6 = fully(trunk.channels, fc6, dropout, batch_norm)
        self.fc7 = fully(fc6.channels, Fc6(1, 1, fc6.channels), dropout, batch_norm)
        self._names = ["image", "pool1", "pool2", "pool3", "pool4"] if joined else []
        for name, (channels, stride) in zip(self._names, _tapped(trunk), strict=False):
            step = trunk.stride // stride
            self.add_module(f"{name}_3x3", fully(channels, Fc6(3, 1, joined), dropout, batch_norm, step))
            self.add_module(f"{name}_1x1", fully(joined, Fc6(1, 1, joined), dropout, batch_norm))
        self.fc8 = last(fc6.channels + joined * len(self._names), num_classes)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        return self._scales.scores(image, self._coarse)

    def all_scores(self, image: Tensor) -> tuple[Tensor, ...]:
        """The scores, then of several scales each one's: `densefield.networks.scales.Scales.all_scores`."""
        check_map("image", image, self.in_channels)
        return self._scales.all_scores(image, self._coarse)

    def _coarse(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, h, w)
        if not self._averages:  # 2×2 maxima: features 8 i + ½ cover sides of 8 q + 2, the authors' 306 and 514
            image = padded(image, self.trunk.stride, 2)
        elif self._names:  # strides of 8, 4 and 2 end where the maxima do at sides of 8 q + 1
            image = padded(image, self.trunk.stride, 1)
        tapped, features = {"image": image}, image
        for name, features in self.trunk.layers(image, poolings=bool(self._names)):
            if name in self._names:
                tapped[name] = features
        features = functional.max_pool2d(features, 3, stride=1, padding=1)
        if self._averages:
            features = functional.avg_pool2d(features, 3, stride=1, padding=1)
        joined = [self.fc7(self.fc6(features))]
        for name in self._names:
            joined.append(self.get_submodule(f"{name}_1x1")(self.get_submodule(f"{name}_3x3")(tapped[name])))
        scores: Tensor = self.fc8(torch.cat(joined, dim=1) if self._names else joined[0])
        return scores


def fully(before: int, layer: Fc6, dropout: float, batch_norm: bool, stride: int = 1) -> nn.Sequential:
    """One of the classifier's layers: convolution, [batch normalization,] ReLU, dropout."""
    convolution = nn.Conv2d(
        before,
        layer.channels,
        layer.kernel,
        stride,
        padding=(layer.kernel - 1) * layer.rate // 2,
        dilation=layer.rate,
        bias=not batch_norm,
    )
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    norm = [nn.BatchNorm2d(layer.channels)] if batch_norm else []
    return nn.Sequential(convolution, *norm, nn.ReLU(), nn.Dropout(dropout))


def last(before: int, num_classes: int, kernel: int = 1, rate: int = 1) -> nn.Conv2d:
    """The convolution that makes scores, begun as published: deviation 0.01, no bias."""
    scores = nn.Conv2d(before, num_classes, kernel, padding=kernel // 2 * rate, dilation=rate)
    nn.init.normal_(scores.weight, std=0.01)
    assert scores.bias is not None
    nn.init.zeros_(scores.bias)
    return scores


def _tapped(trunk: VGG) -> list[tuple[int, int]]:
    """Channels and stride of the image and of each maximum but the last."""
    ends = [trunk.layout[name] for name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3")]
    strides = [trunk.layout[name].stride for name in ("conv2_1", "conv3_1", "conv4_1", "conv5_1")]
    return [(trunk.in_channels, 1), *zip((layer.channels for layer in ends), strides, strict=True)]
