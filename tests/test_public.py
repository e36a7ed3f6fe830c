"""The public face: taking a name away, or adding one, is a decision that this list records."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

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


README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def imported(code: str) -> set[tuple[str, str]]:
    """Each name that is imported from densefield or below, with the module."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "densefield"
        for alias in node.names
    }


def test_the_public_names_are_these() -> None:
    assert set(densefield.__all__) == PUBLIC


def test_types_are_read_of_the_same_names_in_the_same_rooms() -> None:
    typed = imported(Path(densefield.__file__).read_text(encoding="utf-8"))
    assert typed == {(f"densefield.{room}", name) for name, room in densefield._ROOMS.items()}


def test_the_readme_takes_every_name_from_densefield_itself() -> None:
    used = set().union(*map(imported, CODE))
    assert len(used) >= 6
    assert used <= {("densefield", name) for name in PUBLIC}
    assert set(re.findall(r"`([A-Z]\w+)`", README)) <= PUBLIC  # classes that its text names


def test_every_module_that_the_readme_names_is_there() -> None:
    modules = re.findall(r"`(densefield(?:\.\w+)+)`", README)
    assert modules
    for name in modules:
        importlib.import_module(name)


def test_the_readme_with_a_name_from_further_down_would_fail() -> None:
    assert imported("import torch\nfrom densefield.refine import DenseCRF\n") == {("densefield.refine", "DenseCRF")}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(densefield, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        densefield.no_such_name  # noqa: B018


def test_importing_densefield_imports_nothing_heavy() -> None:
    code = "import sys, densefield; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
