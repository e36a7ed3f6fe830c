"""Dilation8 and Dilation10: VGG-16 without its last poolings and without padding, then a context module on its scores.

Yu, Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016: section 3 (context, table 1,
equations 4 and 5), section 4 (front end), appendices on CamVid and Cityscapes. Layers are those of the authors'
published definitions for Caffe, by their names there; VOC's, with the large context, says fc-final and ct_… for `final`
and `ctx_…`.
Their program enlarges Dilation8's probabilities; here, as of every network, its scores are enlarged.
Their program fills a canvas of fixed size, or tiles; here an image is mirrored no further than its scores need.
A large context of ten layers is in neither paper nor code: its added layers are as wide as the widest published ones.
The paper leaves the noise of equation 5 open: here its deviation is a hundredth of the weights beside it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check, check_map
from densefield.mirroring import mirrored_window
from densefield.networks.classifier import scoring

Context = Literal["basic", "large", "none"]

_MIRRORED = 186  # what the front end's convolutions take from either side
_BLOCKS = (2, 2, 3, 3, 3)


@described()
def dilation8(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    context: Context = "basic",
    width: Channels = 64,
    dropout: Share = 0.5,
    batch_norm: bool = False,
) -> Dilation:
    """The network of VOC and CamVid; 134,313,443 parameters for 11 classes, 141,149,720 for 21 with `context="large"`.

    Scores are made at stride 8 and enlarged bilinearly: score i is that of pixel 8 i. `context="none"` is the front end
    alone, which the authors train first. `batch_norm`, which normalises in
    the front end, and a smaller `width` make it learn from scratch on a few hundred images.
    """
    return Dilation(num_classes, in_channels, 8, context=context, width=width, dropout=dropout, batch_norm=batch_norm)


@described()
def dilation10(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    context: Context = "basic",
    width: Channels = 64,
    dropout: Share = 0.5,
    batch_norm: bool = False,
) -> Dilation:
    """The network of Cityscapes, which sees 1,229 pixels to either side; 134,368,179 parameters for 19 classes.

    As `dilation8`, with two context layers more, of rates 32 and 64. Score i, made at stride 8, lies at pixel 8 i + 3½:
    a fixed bilinear deconvolution enlarges it.
    """
    return Dilation(num_classes, in_channels, 10, context=context, width=width, dropout=dropout, batch_norm=batch_norm)


class Dilation(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W), as `dilation8` and `dilation10` build it."""

    margin = 0
    stride = 8

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        layers: Literal[8, 10],  # of the context
        *,
        context: Context = "basic",
        width: int = 64,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        known = context in ("basic", "large", "none")
        check(known, f"context: wanted 'basic', 'large' or 'none', received {context!r}")
        self.num_classes, self.in_channels = num_classes, in_channels
        self._at_pixels = layers == 8  # score i is that of pixel 8 i, and not of 8 i + 3½
        channels = in_channels
        self._front: list[list[str]] = []
        for block, count in enumerate(_BLOCKS, start=1):
            self._front.append([f"conv{block}_{i}" for i in range(1, count + 1)])
            for name in self._front[-1]:
                made = width * min(2 ** (block - 1), 8)
                self._add(name, nn.Conv2d(channels, made, 3, dilation=2 if block == 5 else 1), batch_norm)
                channels = made
        self._add("fc6", nn.Conv2d(channels, 64 * width, 7, dilation=4), batch_norm)
        self._add("fc7", nn.Conv2d(64 * width, 64 * width, 1), batch_norm)
        self.dropout = nn.Dropout(dropout)
        self.final = scoring(64 * width, num_classes, std=0.001)
        rates = _rates(layers)
        convolutions = {} if context == "none" else _context_convolutions(num_classes, rates, context)
        for name, layer in convolutions.items():
            self.add_module(name, layer)
        self._context = list(convolutions)
        if convolutions:
            self.ctx_final = nn.Conv2d(convolutions["ctx_fc1"].out_channels, num_classes, 1)
            _pass_through(self.ctx_final, num_classes)
        # A score sees 186 pixels before its own and 193 behind it, and more by the context. A pixel looks at scores
        # up to 7 before and 7 behind it, or up to 11 and 4.
        sight = 8 * sum(rates.values()) if convolutions else 0
        self.reach = sight + (193 + 7 if self._at_pixels else 186 + 11)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        height, width = image.shape[2:]
        scores = self._coarse(image)
        if self._at_pixels:
            size = [8 * (side - 1) + 1 for side in scores.shape[2:]]
            scores = functional.interpolate(scores, size=size, mode="bilinear", align_corners=True)
            return scores[:, :, :height, :width].contiguous()
        # A deconvolution with zeros around it, without its 256 products a score.
        scores = functional.pad(scores, (1, 1, 1, 1))
        size = [8 * side for side in scores.shape[2:]]
        scores = functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)
        return scores[:, :, 8 : 8 + height, 8 : 8 + width].contiguous()

    @property
    def own_strides(self) -> tuple[int, ...]:
        """The stride of `own_scores`; none where scores lie between pixels, as Dilation10's do."""
        return (self.stride,) if self._at_pixels else ()

    def own_scores(self, image: Tensor) -> tuple[Tensor, ...]:
        """The scores before they are enlarged: score i lies at pixel 8 i."""
        check_map("image", image, self.in_channels)
        rows, columns = ((side + 7) // 8 for side in image.shape[2:])
        return (self._coarse(image)[:, :, :rows, :columns],)

    def _coarse(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, h, w)
        down, right = (8 * ((side + 7) // 8 + int(self._at_pixels)) + _MIRRORED for side in image.shape[2:])
        scores = self._scores(mirrored_window(image, (-_MIRRORED, down), (-_MIRRORED, right)))
        for name in self._context:
            scores = functional.relu(self.get_submodule(name)(scores))
        return self.ctx_final(scores) if self._context else scores

    def _scores(self, features: Tensor) -> Tensor:
        """The front end: from 8 n + 372 pixels n scores."""
        for block, names in enumerate(self._front, start=1):
            for name in names:
                features = self._layer(name, features)
            if block <= 3:
                features = functional.max_pool2d(features, 2)
        for name in ("fc6", "fc7"):
            features = self.dropout(self._layer(name, features))
        scores: Tensor = self.final(features)
        return scores

    def _add(self, name: str, convolution: nn.Conv2d, batch_norm: bool) -> None:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
        self.add_module(name, convolution)
        if batch_norm:
            self.add_module(f"{name}_bn", nn.BatchNorm2d(convolution.out_channels))

    def _layer(self, name: str, features: Tensor) -> Tensor:
        features = self.get_submodule(name)(features)
        if hasattr(self, f"{name}_bn"):
            features = self.get_submodule(f"{name}_bn")(features)
        return functional.relu(features)


def _rates(layers: int) -> dict[str, int]:
    """The context's 3×3 convolutions and their rates; behind them stands a 1×1 one (table 1)."""
    return {
        "ctx_conv1_1": 1,
        "ctx_conv1_2": 1,
        **{f"ctx_conv{level}_1": 2 ** (level - 1) for level in range(2, layers - 2)},
        "ctx_fc1": 1,
    }


def _context_convolutions(num_classes: int, rates: dict[str, int], context: Context) -> dict[str, nn.Conv2d]:
    """The 3×3 convolutions by name, each to be followed by a ReLU.

    The basic context keeps K channels and pads every convolution with zeros. The large one has 2, 2, 4, 8, 16, 32 and
    32 × K channels and pads the first by what all of them take.
    """
    made: dict[str, nn.Conv2d] = {}
    before = num_classes
    for index, (name, rate) in enumerate(rates.items()):
        padding, after = rate, num_classes
        if context == "large":
            padding, after = (0 if index else sum(rates.values())), num_classes * min(2 ** max(index, 1), 32)
        made[name] = nn.Conv2d(before, after, 3, padding=padding, dilation=rate)
        _pass_through(made[name], num_classes)
        before = after
    return made


def _pass_through(layer: nn.Conv2d, num_classes: int) -> None:
    """Start as the identity: each output is a share of the inputs of its own class (equations 4 and 5)."""
    before, after = layer.in_channels, layer.out_channels
    share = num_classes / after
    middle = layer.kernel_size[0] // 2
    own = torch.arange(before) * num_classes // before == torch.arange(after)[:, None] * num_classes // after
    with torch.no_grad():
        layer.weight.zero_()
        if max(before, after) > num_classes:  # else several channels of a class would learn the same
            layer.weight.normal_(std=share / 100)
        layer.weight[:, :, middle, middle][own] = share
        assert layer.bias is not None
        layer.bias.zero_()
