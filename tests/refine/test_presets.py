from __future__ import annotations

import pytest

from densefield.refine import BilateralKernel, Kernel, SpatialKernel, presets


@pytest.mark.parametrize(
    ("preset", "bilateral", "spatial"),
    [
        (presets.DEFAULT, (10, 80, 13), (3, 3)),
        (presets.DEEPLAB_V1, (5, 50, 10), (3, 3)),
        (presets.DEEPLAB_V1_MSC, (3, 95, 3), (3, 3)),
        (presets.DEEPLAB_V1_COCO, (5, 67, 3), (3, 3)),
        (presets.DEEPLAB_V2, (4, 67, 3), (3, 1)),
        (presets.DEEPLAB_V2_VGG16, (4, 65, 3), (2, 2)),
    ],
)
def test_published_settings(
    preset: tuple[Kernel, ...], bilateral: tuple[float, ...], spatial: tuple[float, ...]
) -> None:
    smooth, color = preset
    assert isinstance(smooth, SpatialKernel)
    assert isinstance(color, BilateralKernel)
    assert (color.weight, color.theta_alpha, color.theta_beta) == bilateral
    assert (smooth.weight, smooth.theta_gamma) == spatial
