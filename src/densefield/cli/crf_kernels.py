"""The dense CRF's settings as commands take them: a published preset, and numbers laid over it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from cyclopts import Parameter

from densefield.checks import check

if TYPE_CHECKING:
    from densefield.refine import Kernel

CERTAINTY = 0.7  # of a mask's labels, where nobody says it

Preset: TypeAlias = Literal[
    "default", "deeplab-v1", "deeplab-v1-msc", "deeplab-v1-coco", "deeplab-v2", "deeplab-v2-vgg16"
]


@Parameter(name="*")  # its fields are flags of their own
@dataclasses.dataclass(frozen=True)
class Numbers:
    """What takes the place of a preset's widths and weights, where it is given."""

    alpha: Annotated[float | None, Parameter(help="Width in pixels over which color matters.")] = None
    beta: Annotated[float | None, Parameter(help="Width in color, 8-bit units.")] = None
    gamma: Annotated[float | None, Parameter(help="Width in pixels of the kernel that only smooths.")] = None
    bilateral_weight: Annotated[float | None, Parameter(help="Weight of the kernel of places and colors.")] = None
    spatial_weight: Annotated[float | None, Parameter(help="Weight of the kernel that only smooths.")] = None


NONE = Numbers()


def chosen_kernels(preset: Preset, numbers: Numbers = NONE) -> tuple[Kernel, ...]:
    """The two kernels of `preset`, each number replaced where one is given; raises `InputError` for another preset."""
    from densefield.refine import BilateralKernel, SpatialKernel, presets

    chosen = {
        "default": presets.DEFAULT,
        "deeplab-v1": presets.DEEPLAB_V1,
        "deeplab-v1-msc": presets.DEEPLAB_V1_MSC,
        "deeplab-v1-coco": presets.DEEPLAB_V1_COCO,
        "deeplab-v2": presets.DEEPLAB_V2,
        "deeplab-v2-vgg16": presets.DEEPLAB_V2_VGG16,
    }
    check(preset in chosen, f"preset: wanted one of {', '.join(chosen)}, received {preset!r}")
    spatial, bilateral = chosen[preset]
    assert isinstance(spatial, SpatialKernel)
    assert isinstance(bilateral, BilateralKernel)
    return (
        SpatialKernel(
            theta_gamma=spatial.theta_gamma if numbers.gamma is None else numbers.gamma,
            weight=spatial.weight if numbers.spatial_weight is None else numbers.spatial_weight,
        ),
        BilateralKernel(
            theta_alpha=bilateral.theta_alpha if numbers.alpha is None else numbers.alpha,
            theta_beta=bilateral.theta_beta if numbers.beta is None else numbers.beta,
            weight=bilateral.weight if numbers.bilateral_weight is None else numbers.bilateral_weight,
        ),
    )
