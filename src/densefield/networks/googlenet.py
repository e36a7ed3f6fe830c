"""GoogLeNet as a trunk: nine inception modules.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, figure 2(b) and table 1, as Caffe's definition
(bvlc_googlenet) has it. What torchvision calls GoogLeNet is another network (batch normalisation, 3×3 in place of 5×5).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import check_map
from densefield.networks.alexnet import local_response, rectifying

# Table 1, of 8 channels each: 1×1, 3×3 reduced and 3×3, 5×5 reduced and 5×5, after the maximum.
TABLE_1 = {
    "inception_3a": (8, 12, 16, 2, 4, 4),
    "inception_3b": (16, 16, 24, 4, 12, 8),
    "inception_4a": (24, 12, 26, 2, 6, 8),
    "inception_4b": (20, 14, 28, 3, 8, 8),
    "inception_4c": (16, 16, 32, 3, 8, 8),
    "inception_4d": (14, 18, 36, 4, 8, 8),
    "inception_4e": (32, 20, 40, 4, 16, 16),
    "inception_5a": (32, 20, 40, 4, 16, 16),
    "inception_5b": (48, 24, 48, 6, 16, 16),
}


class GoogLeNet(nn.Module):
    """Image (B, C, H, W) → features of inception_5b (B, `channels`, h, w) at `stride` 32.

    Feature i lies at pixel 32·i + 30 and sees the 715 pixels around it. The classifiers and the average before the last
    one are left out. Layers have their published names, with dots for slashes. Channels are table 1's at `width` 8:
    5,973,552 parameters.
    """

    stride = 32

    def __init__(self, in_channels: int = 3, *, width: int = 8) -> None:
        super().__init__()
        self.in_channels, self.channels = in_channels, 128 * width
        self.conv1 = nn.ModuleDict({"7x7_s2": nn.Conv2d(in_channels, 8 * width, 7, stride=2, padding=3)})
        self.conv2 = nn.ModuleDict(
            {"3x3_reduce": nn.Conv2d(8 * width, 8 * width, 1), "3x3": nn.Conv2d(8 * width, 24 * width, 3, padding=1)}
        )
        channels = 24 * width
        for name, row in TABLE_1.items():
            inception = _Inception(channels, *(width * each for each in row))
            self.add_module(name, inception)
            channels = inception.channels
        rectifying(self)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, channels, h, w)
        *_, (_, features) = self.layers(image)
        return features

    def layers(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the names and outputs of poolings and inception modules; stop where you have enough."""
        check_map("image", image, self.in_channels)
        features = functional.relu(self.conv1["7x7_s2"](image))
        features = functional.max_pool2d(features, 3, stride=2, ceil_mode=True)
        yield "pool1", features
        features = functional.relu(self.conv2["3x3_reduce"](local_response(features)))
        features = local_response(functional.relu(self.conv2["3x3"](features)))
        features = functional.max_pool2d(features, 3, stride=2, ceil_mode=True)
        yield "pool2", features
        for name in TABLE_1:
            features = self.get_submodule(name)(features)
            yield name, features
            if name in ("inception_3b", "inception_4e"):
                features = functional.max_pool2d(features, 3, stride=2, ceil_mode=True)
                yield f"pool{name[-2]}", features


class _Inception(nn.ModuleDict):
    """Figure 2(b): four ways in parallel, concatenated."""

    def __init__(self, before: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int) -> None:
        super().__init__(
            {
                "1x1": nn.Conv2d(before, one, 1),
                "3x3_reduce": nn.Conv2d(before, reduce3, 1),
                "3x3": nn.Conv2d(reduce3, three, 3, padding=1),
                "5x5_reduce": nn.Conv2d(before, reduce5, 1),
                "5x5": nn.Conv2d(reduce5, five, 5, padding=2),
                "pool_proj": nn.Conv2d(before, pooled, 1),
            }
        )
        self.channels = one + three + five + pooled

    def forward(self, features: Tensor) -> Tensor:
        def way(values: Tensor, *names: str) -> Tensor:
            for name in names:
                values = functional.relu(self[name](values))
            return values

        pooled = functional.max_pool2d(features, 3, stride=1, padding=1, ceil_mode=True)
        ways = way(features, "1x1"), way(features, "3x3_reduce", "3x3"), way(features, "5x5_reduce", "5x5")
        return torch.cat([*ways, way(pooled, "pool_proj")], dim=1)
