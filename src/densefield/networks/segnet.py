"""SegNet, SegNet-Basic and their Bayesian forms: a decoder that puts maxima back where the encoder found them.

Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
TPAMI 2017: section 3, figure 2; SegNet-Basic stands in section 3.1. Kendall, Badrinarayanan, Cipolla, "Bayesian
SegNet", BMVC 2017: section 4. Layers, their names and the places of dropout are those of the authors' published
definitions for Caffe, which read images as BGR from 0 to 255 without subtracting a mean.
Fresh normalisation begins with a shift of 0, where theirs begins with 0.001.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count
from densefield.checks import check, check_map, whole_number
from densefield.networks.alexnet import local_response
from densefield.networks.unpooling import Places, Sight, pooled, unpooled


class Plan(NamedTuple):
    """Convolutions by name and the channels they make, a sequence a block, and in what else the two networks differ."""

    encoder: Sequence[Sequence[tuple[str, int]]]
    decoder: Sequence[Sequence[tuple[str, int]]]
    kernel: int
    classifier: tuple[str, int]  # its name and kernel
    dropped: int  # on so many of the deepest levels features may be dropped
    response_norm: bool  # of the image
    decoder_relu: bool


@described()
def segnet(num_classes: Count, in_channels: Channels = 3, *, bayesian: bool = False, width: Channels = 64) -> SegNet:
    """SegNet: VGG-16's convolutions and their mirror image; 29,449,355 parameters for 11 classes at `width` 64.

    `bayesian` drops half the features after each of the three deepest blocks on either side; `SegNet.sample` then says
    how certain the network is. A smaller `width` learns from scratch on a few hundred images.
    """
    blocks = ((1, 2, width), (2, 2, 2 * width), (3, 3, 4 * width), (4, 3, 8 * width), (5, 3, 8 * width))
    encoder = [[(f"conv{block}_{i}", made) for i in range(1, count + 1)] for block, count, made in blocks]
    decoder: list[list[tuple[str, int]]] = []
    above = 0
    for block, count, made in blocks:  # the last convolution of a block makes what the block above reads
        names = [f"conv{block}_{i}_D" for i in range(count, 0, -1)]
        decoder.insert(0, [*((name, made) for name in names[:-1]), (names[-1], above)])
        above = made
    (classifier, _) = decoder[-1].pop()
    plan = Plan(encoder, decoder, 3, (classifier, 3), dropped=3, response_norm=False, decoder_relu=True)
    return SegNet(num_classes, in_channels, plan, bayesian)


@described()
def segnet_basic(
    num_classes: Count, in_channels: Channels = 3, *, bayesian: bool = False, width: Channels = 64
) -> SegNet:
    """SegNet-Basic, four 7×7 convolutions down and four up; 1,416,587 parameters for 11 classes at `width` 64.

    The image's local response is normalised, and no ReLU stands in the decoder. `bayesian` drops half the features on
    the two deepest levels of either side.
    """
    encoder = [[(f"conv{block}", width)] for block in (1, 2, 3, 4)]
    decoder = [[(f"conv_decode{block}", width)] for block in (4, 3, 2, 1)]
    plan = Plan(encoder, decoder, 7, ("conv_classifier", 1), dropped=2, response_norm=True, decoder_relu=False)
    return SegNet(num_classes, in_channels, plan, bayesian)


class SegNet(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W), as `segnet` and `segnet_basic` build it."""

    margin = 0

    def __init__(self, num_classes: int, in_channels: int, plan: Plan, bayesian: bool = False) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        self.num_classes, self.in_channels, self.plan = num_classes, in_channels, plan
        self.bayesian = bayesian
        channels = in_channels
        for block in (*plan.encoder, *plan.decoder):
            for name, made in block:
                self.add_module(name, _convolution(channels, made, plan.kernel))
                self.add_module(f"{name}_bn", nn.BatchNorm2d(made))
                channels = made
        name, kernel = plan.classifier
        self.add_module(name, _convolution(channels, num_classes, kernel))
        self.dropout = nn.Dropout(0.5 if bayesian else 0.0)
        self.stride = 2 ** len(plan.encoder)
        self.reach = _reach(plan)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        return self._up(*self._down(image, [], 0, len(self.plan.encoder)))

    def sample(self, image: Tensor, count: int) -> tuple[Tensor, Tensor]:  # (B, C, H, W) -> two (B, K, H, W)
        """Mean and variance of the probabilities of each class, over `count` draws of what is dropped.

        Bayesian SegNet, section 4. Normalisation keeps its running statistics, whatever the mode, and nothing is kept
        for a backward pass. Raises `InputError` for a network that was not built with `bayesian=True`.
        """
        check(self.bayesian, "sample: wanted a network built with bayesian=True, as nothing is dropped in this one")
        check_map("image", image, self.in_channels)
        count = whole_number("count", count, 1)
        levels = len(self.plan.encoder)
        drawn = levels - self.plan.dropped + 1  # nothing is dropped above, so one pass serves all draws
        with torch.no_grad(), _only_dropping(self):
            certain = self._down(image, [], 0, drawn)
            mean = squares = torch.zeros((), dtype=image.dtype, device=image.device)
            for number in range(1, count + 1):  # Welford's sums: one draw in memory at a time
                draw = self._up(*self._down(*certain, drawn, levels)).softmax(dim=1)
                difference = draw - mean
                mean = mean + difference / number
                squares = squares + difference * (draw - mean)
        return mean, squares / count

    def _down(self, features: Tensor, places: list[Places], start: int, stop: int) -> tuple[Tensor, list[Places]]:
        """Levels `start` to `stop` - 1 of the encoder; what is dropped after a pooling is dropped before the next."""
        if start == 0 and self.plan.response_norm:
            features = local_response(features)
        for level in range(start, stop):
            if level > len(self.plan.encoder) - self.plan.dropped:
                features = self.dropout(features)
            features, place = pooled(self._block(self.plan.encoder[level], features, relu=True))
            places = [*places, place]
        return features, places

    def _up(self, features: Tensor, places: list[Places]) -> Tensor:
        features = self.dropout(features)
        for level, (block, place) in enumerate(zip(self.plan.decoder, reversed(places), strict=True)):
            features = self._block(block, unpooled(features, place), relu=self.plan.decoder_relu)
            if level < self.plan.dropped:
                features = self.dropout(features)
        scores: Tensor = self.get_submodule(self.plan.classifier[0])(features)
        return scores

    def _block(self, block: Sequence[tuple[str, int]], features: Tensor, *, relu: bool) -> Tensor:
        for name, _ in block:
            features = self.get_submodule(f"{name}_bn")(self.get_submodule(name)(features))
            features = functional.relu(features) if relu else features
        return features


def _convolution(before: int, after: int, kernel: int) -> nn.Conv2d:
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


def _reach(plan: Plan) -> int:
    sight, radius = Sight(), plan.kernel // 2
    for block in plan.encoder:
        sight = sight.convolved(radius, len(block)).pooled()
    for block in plan.decoder:
        sight = sight.unpooled().convolved(radius, len(block))
    sight = sight.convolved(plan.classifier[1] // 2)
    return max(sight.left, sight.right)


@contextlib.contextmanager
def _only_dropping(network: SegNet) -> Iterator[None]:
    """Evaluation but for the dropout; each part then gets its own mode back."""
    modes = {part: part.training for part in network.modules()}
    try:
        network.eval()
        network.dropout.train()
        yield
    finally:
        for part, training in modes.items():
            part.training = training
