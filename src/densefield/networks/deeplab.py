"""DeepLab's first networks: VGG-16 with holes, its classifier as convolutions of several sizes and rates.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional Nets and Fully
Connected CRFs", ICLR 2015, sections 3.1 and 3.2, table 2, with their published definitions; MSc is section 4.3. Not
known to us for sure: the order in which MSc joins, and that dropout follows its convolutions as it does fc6 and fc7;
the names of its layers are ours.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check
from densefield.networks.classifier import Fully, fully, scoring
from densefield.networks.resampling import padded
from densefield.networks.scales import Factors, Scaled, Scales
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
    fc6 = Fully(7, 64 * width, rate)
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
    fc6 = Fully(4, 64 * width, rate)
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
    fc6 = Fully(3, 16 * width, rate)
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
    fc6 = Fully(3, 16 * width, rate)
    joined = 2 * width
    return DeepLab(num_classes, trunk, fc6, joined, dropout=dropout, scales=scales, align_corners=align_corners)


class DeepLab(Scaled):
    """Image (B, C, H, W) → scores (B, K, H, W), by the layers of `trunk` and a classifier that begins with `fc6`.

    `joined`: of the image and of each of the first four maxima, a 3×3 and a 1×1 convolution of so many channels also go
    into the last layer. `field_of_view` is table 2's: what fc6 covers in the classifier's terms, not what reaches it.
    """

    trunk: VGG

    def __init__(
        self,
        num_classes: int,
        trunk: VGG,
        fc6: Fully,
        joined: int = 0,
        *,
        dropout: float = 0.5,
        scales: Factors = (1.0,),
        align_corners: bool = True,
    ) -> None:
        check(fc6.rate >= 1, f"rate: wanted at least 1, received {fc6.rate}")
        # LargeFOV alone, which came with the 3×3 maxima, averages behind pool5. Each sees a feature further.
        averages = trunk.offset == 0
        coarse = trunk.reach + trunk.stride * (1 + averages + fc6.half)
        super().__init__(num_classes, trunk, Scales(scales, align_corners=align_corners, offset=trunk.offset), coarse)
        self._averages, batch_norm = averages, trunk.batch_norm
        self.field_of_view = 2 * fc6.half * trunk.stride + 32
        self.fc6 = fully(trunk.channels, fc6, dropout, batch_norm)
        self.fc7 = fully(fc6.channels, Fully(1, fc6.channels), dropout, batch_norm)
        self._names = ["image", "pool1", "pool2", "pool3", "pool4"] if joined else []
        for name, (channels, stride) in zip(self._names, _tapped(trunk), strict=False):
            step = trunk.stride // stride
            self.add_module(f"{name}_3x3", fully(channels, Fully(3, joined), dropout, batch_norm, stride=step))
            self.add_module(f"{name}_1x1", fully(joined, Fully(1, joined), dropout, batch_norm))
        self.fc8 = scoring(fc6.channels + joined * len(self._names), num_classes)

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


def _tapped(trunk: VGG) -> list[tuple[int, int]]:
    """Channels and stride of the image and of each maximum but the last."""
    ends = [trunk.layout[name] for name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3")]
    strides = [trunk.layout[name].stride for name in ("conv2_1", "conv3_1", "conv4_1", "conv5_1")]
    return [(trunk.in_channels, 1), *zip((layer.channels for layer in ends), strides, strict=True)]
