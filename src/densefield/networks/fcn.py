"""Fully convolutional networks: a classifier slid over the image, its scores enlarged, those of finer layers added.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015: sections 3 and 4, figure
3, tables 1 and 2; the PAMI 2017 version for learning all at once. Layers, names, paddings and crops are the released
definitions' (fcn.berkeleyvision.org). The image is padded by 100, so that any size gives a score.
FCN-GoogLeNet was never released: the paper's (the final average left out), padded and cropped as the others are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check, check_map
from densefield.networks.alexnet import AlexNet
from densefield.networks.classifier import Fully, fully
from densefield.networks.googlenet import GoogLeNet
from densefield.networks.vgg import VGG

PADDING = 100  # pixels, by the first convolution
Deconvolution: TypeAlias = Literal["fixed", "learned"]


class Skip(NamedTuple):
    """Scores of a finer layer, added where those of the coarser ones, enlarged by `enlarge`, lie."""

    layer: str
    enlarge: str
    offset: int  # of the finer layer's features to the first of the enlarged scores
    scale: float = 1.0


POOL4, POOL3 = Skip("pool4", "upscore2", 5), Skip("pool3", "upscore_pool4", 9)


@described()
def fcn32s(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    deconvolution: Deconvolution = "fixed",
    width: Channels = 64,
    dropout: Share = 0.5,
    batch_norm: bool = False,
) -> FCN:
    """FCN-32s on VGG-16; 136,152,917 parameters for 21 classes, of which 1,806,336 are the deconvolution's.

    `deconvolution="fixed"` enlarges bilinearly, as the reference code does; `"learned"` begins so and learns, as the
    2015 paper does. `width` (fc6, fc7: 64 × width) and `batch_norm` are for learning from scratch.
    """
    return FCN(
        num_classes, in_channels, deconvolution=deconvolution, width=width, dropout=dropout, batch_norm=batch_norm
    )


@described()
def fcn16s(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    deconvolution: Deconvolution = "fixed",
    width: Channels = 64,
    dropout: Share = 0.5,
    batch_norm: bool = False,
) -> FCN:
    """FCN-16s: `fcn32s` with scores of pool4 added; 134,815,994 parameters for 21 classes, 458,640 deconvolutions'."""
    return FCN(
        num_classes,
        in_channels,
        skips=(POOL4,),
        deconvolution=deconvolution,
        width=width,
        dropout=dropout,
        batch_norm=batch_norm,
    )


@described()
def fcn8s(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    deconvolution: Deconvolution = "fixed",
    width: Channels = 64,
    dropout: Share = 0.5,
    batch_norm: bool = False,
) -> FCN:
    """FCN-8s: `fcn16s` with scores of pool3 added; 134,489,759 parameters for 21 classes, 127,008 deconvolutions'."""
    return FCN(
        num_classes,
        in_channels,
        skips=(POOL4, POOL3),
        deconvolution=deconvolution,
        width=width,
        dropout=dropout,
        batch_norm=batch_norm,
    )


@described()
def fcn8s_at_once(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    deconvolution: Deconvolution = "fixed",
    width: Channels = 64,
    dropout: Share = 0.5,
    batch_norm: bool = False,
) -> FCN:
    """FCN-8s to be learned in one go: `fcn8s` with pool4 × 0.01 and pool3 × 0.0001 before their score layers.

    Released files hold these two numbers once for each channel, in layers of their own; here they are `constants`.
    """
    return FCN(
        num_classes,
        in_channels,
        skips=(POOL4._replace(scale=0.01), POOL3._replace(scale=0.0001)),
        deconvolution=deconvolution,
        width=width,
        dropout=dropout,
        batch_norm=batch_norm,
    )


@described()
def fcn32s_alexnet(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    deconvolution: Deconvolution = "fixed",
    width: Channels = 16,
    dropout: Share = 0.5,
) -> CoarseFCN:
    """FCN-32s on AlexNet; 58,704,590 parameters for 21 classes, of which 1,750,329 are the deconvolution's.

    `deconvolution` as in `fcn32s`; layers have `width` × 6, 16, 24, 24, 16 and 256 channels.
    """
    trunk = AlexNet(in_channels, width=width, dropout=dropout)
    return CoarseFCN(trunk, num_classes, padding=PADDING, offset=18, reach=177 + 31, deconvolution=deconvolution)


@described()
def fcn32s_googlenet(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    deconvolution: Deconvolution = "fixed",
    width: Channels = 8,
    dropout: Share = 0.4,
) -> CoarseFCN:
    """FCN-32s on GoogLeNet; 7,745,406 parameters for 21 classes, of which 1,750,329 are the deconvolution's.

    `deconvolution` as in `fcn32s`; `width` 8 is the paper's (inception_5b: 128 × width channels), and so is `dropout`.
    """
    return CoarseFCN(
        GoogLeNet(in_channels, width=width),
        num_classes,
        padding=PADDING - 3,
        offset=98,
        reach=357 + 31,
        dropout=dropout,
        deconvolution=deconvolution,
    )


