"""FC-DenseNet: dense blocks in an encoder-decoder with skip connections.

Jégou, Drozdzal, Vazquez, Romero, Bengio, "The One Hundred Layers Tiramisu: Fully Convolutional DenseNets for
Semantic Segmentation", CVPR workshops 2017: section 3, figures 1 and 2, tables 1 to 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels, Count, Share
from densefield.checks import check_map
from densefield.networks.dense_block import DenseBlock, Layer, dense_layers

TIRAMISU_103 = (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)  # layers of the dense blocks, table 2


@described()
def fc_densenet56(
    num_classes: Count, in_channels: Channels = 3, *, dropout: Share = 0.2, checkpointing: bool = False
) -> FCDenseNet:
    """FC-DenseNet56: 4 layers a block, growth rate 12; 1.4 M parameters (table 3)."""
    return FCDenseNet(
        num_classes, in_channels, layers=(4,) * 11, growth_rate=12, dropout=dropout, checkpointing=checkpointing
    )


@described()
def fc_densenet67(
    num_classes: Count, in_channels: Channels = 3, *, dropout: Share = 0.2, checkpointing: bool = False
) -> FCDenseNet:
    """FC-DenseNet67: 5 layers a block, growth rate 16; 3.5 M parameters (table 3)."""
    return FCDenseNet(
        num_classes, in_channels, layers=(5,) * 11, growth_rate=16, dropout=dropout, checkpointing=checkpointing
    )


@described()
def fc_densenet103(
    num_classes: Count, in_channels: Channels = 3, *, dropout: Share = 0.2, checkpointing: bool = False
) -> FCDenseNet:
    """FC-DenseNet103: 4 to 15 layers a block (table 2), growth rate 16; 9.4 M parameters (table 3)."""
    return FCDenseNet(
        num_classes, in_channels, layers=TIRAMISU_103, growth_rate=16, dropout=dropout, checkpointing=checkpointing
    )


@described()
def classic_upsampling(
    num_classes: Count, in_channels: Channels = 3, *, dropout: Share = 0.2, checkpointing: bool = False
) -> ClassicUpsampling:
    """FC-DenseNet103's downsampling path under a decoder of standard convolutions; 20 M parameters (table 3)."""
    return ClassicUpsampling(num_classes, in_channels, dropout=dropout, checkpointing=checkpointing)


