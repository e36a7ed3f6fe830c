"""The dense CRF's settings as commands take them: a published preset, and numbers laid over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from densefield.checks import check

if TYPE_CHECKING:
    from densefield.refine import Kernel

Preset: TypeAlias = Literal[
    "default", "deeplab-v1", "deeplab-v1-msc", "deeplab-v1-coco", "deeplab-v2", "deeplab-v2-vgg16"
]


def chosen_kernels(
    preset: Preset,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    bilateral_weight: float | None = None,
    spatial_weight: float | None = None,
) -> tuple[Kernel, ...]:
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
            theta_gamma=spatial.theta_gamma if gamma is None else gamma,
            weight=spatial.weight if spatial_weight is None else spatial_weight,
        ),
        BilateralKernel(
            theta_alpha=bilateral.theta_alpha if alpha is None else alpha,
            theta_beta=bilateral.theta_beta if beta is None else beta,
            weight=bilateral.weight if bilateral_weight is None else bilateral_weight,
        ),
    )
