"""Hypercolumns: every pixel described by all layers above it, and classified linearly.

Hariharan, Arbeláez, Girshick, Malik, "Hypercolumns for Object Segmentation and Fine-grained Localization", CVPR 2015,
sections 3 and 4: AlexNet's pool2, conv4 and fc7. The paper scores boxes, with a classifier for each place of a grid
over the box; here one classifier scores whole images. The padding is ours, chosen so that features lie at multiples of
16 pixels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check, check_map
from densefield.networks.alexnet import AlexNet
from densefield.networks.classifier import scoring

_BEFORE = 113  # pixels: feature i of fc7 lies at pixel 32·i, of pool2 and conv4 at 16·(i − _SKIPPED)
_AFTER = _BEFORE + 31  # so that the last feature of fc7 lies at the last pixel or beyond it
_SKIPPED = 6


@described()
def hypercolumns(
    num_classes: Count, in_channels: Channels = 3, *, width: Channels = 16, dropout: Share = 0.5
) -> Hypercolumns:
    """Hypercolumns of AlexNet: 4,736 features a pixel, one linear classifier; 56,967,701 parameters for 21 classes.

    `width` 16 is the paper's; hypercolumns have 296 × width features. `dropout` is fc6's and fc7's.
    """
    return Hypercolumns(num_classes, in_channels, width=width, dropout=dropout)


class Hypercolumns(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W), as `hypercolumns` builds it."""

    margin, stride = 0, 32
    reach = 177 + 31  # half of the 355 pixels that fc7 sees, from one feature nearly to the next

    def __init__(self, num_classes: int, in_channels: int = 3, *, width: int = 16, dropout: float = 0.5) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        self.num_classes, self.in_channels = num_classes, in_channels
        self.trunk = AlexNet(in_channels, width=width, dropout=dropout)
        self.shares = {"pool2": 16 * width, "conv4": 24 * width, "fc7": 256 * width}
        self.classifier = scoring(sum(self.shares.values()), num_classes)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        height, width = image.shape[2:]
        padded = functional.pad(image, (_BEFORE, _AFTER, _BEFORE, _AFTER))
        layers = {name: features for name, features in self.trunk.layers(padded) if name in self.shares}
        # Classifying and enlarging are linear: each layer is classified where it lies, and columns are never held.
        weights = dict(zip(self.shares, self.classifier.weight.split(tuple(self.shares.values()), dim=1), strict=True))
        scores = _enlarged(functional.conv2d(layers["fc7"], weights["fc7"], self.classifier.bias), 2)
        # Without negative numbers, which ONNX divides towards zero.
        rows, columns = (height + 14) // 16 + 1, (width + 14) // 16 + 1
        scores = scores[:, :, :rows, :columns]
        for name in ("pool2", "conv4"):
            features = layers[name][:, :, _SKIPPED : _SKIPPED + rows, _SKIPPED : _SKIPPED + columns]
            scores = scores + functional.conv2d(features, weights[name])
        return _enlarged(scores, 16)[:, :, :height, :width].contiguous()


def _enlarged(scores: Tensor, factor: int) -> Tensor:
    """Linear between scores, the first and the last of which stay the first and the last."""
    size = [(length - 1) * factor + 1 for length in scores.shape[2:]]
    return functional.interpolate(scores, size=size, mode="bilinear", align_corners=True)
