"""DeconvNet: VGG-16 down to one feature of its whole input, and the mirror image of it back up.

Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015: section 3, figure 2, and the
supplement's table of layers. Layers are those of the authors' published definition for Caffe, by their names there with
underscores for hyphens.
Fresh normalisation begins with a shift of 0, where theirs begins with 0.001.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count
from densefield.checks import check, check_map
from densefield.mirroring import mirrored_window
from densefield.networks.unpooling import Places, Sight, pooled, unpooled

LEVELS = 5
SMALLEST = 224  # what pooling makes a single window of fc6
_FC6 = 7


@described()
def deconvnet(num_classes: Count, in_channels: Channels = 3, *, width: Channels = 64) -> DeconvNet:
    """DeconvNet; 251,805,653 parameters for 21 classes at `width` 64, of which fc6 and its undoing have four fifths.

    Images are mirrored, below and to the right, up to multiples of 32 that are at least 224, and the scores cut; of
    larger ones fc6 sees every window of 224 pixels. A smaller `width` learns from scratch on a few hundred images.
    """
    return DeconvNet(num_classes, in_channels, width=width)


class DeconvNet(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W), as `deconvnet` builds it."""

    margin = 0
    stride = 2**LEVELS

    def __init__(self, num_classes: int, in_channels: int = 3, *, width: int = 64) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        self.num_classes, self.in_channels = num_classes, in_channels
        channels, fully = in_channels, 64 * width
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self._encoder: list[list[str]] = []
        for block, (made, count) in enumerate(zip(widths, (2, 2, 3, 3, 3), strict=True), start=1):
            self._encoder.append([f"{block}_{i}" for i in range(1, count + 1)])
            for name in self._encoder[-1]:
                self._add(f"conv{name}", f"bn{name}", nn.Conv2d(channels, made, 3, padding=1))
                channels = made
        self._add("fc6", "bnfc6", nn.Conv2d(channels, fully, _FC6))
        self._add("fc7", "bnfc7", nn.Conv2d(fully, fully, 1))
        self._add("fc6_deconv", "fc6_deconv_bn", nn.ConvTranspose2d(fully, channels, _FC6))
        for block in range(LEVELS, 0, -1):
            names = self._encoder[block - 1]
            for name in names:  # the last of a block makes what the block above it reads
                made = widths[max(block - 2, 0)] if name == names[-1] else widths[block - 1]
                self._add(f"deconv{name}", f"debn{name}", nn.ConvTranspose2d(channels, made, 3, padding=1))
                channels = made
        self.seg_score_voc = nn.Conv2d(channels, num_classes, 1)
        _initialize(self)
        self.reach = _reach(self._encoder)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        height, width = image.shape[2:]
        features = mirrored_window(image, (0, _fitting(height)), (0, _fitting(width)))
        places: list[Places] = []
        for block in self._encoder:
            for name in block:
                features = self._layer(f"conv{name}", f"bn{name}", features)
            features, place = pooled(features)
            places.append(place)
        features = self._layer("fc6", "bnfc6", features)
        features = self._layer("fc7", "bnfc7", features)
        features = self._layer("fc6_deconv", "fc6_deconv_bn", features)
        for block in reversed(self._encoder):
            features = unpooled(features, places.pop())
            for name in block:
                features = self._layer(f"deconv{name}", f"debn{name}", features)
        return self.seg_score_voc(features)[:, :, :height, :width]

    def _add(self, name: str, norm: str, convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
        self.add_module(name, convolution)
        self.add_module(norm, nn.BatchNorm2d(convolution.out_channels))

    def _layer(self, name: str, norm: str, features: Tensor) -> Tensor:
        return functional.relu(self.get_submodule(norm)(self.get_submodule(name)(features)))


def _fitting(length: int) -> int:
    """The shortest length that is read, of those not under `length`."""
    stride = DeconvNet.stride
    return torch.sym_max(SMALLEST, (length + stride - 1) // stride * stride)


def _initialize(network: nn.Module) -> None:
    """Scores and deconvolutions as published; VGG's part, which the authors take from classification, by its fan."""
    for name, module in network.named_children():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if name.startswith(("conv", "fc6", "fc7")) and isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.normal_(module.weight, std=0.01)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def _reach(blocks: list[list[str]]) -> int:
    sight = Sight()
    for block in blocks:
        sight = sight.convolved(1, len(block)).pooled()
    sight = sight.convolved(_FC6 - 1)  # a cell is part of 7 windows, which see 6 cells to either side of it
    for block in reversed(blocks):
        sight = sight.unpooled().convolved(1, len(block))
    return max(sight.left, sight.right)