class FCDenseNet(nn.Module):
    """The network of figure 1: image (B, C, H, W) of any size → scores (B, K, H, W).

    `layers` lists the layers of every dense block: down path, bottleneck, up path. In the up path only what a block's
    own layers made (not its input) goes on to the next transition (section 3.2); the last block keeps its input.
    `margin`, `stride`, `reach` are in pixels: a score depends on no pixel further than `reach`, and tiles give the same
    scores as the whole image when their origins are multiples of `stride`.
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
        self.reach = _reach(layers[: pools + 1], layers[pools + 1 :], transposed_size=3)

        self.first = nn.Conv2d(in_channels, first_channels, 3, padding=1)
        self.down_blocks, self.down_transitions, skips = _down_path(
            first_channels, layers[:pools], growth_rate, dropout, checkpointing
        )
        self.bottleneck = DenseBlock(
            skips[-1], layers[pools], growth_rate, dropout, keep_input=False, checkpointing=checkpointing
        )
        self.up_transitions, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        made = layers[pools] * growth_rate
        for level, count in reversed(list(enumerate(reversed(layers[pools + 1 :])))):
            self.up_transitions.append(TransitionUp(made, made, 3))
            channels = made + skips[level]
            self.up_blocks.append(
                DenseBlock(channels, count, growth_rate, dropout, keep_input=level == 0, checkpointing=checkpointing)
            )
            made = count * growth_rate
        self.classifier = nn.Conv2d(channels + made, num_classes, 1)
        _initialize(self)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        features, skips = _go_down(self.first(_at_least(image, self.stride)), self.down_blocks, self.down_transitions)
        features = self.bottleneck(features)
        for transition, block in zip(self.up_transitions, self.up_blocks, strict=True):
            skip = skips.pop()
            features = block(transition(features, skip.shape[2:]), skip)
        return self.classifier(features)[:, :, : image.shape[2], : image.shape[3]]


class ClassicUpsampling(nn.Module):
    """Table 3's comparison: the dense down path of FC-DenseNet103, then U-Net's kind of up path.

    The paper gives the decoder in one sentence (3 convolutions a resolution, of 512, 256, 128, 128 and 64 filters, as
    in U-Net) and its 20 M parameters; its code is not published. Read here as: U-Net's 2×2 up-convolution of stride 2
    to the level's filters, the skip, three 3×3 layers of table 1. That makes 20.28 M; docs/networks.md counts others.
    """

    margin = 0

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        layers: Sequence[int] = TIRAMISU_103[:6],
        growth_rate: int = 16,
        first_channels: int = 48,
        filters: Sequence[int] = (512, 256, 128, 128, 64),
        dropout: float = 0.2,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.num_classes = num_classes
        pools = len(layers) - 1
        self.stride = 2**pools
        self.reach = _reach(layers, (3,) * pools, transposed_size=2)

        self.first = nn.Conv2d(in_channels, first_channels, 3, padding=1)
        self.down_blocks, self.down_transitions, skips = _down_path(
            first_channels, layers[:pools], growth_rate, dropout, checkpointing
        )
        self.bottleneck = DenseBlock(
            skips[-1], layers[pools], growth_rate, dropout, keep_input=False, checkpointing=checkpointing
        )
        self.up_transitions, self.up_layers = nn.ModuleList(), nn.ModuleList()
        made = layers[pools] * growth_rate
        for width, skip in zip(filters, reversed(skips), strict=True):
            self.up_transitions.append(TransitionUp(made, width, 2))
            self.up_layers.append(
                nn.ModuleList(Layer(channels, width, 3, dropout) for channels in (width + skip, width, width))
            )
            made = width
        self.classifier = nn.Conv2d(made, num_classes, 1)
        _initialize(self)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        features, skips = _go_down(self.first(_at_least(image, self.stride)), self.down_blocks, self.down_transitions)
        features = self.bottleneck(features)
        for transition, layers in zip(self.up_transitions, self.up_layers, strict=True):
            skip = skips.pop()
            pieces = [transition(features, skip.shape[2:]), skip]
            for layer in layers.children():
                pieces = [dense_layers([layer], pieces, keep_input=False, checkpointing=self.bottleneck.checkpointing)]
            features = pieces[0]
        return self.classifier(features)[:, :, : image.shape[2], : image.shape[3]]


class TransitionDown(nn.Module):
    """Table 1, middle: a 1×1 layer that keeps the channels, then 2×2 max pooling."""

    def __init__(self, channels: int, dropout: float, checkpointing: bool) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.layer = Layer(channels, channels, 1, dropout)

    def forward(self, features: Tensor) -> Tensor:
        made = dense_layers([self.layer], [features], keep_input=False, checkpointing=self.checkpointing)
        return functional.max_pool2d(made, 2)


class TransitionUp(nn.Module):
    """Table 1, right: transposed convolution of stride 2, then cropped at the centre or padded to the skip's size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride=2)

    def forward(self, features: Tensor, size: Sequence[int]) -> Tensor:
        up = self.conv(features)
        if self.conv.kernel_size[0] == 2:  # leaves an odd size one pixel short; asked of no size, so that it exports
            up = functional.pad(up, (0, size[1] - up.shape[3], 0, size[0] - up.shape[2]))
        top, left = ((have - want) // 2 for have, want in zip(up.shape[2:], size, strict=True))
        return up[:, :, top : top + size[0], left : left + size[1]]


def _down_path(
    channels: int, layers: Sequence[int], growth_rate: int, dropout: float, checkpointing: bool
) -> tuple[nn.ModuleList, nn.ModuleList, list[int]]:
    """Dense blocks, transitions, and the channels of their skip connections."""
    blocks, transitions, skips = nn.ModuleList(), nn.ModuleList(), []
    for count in layers:
        blocks.append(DenseBlock(channels, count, growth_rate, dropout, keep_input=True, checkpointing=checkpointing))
        channels += count * growth_rate
        skips.append(channels)
        transitions.append(TransitionDown(channels, dropout, checkpointing))
    return blocks, transitions, skips


def _go_down(features: Tensor, blocks: nn.ModuleList, transitions: nn.ModuleList) -> tuple[Tensor, list[Tensor]]:
    skips = []
    for block, transition in zip(blocks, transitions, strict=True):
        skips.append(block(features))
        features = transition(skips[-1])
    return features, skips


def _at_least(image: Tensor, stride: int) -> Tensor:
    """Zeros below and to the right of an image too small to be pooled `log2(stride)` times."""
    height, width = image.shape[2:]
    if min(height, width) >= stride:
        return image
    return functional.pad(image, (0, max(0, stride - width), 0, max(0, stride - height)))


def _reach(down: Sequence[int], up: Sequence[int], *, transposed_size: int) -> int:
    """How far a score sees, in pixels, of a path with these numbers of 3×3 layers.

    Counted to both sides of the pixel where a feature begins: a 3×3 layer adds its spacing to both; pooling sees one
    more to the right; a 3×3 transposed convolution reads the feature before its own, a 2×2 one only its own, whose
    pixel may begin up to one spacing further left.
    """
    left = right = spacing = 1  # after the first convolution
    for index, count in enumerate(down):
        if index:
            right += spacing
            spacing *= 2
        left += count * spacing
        right += count * spacing
    for count in up:
        left += spacing if transposed_size == 3 else spacing // 2
        spacing //= 2
        left += count * spacing
        right += count * spacing
    return max(left, right)


def _initialize(network: nn.Module) -> None:
    """HeUniform weights, zero biases (section 4.1)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
