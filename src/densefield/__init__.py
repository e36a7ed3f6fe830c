"""densefield: semantic segmentation with sharp boundaries, on any PyTorch model.

The names below are the public face; each is imported when first used, so that `import densefield` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from densefield.checks import InputError as InputError
    from densefield.classes import ClassList as ClassList
    from densefield.images import read_image as read_image
    from densefield.losses import CrossEntropy as CrossEntropy
    from densefield.losses import DiceLoss as DiceLoss
    from densefield.losses import border_weights as border_weights
    from densefield.losses import cross_entropy as cross_entropy
    from densefield.losses import dice_loss as dice_loss
    from densefield.losses import median_frequency_weights as median_frequency_weights
    from densefield.metrics import BoundaryIoU as BoundaryIoU
    from densefield.metrics import ConfusionMatrix as ConfusionMatrix
    from densefield.metrics import TrimapCurve as TrimapCurve
    from densefield.networks import classic_upsampling as classic_upsampling
    from densefield.networks import fc_densenet56 as fc_densenet56
    from densefield.networks import fc_densenet67 as fc_densenet67
    from densefield.networks import fc_densenet103 as fc_densenet103
    from densefield.networks import unet as unet
    from densefield.ops.gaussian import gaussian_filter as gaussian_filter
    from densefield.refine import BilateralKernel as BilateralKernel
    from densefield.refine import DenseCRF as DenseCRF
    from densefield.refine import EmbeddingFilter as EmbeddingFilter
    from densefield.refine import FeatureKernel as FeatureKernel
    from densefield.refine import SpatialKernel as SpatialKernel
    from densefield.segmenter import Segmenter as Segmenter

__version__ = "0.1.0"  # the build reads it here too

# The rooms once more, for Python itself; what stands above is for whoever reads types.
_NAMES = {
    "checks": ("InputError",),
    "classes": ("ClassList",),
    "images": ("read_image",),
    "losses": ("CrossEntropy", "DiceLoss", "border_weights", "cross_entropy", "dice_loss", "median_frequency_weights"),
    "metrics": ("BoundaryIoU", "ConfusionMatrix", "TrimapCurve"),
    "networks": ("classic_upsampling", "fc_densenet103", "fc_densenet56", "fc_densenet67", "unet"),
    "ops.gaussian": ("gaussian_filter",),
    "refine": ("BilateralKernel", "DenseCRF", "EmbeddingFilter", "FeatureKernel", "SpatialKernel"),
    "segmenter": ("Segmenter",),
}
_ROOMS = {name: room for room, names in _NAMES.items() for name in names}

__all__ = list(_ROOMS)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(f"densefield.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'densefield' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
