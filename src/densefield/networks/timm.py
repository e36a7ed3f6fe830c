"""Encoders of timm (Wightman) under a head of ours: a feature pyramid, or DeepLab's branches of several rates.

Lin, Dollár, Girshick, He, Hariharan, Belongie, "Feature Pyramid Networks for Object Detection", CVPR 2017, figure 3:
features of each level, 1×1, are added to those of the coarser one, enlarged; for segmentation the finest level alone is
smoothed and scored, where Kirillov et al. (CVPR 2019) sum all. Chen, Papandreou, Schroff, Adam, "Rethinking Atrous
Convolution for Semantic Image Segmentation", 2017, section 3.3: 1×1, three rates, and the image's mean; deviations:
`width` channels in place of 256, and no normalisation behind the mean, so that a batch may be one image.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count
from densefield.checks import check, likely
from densefield.networks.adapted import Adapted, adapted
from densefield.networks.libraries import building
from densefield.optional import needed

Head: TypeAlias = Literal["fpn", "deeplab"]
_FINEST = 4  # the stride at which a pyramid's scores lie
_RATES = (6, 12, 18)  # at output stride 16


@described()
def timm(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    encoder: str = "tf_efficientnet_lite0",
    head: Head = "fpn",
    output_stride: Literal[8, 16, 32] = 32,
    width: Channels = 64,
) -> Adapted:
    """Any encoder of timm that gives features, under a head of `width` channels; 3,028,035 parameters for 3 classes.

    `head="fpn"` adds features from coarse to fine, down to stride 4; `"deeplab"` has branches of several rates on the
    last ones, at `output_stride`, which encoders of convolutions make finer by rates. Weights are drawn: those of
    ImageNet are a recipe's `weights: library`.
    """
    model = Encoded(num_classes, in_channels, encoder, head, output_stride, width)
    return adapted(model, num_classes, in_channels, multiple=max(model.strides))


class Encoded(nn.Module):
    """Image (B, C, H, W), sides multiples of the largest of `strides` → scores (B, K, h, w) at stride 4, or the last's.

    `pretrained` fetches the encoder's weights.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        encoder: str,
        head: Head,
        output_stride: int,
        width: int,
        *,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        check(head in ("fpn", "deeplab"), f"head: wanted 'fpn' or 'deeplab', received {head!r}")
        check_encoder("timm: encoder", encoder)
        library = needed("timm", "kind timm")
        # Only where it is asked for: not every encoder takes the argument.
        finer = {} if output_stride == 32 else {"output_stride": output_stride}
        with building("timm"):
            self.encoder: nn.Module = library.create_model(
                encoder, pretrained=pretrained, features_only=True, in_chans=in_channels, **finer
            )
            self.channels: list[int] = self.encoder.feature_info.channels()
            self.strides: list[int] = self.encoder.feature_info.reduction()
        last = max(index for index, stride in enumerate(self.strides) if stride == max(self.strides))
        self.used = (
            [index for index, stride in enumerate(self.strides) if stride >= _FINEST] if head == "fpn" else [last]
        )
        channels = [self.channels[index] for index in self.used]
        stride = self.strides[last]
        self.head = (
            Pyramid(channels, num_classes, width) if head == "fpn" else Rates(channels[0], num_classes, stride, width)
        )

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, h, w)
        features = self.encoder(image)
        scores: Tensor = self.head([self._maps(features[index], self.channels[index]) for index in self.used])
        return scores

    def _maps(self, features: Tensor, channels: int) -> Tensor:
        """Some transformers of timm have their channels last."""
        return features if features.shape[1] == channels else features.permute(0, 3, 1, 2)


class Pyramid(nn.Module):
    """Features from fine to coarse → scores at the finest: each level is added to the coarser ones, enlarged."""

    def __init__(self, channels: list[int], num_classes: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.smooth = _normalized(width, width, 3, padding=1)
        self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        coarse: Tensor | None = None
        for lateral, features in reversed(list(zip(self.lateral, levels, strict=True))):
            here = lateral(features)
            coarse = here if coarse is None else here + _enlarged(coarse, here)
        scores: Tensor = self.score(self.smooth(coarse))
        return scores


class Rates(nn.Module):
    """The last features → scores at their stride: 1×1, three dilated 3×3 and the image's mean, beside one another."""

    def __init__(self, channels: int, num_classes: int, stride: int, width: int) -> None:
        super().__init__()
        rates = [max(1, rate * 16 // stride) for rate in _RATES]
        self.branches = nn.ModuleList([_normalized(channels, width, 1)])
        self.branches.extend(_normalized(channels, width, 3, padding=rate, dilation=rate) for rate in rates)
        self.mean = nn.Conv2d(channels, width, 1)
        self.project = _normalized(5 * width, width, 1)
        self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        features = levels[-1]
        mean = functional.relu(self.mean(features.mean(dim=(2, 3), keepdim=True)))
        branches = [branch(features) for branch in self.branches]
        scores: Tensor = self.score(self.project(torch.cat([*branches, mean.expand_as(branches[0])], dim=1)))
        return scores


def _normalized(channels: int, width: int, side: int, *, padding: int = 0, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, side, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _enlarged(coarse: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(coarse, size=like.shape[2:], mode="bilinear", align_corners=False)


def check_encoder(place: str, name: str) -> None:
    """Raise `InputError` that begins with `place` unless timm itself has that encoder: not one of a hub or a folder."""
    library = needed("timm", place)
    check(library.is_model(name), f"{place}: timm has no {name!r}{likely(name, library.list_models())}")
