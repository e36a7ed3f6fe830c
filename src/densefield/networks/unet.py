"""U-Net: a contracting path, an expanding path, and cropped skip connections between them.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015: section 2,
figure 1; initialisation and dropout from section 3. The paper does not give dropout's rate: 0.5 is that of its code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import InputError, check, check_map

LEVELS = 4  # poolings, and up-convolutions


@described()
def unet(
    num_classes: Count,
    in_channels: Channels = 1,
    *,
    padding: Literal["valid", "same"] = "valid",
    width: Channels = 64,
    dropout: Share = 0.5,
    batch_norm: bool = False,
) -> UNet:
    """U-Net with `width` channels at full resolution; 31,030,658 parameters for 2 classes and 1 input channel.

    `padding="valid"` is the published network: scores are `margin` = 92 pixels smaller on every side (572² → 388²) and
    sides must be 16 k + 12, at least 188. `padding="same"` takes any H × W and scores every pixel. `dropout` acts at
    the end of the contracting path (its two last levels); `batch_norm` normalises after every 3×3 convolution.
    """
    return UNet(num_classes, in_channels, padding=padding, width=width, dropout=dropout, batch_norm=batch_norm)


class UNet(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H − 2 margin, W − 2 margin), as `unet` builds it.

    A score depends on no input pixel further than `reach` from its own; tiles give the same scores as the whole image
    when their origins are multiples of `stride`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1,
        *,
        padding: Literal["valid", "same"] = "valid",
        width: int = 64,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check(padding in ("valid", "same"), f"padding: wanted 'valid' or 'same', received {padding!r}")
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.padding = padding
        self.stride = 2**LEVELS
        self.margin, self.reach = _margin_and_reach(padding)
        self.smallest = 2 * self.margin + 4  # 4 score pixels left; sides are this plus multiples of the stride

        widths = [width * 2**level for level in range(LEVELS + 1)]
        self.down = nn.ModuleList(
            _Pair(before, after, padding, batch_norm)
            for before, after in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.up_convolutions = nn.ModuleList(
            nn.ConvTranspose2d(2 * after, after, 2, stride=2) for after in reversed(widths[:-1])
        )
        self.up = nn.ModuleList(_Pair(2 * after, after, padding, batch_norm) for after in reversed(widths[:-1]))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        _initialize(self)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H - 2 margin, W - 2 margin)
        check_map("image", image, self.in_channels)
        height, width = image.shape[2:]
        if self.padding == "same":  # zeros below and to the right, so that every pooling halves exactly
            image = functional.pad(image, (0, -width % self.stride, 0, -height % self.stride))
        else:
            _check_valid(height, width, self.margin, self.stride)

        skips: list[Tensor] = []
        features = image
        for level, pair in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = pair(features)
            if level >= LEVELS - 1:
                features = self.dropout(features)
            skips.append(features)
        features = skips.pop()
        for up, pair in zip(self.up_convolutions, self.up, strict=True):
            features = up(features)
            skip = _center(skips.pop(), features.shape[2], features.shape[3])
            features = pair(torch.cat([skip, features], dim=1))
        scores = self.classifier(features)
        return scores[:, :, :height, :width]


class _Pair(nn.Sequential):
    """Twice: 3×3 convolution, [batch normalisation,] ReLU."""

    def __init__(self, before: int, after: int, padding: str, batch_norm: bool) -> None:
        modules: list[nn.Module] = []
        for channels in (before, after):
            modules.append(nn.Conv2d(channels, after, 3, padding=1 if padding == "same" else 0))
            if batch_norm:
                modules.append(nn.BatchNorm2d(after))
            modules.append(nn.ReLU(inplace=True))
        super().__init__(*modules)


def _center(skip: Tensor, height: int, width: int) -> Tensor:
    top, left = (skip.shape[2] - height) // 2, (skip.shape[3] - width) // 2
    return skip[:, :, top : top + height, left : left + width]


def _check_valid(height: int, width: int, margin: int, stride: int) -> None:
    """Raise unless every map that is pooled has even sides and something is left to score."""
    smallest = 2 * margin + 4  # 4 score pixels left
    for name, side in (("height", height), ("width", width)):
        if side < smallest or (side - smallest) % stride:
            below = max(smallest, side - (side - smallest) % stride)
            raise InputError(
                f"image: {name} {side} does not fit U-Net without padding, wanted {smallest} + {stride} k "
                f"(nearest: {below} or {below + stride}); mirror the image's borders to such a size, tile it, "
                f"or build with padding='same'"
            )


def _margin_and_reach(padding: str) -> tuple[int, int]:
    """Pixels lost on every side, and how far a score sees, counted through the layers of figure 1.

    A feature sees `left` and `right` of the pixel at which its cell begins; a pooled or up-convolved one sees its whole
    cell, so that a score inside it sees up to one spacing less one more to the left.
    """
    left = right = 0
    spacing = 1
    lost = 0
    for level in range(LEVELS + 1):
        if level:
            right += spacing
            spacing *= 2
        left += 2 * spacing
        right += 2 * spacing
        lost += 2 * spacing
    for _ in range(LEVELS):
        spacing //= 2
        left += spacing + 2 * spacing
        right += 2 * spacing
        lost += 2 * spacing
    return (lost if padding == "valid" else 0), max(left, right)


def _initialize(network: nn.Module) -> None:
    """Gaussian weights of deviation √(2/N), N the inputs of one output, so that feature variance stays near one."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            incoming = module.in_channels  # each output pixel of a 2×2 up-convolution of stride 2 reads one pixel
            if isinstance(module, nn.Conv2d):
                incoming *= module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, std=(2 / incoming) ** 0.5)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
