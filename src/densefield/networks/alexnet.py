"""AlexNet as a trunk: five convolutions, and the classifier's two hidden layers as convolutions.

Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012, section 3.5
and figure 2, as Caffe's reference network (CaffeNet) has it: the maximum is taken before the normalisation of section
3.3. What torchvision calls AlexNet is another network (64 filters in conv1, no groups, no normalisation).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import check_map


class AlexNet(nn.Module):
    """Image (B, C, H, W) → features of fc7 (B, `channels`, h, w) at `stride` 32; H and W at least 199.

    Neither conv1 nor fc6 pads: feature i of fc7 lies at pixel 32·i + 113, and sees the 355 pixels around it. Layers
    have their published names and `width` × 6, 16, 24, 24, 16, 256, 256 channels; with the classifier of 1000 classes,
    `width` 16 makes 60,965,224 parameters. `dropout` is fc6's and fc7's.
    """

    stride = 32

    def __init__(self, in_channels: int = 3, *, width: int = 16, dropout: float = 0.5) -> None:
        super().__init__()
        self.in_channels, self.channels = in_channels, 256 * width
        self.conv1 = nn.Conv2d(in_channels, 6 * width, 11, stride=4)
        self.conv2 = nn.Conv2d(6 * width, 16 * width, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(16 * width, 24 * width, 3, padding=1)
        self.conv4 = nn.Conv2d(24 * width, 24 * width, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(24 * width, 16 * width, 3, padding=1, groups=2)
        self.fc6 = nn.Conv2d(16 * width, 256 * width, 6)
        self.fc7 = nn.Conv2d(256 * width, 256 * width, 1)
        self.dropout = nn.Dropout(dropout)
        rectifying(self)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, channels, h, w)
        *_, (_, features) = self.layers(image)
        return features

    def layers(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each layer's name and output, of convolutions after their ReLU; stop where you have enough."""
        check_map("image", image, self.in_channels)
        features = image
        for number in range(1, 6):
            features = functional.relu(self.get_submodule(f"conv{number}")(features))
            yield f"conv{number}", features
            if number in (1, 2, 5):
                features = functional.max_pool2d(features, 3, stride=2, ceil_mode=True)
                yield f"pool{number}", features
            if number in (1, 2):
                features = local_response(features)
                yield f"norm{number}", features
        for name in ("fc6", "fc7"):
            features = self.dropout(functional.relu(self.get_submodule(name)(features)))
            yield name, features


def local_response(features: Tensor) -> Tensor:
    """Section 3.3's normalisation over five neighbouring channels, with the constants of Caffe's networks."""
    # As torch's own, without its pooling in three dimensions.
    squares = functional.pad(features.square(), (0, 0, 0, 0, 2, 2))
    channels = features.shape[1]
    total = sum((squares[:, shift : shift + channels] for shift in range(1, 5)), squares[:, :channels])
    return features / (1 + 1e-4 / 5 * total).pow(0.75)


def rectifying(network: nn.Module) -> None:
    """Begin with weights that keep the variance through ReLUs, and without biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
