"""FC-DenseNet: dense blocks in an encoder-decoder with skip connections.

Jégou, Drozdzal, Vazquez, Romero, Bengio, "The One Hundred Layers Tiramisu: Fully Convolutional DenseNets for
Semantic Segmentation", CVPR workshops 2017: section 3, figures 1 and 2, tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def fc_densenet56(
    num_classes: int, in_channels: int = 3, *, dropout: float = 0.2, checkpointing: bool = False
) -> FCDenseNet:
    """FC-DenseNet56: 4 layers a block, growth rate 12; 1.4 M parameters (table 3)."""
    return FCDenseNet(num_classes, in_channels, layers=(4,) * 11, growth_rate=12, dropout=dropout, checkpointing=checkpointing)


def fc_densenet67(
    num_classes: int, in_channels: int = 3, *, dropout: float = 0.2, checkpointing: bool = False
) -> FCDenseNet:
    """FC-DenseNet67: 5 layers a block, growth rate 16; 3.5 M parameters (table 3)."""
    return FCDenseNet(num_classes, in_channels, layers=(5,) * 11, growth_rate=16, dropout=dropout, checkpointing=checkpointing)


def fc_densenet103(
    num_classes: int, in_channels: int = 3, *, dropout: float = 0.2, checkpointing: bool = False
) -> FCDenseNet:
    """FC-DenseNet103: 4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4 layers a block, growth rate 16; 9.4 M parameters (table 2)."""
    layers = (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)
    return FCDenseNet(num_classes, in_channels, layers=layers, growth_rate=16, dropout=dropout, checkpointing=checkpointing)


class FCDenseNet(nn.Module):
    """The network of figure 1: image (B, C, H, W) of any size → scores (B, K, H, W).

    `layers` lists the layers of every dense block: down path, bottleneck, up path. In the up path only what a block's
    own layers made (not its input) goes on to the next transition (section 3.2); the last block keeps its input.
    """

    margin = 0

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        layers: Sequence[int] = (4,) * 11,
        growth_rate: int = 12,
        first_channels: int = 48,
        dropout: float = 0.2,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.num_classes = num_classes
        pools = len(layers) // 2
        self.stride = 2**pools

        self.first = nn.Conv2d(in_channels, first_channels, 3, padding=1)
        channels = first_channels
        skips = []
        self.down_blocks, self.down_transitions = nn.ModuleList(), nn.ModuleList()
        for count in layers[:pools]:
            self.down_blocks.append(DenseBlock(channels, count, growth_rate, dropout, checkpointing))
            channels += count * growth_rate
            skips.append(channels)
            self.down_transitions.append(TransitionDown(channels, dropout))

        self.bottleneck = DenseBlock(channels, layers[pools], growth_rate, dropout, checkpointing)

        self.up_transitions, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        made = layers[pools] * growth_rate
        for count, skip in zip(layers[pools + 1 :], reversed(skips), strict=True):
            self.up_transitions.append(TransitionUp(made))
            channels = made + skip
            self.up_blocks.append(DenseBlock(channels, count, growth_rate, dropout, checkpointing))
            made = count * growth_rate
        self.classifier = nn.Conv2d(channels + made, num_classes, 1)

        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        features = self.first(image)
        skips = []
        for block, transition in zip(self.down_blocks, self.down_transitions, strict=True):
            features = torch.cat([features, block(features)], dim=1)
            skips.append(features)
            features = transition(features)
        made = self.bottleneck(features)
        for transition, block in zip(self.up_transitions, self.up_blocks, strict=True):
            skip = skips.pop()
            features = torch.cat([transition(made, skip.shape[2:]), skip], dim=1)
            made = block(features)
        return self.classifier(torch.cat([features, made], dim=1))


class DenseBlock(nn.Module):
    """Figure 2: every layer sees the block's input and all earlier layers' outputs; returns only what the layers made."""

    def __init__(self, channels: int, count: int, growth_rate: int, dropout: float, checkpointing: bool) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.layers = nn.ModuleList(
            Layer(channels + index * growth_rate, growth_rate, 3, dropout) for index in range(count)
        )

    def forward(self, features: Tensor) -> Tensor:  # (B, C, H, W) -> (B, layers × growth_rate, H, W)
        made: list[Tensor] = []
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                made.append(checkpoint(layer, features, *made, use_reentrant=False))
            else:
                made.append(layer(features, *made))
        return torch.cat(made, dim=1)


class Layer(nn.Module):
    """Table 1, left: batch normalisation, ReLU, convolution, dropout, over the concatenation of its inputs."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *features: Tensor) -> Tensor:
        stack = torch.cat(features, dim=1) if len(features) > 1 else features[0]
        return self.dropout(self.conv(functional.relu(self.norm(stack), inplace=True)))


class TransitionDown(nn.Module):
    """Table 1, middle: a 1×1 layer that keeps the channels, then 2×2 max pooling."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.layer = Layer(channels, channels, 1, dropout)

    def forward(self, features: Tensor) -> Tensor:
        return functional.max_pool2d(self.layer(features), 2)


class TransitionUp(nn.Module):
    """Table 1, right: 3×3 transposed convolution of stride 2, cropped at the centre to the skip's size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, channels, 3, stride=2)

    def forward(self, features: Tensor, size: Sequence[int]) -> Tensor:
        up = self.conv(features)
        top, left = (up.shape[2] - size[0]) // 2, (up.shape[3] - size[1]) // 2
        return up[:, :, top : top + size[0], left : left + size[1]]
