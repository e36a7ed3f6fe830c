"""Flags that several commands take, each with its help once: a parameter of such a group arrives as one object."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from densefield.checks import check

if TYPE_CHECKING:
    from densefield.images.bands import Reading
    from densefield.refine import Kernel
    from densefield.segmenter.views import Views

CERTAINTY = 0.7  # of a mask's labels, where nobody says it

Preset: TypeAlias = Literal[
    "default", "deeplab-v1", "deeplab-v1-msc", "deeplab-v1-coco", "deeplab-v2", "deeplab-v2-vgg16"
]
Device: TypeAlias = Annotated[
    str, Parameter(help="Where to compute: cpu, cuda, cuda:1, mps, or auto for the best there is.")
]
Workers: TypeAlias = Annotated[
    int, Parameter(help="How many images at a time, each in its own process; 0: one a processor.")
]
Trust: TypeAlias = Annotated[
    str | None,
    Parameter(help="Run the code that builds the model's network, package.module:function, which the file names too."),
]
Tile: TypeAlias = Annotated[int | None, Parameter(help="Segment in tiles of so many pixels a side.")]


def trusted(trust: str | None) -> str | None:
    """What a person trusts; its module may lie where the command was started, as a script's own do."""
    if trust is not None and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    return trust


@Parameter(name="*")  # its fields are flags of their own
@dataclasses.dataclass(frozen=True)
class Pixels:
    """How image files are read.

    Args:
        bands: Which bands of the images are red, green and blue, such as 4,3,2 (or which one is gray); by default as
            in the training of the model, and without a model as the file says.
        range: Which values of the images are black and white, such as 0,4095; by default likewise.
    """

    bands: str | None = None
    range: str | None = None

    @property
    def reading(self) -> Reading:
        """What was said, checked."""
        from densefield.images.bands import Reading

        return Reading.of_words(self.bands, self.range)


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Seen:
    """At which sizes the network sees an image.

    Args:
        scales: Factors by which images are resized, such as 0.75,1,1.25: the mean of the softmaxes counts.
        flip: See every size mirrored as well, left for right.
    """

    scales: str | None = None
    flip: bool = False

    @property
    def views(self) -> Views:
        """What was said, checked."""
        from densefield.segmenter.views import Views

        return Views.of_words(self.scales, self.flip)


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Rough:
    """What is to be refined, and how it is to be read.

    Args:
        labels: The rough mask, or a folder of masks with the images' names.
        scores: Scores before softmax (K, H, W) as .npy, or a folder of them with the images' names; a single map
            (1, H, W) is what a sigmoid takes, and its classes are 0 and 1.
        certainty: How probable a mask's label is to be right.
        unsure: The mask's value that means "could be anything", such as 255; so does a class list's ignore_index.
        probabilities: The scores are probabilities, after softmax.
        threshold: Make two classes, 0 and 255, of a soft, smoothed or JPEG mask: what is at least so bright is 255.
        suffix: What stands behind the image's name in that of its mask or scores: _mask for NAME_mask.png; both may
            then lie in one folder.
    """

    labels: Path | None = None
    scores: Path | None = None
    certainty: float = CERTAINTY
    unsure: int | None = None
    probabilities: bool = False
    threshold: int | None = None
    suffix: str = ""


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class CRF:
    """The dense CRF's settings: a published preset, and what takes the place of its numbers.

    Args:
        preset: Published settings of the dense CRF: default (Krähenbühl and Koltun: 10, 80, 13 / 3, 3) or one of
            DeepLab's models.
        alpha: Width in pixels over which color matters.
        beta: Width in color, 8-bit units.
        gamma: Width in pixels of the kernel that only smooths.
        bilateral_weight: Weight of the kernel of places and colors.
        spatial_weight: Weight of the kernel that only smooths.
        iterations: How many updates; 10 by default.
    """

    preset: Preset | None = None
    alpha: float | None = None
    beta: float | None = None
    gamma: float | None = None
    bilateral_weight: float | None = None
    spatial_weight: float | None = None
    iterations: int | None = None

    @property
    def updates(self) -> int:
        """How many updates."""
        updates = 10 if self.iterations is None else self.iterations
        check(updates >= 0, f"--iterations: wanted 0 or more, received {updates}")
        return updates

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The preset's two kernels with these numbers."""
        from densefield.refine import presets

        for flag in ("alpha", "beta", "gamma", "bilateral_weight", "spatial_weight"):
            number = getattr(self, flag)
            right = number is None or 0 < number < math.inf
            check(right, f"--{flag.replace('_', '-')}: wanted a positive finite number, received {number}")
        spatial, bilateral = getattr(presets, (self.preset or "default").upper().replace("-", "_"))
        return (
            _with(spatial, theta_gamma=self.gamma, weight=self.spatial_weight),
            _with(bilateral, theta_alpha=self.alpha, theta_beta=self.beta, weight=self.bilateral_weight),
        )


def _with(kernel: Kernel, **numbers: float | None) -> Kernel:
    """The kernel with those of the numbers that are given."""
    given: dict[str, Any] = {name: number for name, number in numbers.items() if number is not None}
    return dataclasses.replace(kernel, **given)


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Results:
    """Where results go, and which are wanted.

    Args:
        out: The folder for the results; it is made where it is missing.
        overlay: Also draw the result over the image, as OUT/overlays/NAME.png.
        scores: Also keep the scores before softmax, float32 (K, H, W), as OUT/scores/NAME.npy.
        overwrite: Do again what OUT already holds.
    """

    out: Path
    overlay: bool = False
    scores: bool = False
    overwrite: bool = False