class FCN(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W) on VGG-16, as `fcn32s`, `fcn16s`, `fcn8s`, `fcn8s_at_once` build it.

    What a score inside a tile sees does not reach the padding: tiles at multiples of 32 overlap by `reach`, no more.
    """

    margin, stride = 0, 32

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        skips: Sequence[Skip] = (),
        deconvolution: Deconvolution = "fixed",
        width: int = 64,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        self.num_classes, self.in_channels, self.skips = num_classes, in_channels, tuple(skips)
        self.trunk = VGG(in_channels, width=width, output_stride=16, pool=2, batch_norm=batch_norm)
        self.fc6 = fully(self.trunk.channels, Fully(7, 64 * width), dropout, batch_norm, padded=False)
        self.fc7 = fully(64 * width, Fully(1, 64 * width), dropout, batch_norm)
        self.score_fr = score_layer(64 * width, num_classes)
        spacing = 32
        seen = 201.5  # pixels to both sides of where fc6 lies: half of the 404 that it sees, 403 apart
        for skip in self.skips:
            self.add_module(skip.enlarge, Enlarging(num_classes, 4, 2, deconvolution))
            pooled = self.trunk.layout[f"conv{skip.layer.removeprefix('pool')}_1"].channels
            self.add_module(f"score_{skip.layer}", score_layer(pooled, num_classes))
            spacing //= 2
            seen += 1.5 * spacing
        self.last = "upscore" if spacing == 32 else f"upscore{spacing}"
        self.add_module(self.last, Enlarging(num_classes, 2 * spacing, spacing, deconvolution))
        self.reach = int(seen + spacing - 0.5)
        self.offset = {32: 19, 16: 27, 8: 31}[spacing]

    @property
    def constants(self) -> dict[str, float]:
        """What finer layers are multiplied by, under the names that released files have for it."""
        return {f"scale_{skip.layer}": skip.scale for skip in self.skips}

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        # Padding by 99, then the first convolution's own by 1.
        wanted = ("conv5_3", *(skip.layer for skip in self.skips))
        padded = functional.pad(image, (PADDING - 1,) * 4)
        layers = {name: features for name, features in self.trunk.layers(padded, poolings=True) if name in wanted}
        pool5 = functional.max_pool2d(layers["conv5_3"], 2, stride=2, ceil_mode=True)
        scores: Tensor = self.score_fr(self.fc7(self.fc6(pool5)))
        for skip in self.skips:
            scores = self.get_submodule(skip.enlarge)(scores)
            finer = layers[skip.layer] if skip.scale == 1 else layers[skip.layer] * skip.scale
            finer = self.get_submodule(f"score_{skip.layer}")(finer)
            scores = scores + cropped(finer, skip.offset, scores)
        return cropped(self.get_submodule(self.last)(scores), self.offset, image)


class CoarseFCN(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W) on a trunk of stride 32: `fcn32s_alexnet` and `fcn32s_googlenet`.

    `padding` is what the trunk's first convolution does not pad itself; a deconvolution of 63 lets the features within
    31 pixels count.
    """

    margin, stride = 0, 32

    def __init__(
        self,
        trunk: AlexNet | GoogLeNet,
        num_classes: int,
        *,
        padding: int,
        offset: int,
        reach: int,
        dropout: float = 0.0,
        deconvolution: Deconvolution = "fixed",
    ) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        self.num_classes, self.in_channels = num_classes, trunk.in_channels
        self.padding, self.offset, self.reach = padding, offset, reach
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.score_fr = score_layer(trunk.channels, num_classes)
        self.upscore = Enlarging(num_classes, 63, 32, deconvolution)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        features = self.dropout(self.trunk(functional.pad(image, (self.padding,) * 4)))
        return cropped(self.upscore(self.score_fr(features)), self.offset, image)


class Enlarging(nn.Module):
    """A deconvolution of scores that begins as bilinear interpolation, and stays so unless it is to be learned.

    The released files hold a kernel for each pair of classes, and so does this: zero between two classes.
    """

    weight: Tensor

    def __init__(self, channels: int, size: int, stride: int, deconvolution: Deconvolution) -> None:
        super().__init__()
        check(
            deconvolution in ("fixed", "learned"),
            f"deconvolution: wanted 'fixed' or 'learned', received {deconvolution!r}",
        )
        self.stride = stride
        tent = 1 - (torch.arange(size) - (size - 1) / 2).abs() / stride
        weight = torch.eye(channels)[:, :, None, None] * (tent[:, None] * tent)
        if deconvolution == "learned":
            self.weight = nn.Parameter(weight)
        else:  # a buffer: saved, but no parameter of the optimizer's
            self.register_buffer("weight", weight)

    def forward(self, scores: Tensor) -> Tensor:
        return functional.conv_transpose2d(scores, self.weight, stride=self.stride)


def score_layer(channels: int, num_classes: int) -> nn.Conv2d:
    """A linear classifier of every feature, which begins at zero."""
    layer = nn.Conv2d(channels, num_classes, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def cropped(scores: Tensor, offset: int, like: Tensor) -> Tensor:
    """What of `scores` lies over `like`, whose first place is their place `offset`."""
    height, width = like.shape[2:]
    return scores[:, :, offset : offset + height, offset : offset + width]
