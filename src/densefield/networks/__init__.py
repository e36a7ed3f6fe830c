"""Networks: image (B, C, H, W) → scores (B, K, h, w), one paper a file.

Each states of itself what `densefield.protocols.Network` explains.
"""

from densefield.networks.deeplab import DeepLabLargeFOV, deeplab_largefov
from densefield.networks.embedding import EmbeddingNetwork, embedding_network
from densefield.networks.fc_densenet import (
    ClassicUpsampling,
    FCDenseNet,
    classic_upsampling,
    fc_densenet56,
    fc_densenet67,
    fc_densenet103,
)
from densefield.networks.unet import UNet, unet
from densefield.networks.vgg import VGG

__all__ = [
    "VGG",
    "ClassicUpsampling",
    "DeepLabLargeFOV",
    "EmbeddingNetwork",
    "FCDenseNet",
    "UNet",
    "classic_upsampling",
    "deeplab_largefov",
    "embedding_network",
    "fc_densenet56",
    "fc_densenet67",
    "fc_densenet103",
    "unet",
]
