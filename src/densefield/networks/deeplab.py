"""DeepLab's LargeFOV network: VGG-16 with holes, and fc6 as a 3×3 convolution of rate 12.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional Nets and Fully
Connected CRFs", ICLR 2015, sections 3.1 and 3.2 and table 2 (DeepLab-CRF-LargeFOV), with its published definition.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check
from densefield.networks.vgg import VGG


@described()
def deeplab_largefov(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    width: Channels = 64,
    rate: Channels = 12,
    dropout: Share = 0.5,
    batch_norm: bool = False,
) -> DeepLabLargeFOV:
    """The LargeFOV network; 20.5 M parameters for 21 classes at the published `width` 64 (fc6, fc7: 16 × width).

    Scores are made at stride 8 and enlarged bilinearly, so boundaries are blurred over some 8 pixels: what a
    refinement is for. `batch_norm` and a smaller `width` make it learn from scratch on a few hundred images.
    """
    return DeepLabLargeFOV(num_classes, in_channels, width=width, rate=rate, dropout=dropout, batch_norm=batch_norm)


class DeepLabLargeFOV(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W), as `deeplab_largefov` builds it."""

    margin = 0

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        width: int = 64,
        rate: int = 12,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        check(rate >= 1, f"rate: wanted at least 1, received {rate}")
        self.num_classes, self.in_channels = num_classes, in_channels
        self.trunk = VGG(in_channels, width=width, output_stride=8, batch_norm=batch_norm)
        self.stride = self.trunk.stride
        # pool5 and its average see a feature further each; enlarging takes one more on either side.
        self.reach = self.trunk.reach + self.stride * (2 + rate + 1)
        self.fc6 = _fully(self.trunk.channels, 16 * width, 3, rate, dropout, batch_norm)
        self.fc7 = _fully(16 * width, 16 * width, 1, 1, dropout, batch_norm)
        self.fc8 = nn.Conv2d(16 * width, num_classes, 1)
        nn.init.normal_(self.fc8.weight, std=0.01)
        assert self.fc8.bias is not None
        nn.init.zeros_(self.fc8.bias)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        features = functional.max_pool2d(self.trunk(image), 3, stride=1, padding=1)
        features = functional.avg_pool2d(features, 3, stride=1, padding=1)
        scores = self.fc8(self.fc7(self.fc6(features)))
        # Feature i lies at pixel 8 i: enlarged with corners aligned, then cut to the image.
        height, width = ((length - 1) * self.stride + 1 for length in scores.shape[2:])
        scores = functional.interpolate(scores, size=(height, width), mode="bilinear", align_corners=True)
        return scores[:, :, : image.shape[2], : image.shape[3]].contiguous()


def _fully(before: int, after: int, kernel: int, rate: int, dropout: float, batch_norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2 * rate, dilation=rate, bias=not batch_norm)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    norm = [nn.BatchNorm2d(after)] if batch_norm else []
    return nn.Sequential(convolution, *norm, nn.ReLU(), nn.Dropout(dropout))
