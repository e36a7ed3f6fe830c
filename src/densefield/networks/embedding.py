"""The embedding network: each pixel's place in a space where one region's pixels lie close together.

Harley, Derpanis, Kokkinos, "Learning Dense Convolutional Embeddings for Semantic Segmentation", ICLR workshop 2016, and
"Segmentation-Aware Convolutional Networks Using Local Attention Masks", ICCV 2017; taps and weights as their published
definition has them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Annotated, TypeAlias

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import described
from densefield.built.bounds import Channels
from densefield.checks import InputError, check, check_map
from densefield.networks.vgg import VGG, VGG16

ALONE = ("image", "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")  # of a network for embeddings only
IN_VGG = ("conv1_2", "conv2_2", "conv3_3")  # of a trunk that a segmentation network uses too

_IMAGE = "image"
Taps: TypeAlias = Annotated[Sequence[str], Field(min_length=1, description="layers of VGG-16, or image")]


@described()
def embedding_network(
    in_channels: Channels = 3,
    *,
    dimension: Channels = 64,
    taps: Taps = ALONE,
    width: Channels = 64,
    batch_norm: bool = False,
) -> EmbeddingNetwork:
    """The embedding network with a trunk of its own: VGG-16's first convolutions, as many as `taps` need.

    The published one has 596,544 parameters. `width` and `batch_norm` are those of `VGG`: a narrow, normalised network
    learns from a few hundred images. Raises `InputError` for taps that VGG-16 does not have.
    """
    return EmbeddingNetwork(
        VGG(in_channels, blocks=_blocks(taps), width=width, batch_norm=batch_norm), dimension=dimension, taps=taps
    )


@described("shared_trunk")
class EmbeddingNetwork(nn.Module):
    """Embeddings by the layers of `trunk`: image (B, C, H, W), normalised → (B, `dimension`, H, W).

    Features of `trunk` named by `taps` ("image" is the image itself) are enlarged bilinearly to the image, concatenated
    and mixed by a 1×1 convolution. The trunk may be another network's, whose weights are then shared:
    `EmbeddingNetwork(deeplab.trunk, taps=IN_VGG)`. Embeddings depend on no pixel further than `reach` away; tiles whose
    origins are multiples of `stride` give the same embeddings as the whole image.
    """

    margin = 0

    def __init__(self, trunk: VGG, *, dimension: Channels = 64, taps: Taps = ALONE) -> None:
        super().__init__()
        wanted = "a VGG, such as the trunk of deeplab_largefov"
        check(
            isinstance(trunk, VGG),
            f"trunk: wanted {wanted}, received {'none' if trunk is None else type(trunk).__name__}",
        )
        check(
            trunk.offset == 0,
            "trunk: wanted one whose features lie at pixels, as with 3×3 poolings, received one of 2×2",
        )
        check(dimension >= 1, f"dimension: wanted at least 1, received {dimension}")
        check(len(taps) > 0 and len(set(taps)) == len(taps), f"taps: wanted names, each once, received {list(taps)}")
        known = (_IMAGE, *trunk.layout)
        for tap in taps:
            check(tap in known, f"taps: wanted some of {', '.join(known)}, received {tap!r}")
        self.trunk = trunk
        self.in_channels, self.dimension = trunk.in_channels, dimension
        self.taps = tuple(taps)
        tapped = [trunk.layout[tap] for tap in taps if tap != _IMAGE]
        self.stride = max((layer.stride for layer in tapped), default=1)
        self.reach = max((layer.reach + layer.stride - 1 for layer in tapped), default=0)
        channels = [self.in_channels if tap == _IMAGE else trunk.layout[tap].channels for tap in taps]
        ends = list(itertools.accumulate(channels, initial=0))
        self._shares = {tap: slice(*span) for tap, span in zip(taps, itertools.pairwise(ends), strict=True)}
        self.mix = nn.Conv2d(ends[-1], dimension, 1)
        nn.init.kaiming_uniform_(self.mix.weight, nonlinearity="linear")  # Caffe's "xavier": variance 1 / inputs
        assert self.mix.bias is not None
        nn.init.zeros_(self.mix.bias)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, dimension, H, W)
        check_map("image", image, self.in_channels)
        # Mixing and enlarging are linear, so each tap is mixed where it lies, before it is enlarged, and shares are
        # summed: the result of concatenating enlarged features (643 channels), without ever holding them.
        shares: dict[int, Tensor] = {}  # by stride
        if _IMAGE in self._shares:
            shares[1] = self._share(_IMAGE, image)
        missing = len(self.taps) - len(shares)
        layers = self.trunk.layers(image) if missing else iter(())
        for name, features in layers:
            if name in self._shares:
                stride, share = self.trunk.layout[name].stride, self._share(name, features)
                shares[stride] = shares[stride] + share if stride in shares else share
                missing -= 1
            if not missing:
                break
        return self._sum(shares, image.shape[2], image.shape[3])

    def _share(self, tap: str, features: Tensor) -> Tensor:
        return functional.conv2d(features, self.mix.weight[:, self._shares[tap]])

    def _sum(self, shares: dict[int, Tensor], height: int, width: int) -> Tensor:  # (B, dimension, height, width)
        """The sum at stride 1, coarse to fine: linear between the same points, however many steps it is enlarged in."""
        strides = sorted({*shares, 1}, reverse=True)
        assert self.mix.bias is not None
        total = shares[strides[0]] + self.mix.bias[:, None, None]
        for coarse, fine in itertools.pairwise(strides):
            # Feature i lies at pixel stride·i: corners are aligned, and what lies beyond the image is cut.
            factor = coarse // fine
            size = tuple((length - 1) * factor + 1 for length in total.shape[2:])
            total = functional.interpolate(total, size=size, mode="bilinear", align_corners=True)
            rows, columns = ((length + fine - 2) // fine + 1 for length in (height, width))
            total = total[:, :, :rows, :columns]
            if fine in shares:
                total = total + shares[fine]
        return total.contiguous()


def _blocks(taps: Sequence[str]) -> tuple[int, ...]:
    """How many convolutions each block needs: VGG-16's, and no more than up to the deepest tap."""
    deepest = (1, 1)  # block, convolution
    for tap in taps:
        if tap == _IMAGE:
            continue
        named = re.fullmatch(r"conv([1-5])_([1-3])", tap)
        place = (int(named[1]), int(named[2])) if named else None
        if place is None or place[1] > VGG16[place[0] - 1]:
            raise InputError(f"taps: wanted image or convolutions of VGG-16, conv1_1 to conv5_3, received {tap!r}")
        deepest = max(deepest, place)
    return (*VGG16[: deepest[0] - 1], deepest[1])
