"""The public face: taking a name away, or adding one, is a decision that this list records."""

from __future__ import annotations

import subprocess
import sys

import pytest

import densefield

PUBLIC = {
    "BilateralKernel",
    "BoundaryIoU",
    "ClassList",
    "ConfusionMatrix",
    "CrossEntropy",
    "DenseCRF",
    "DiceLoss",
    "EmbeddingFilter",
    "FeatureKernel",
    "InputError",
    "Segmenter",
    "SpatialKernel",
    "TrimapCurve",
    "border_weights",
    "classic_upsampling",
    "cross_entropy",
    "dice_loss",
    "fc_densenet103",
    "fc_densenet56",
    "fc_densenet67",
    "gaussian_filter",
    "median_frequency_weights",
    "read_image",
    "unet",
}


def test_the_public_names_are_these() -> None:
    assert set(densefield.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(densefield, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        densefield.no_such_name  # noqa: B018


def test_importing_densefield_imports_nothing_heavy() -> None:
    code = "import sys, densefield; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
