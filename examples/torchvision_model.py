"""Somebody else's network behind a Segmenter: any image, any size, tiles, drawings. Needs torchvision.

python examples/torchvision_model.py photo.jpg overlay.png
"""

from __future__ import annotations

import sys

from torch import Tensor, nn

from densefield.classes import ClassList, default_colors
from densefield.draw import overlay
from densefield.images import read_image, write_image
from densefield.segmenter import Segmenter


class Scores(nn.Module):
    """Torchvision's segmentation networks answer with a dictionary; a Segmenter wants scores (B, K, H, W)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)["out"]


def main(photo: str, drawn: str) -> None:
    """Draw torchvision's DeepLabv3 classes over a photograph."""
    from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights, deeplabv3_resnet50

    weights = DeepLabV3_ResNet50_Weights.DEFAULT
    names = tuple(weights.meta["categories"])
    classes = ClassList(names=names, colors=default_colors(len(names)))
    # The scaling that these weights were trained with. The network looks at the whole tile (its pooling spans it),
    # so a tile as large as the memory allows is best.
    segmenter = Segmenter(
        Scores(deeplabv3_resnet50(weights=weights)),
        classes,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        tile=1024,
    )
    image = read_image(photo)
    write_image(drawn, overlay(image, segmenter(image).numpy(), classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
