"""Scenes that need no download: real handwritten digits, inked over real photographs, labelled pixel by pixel.

The handwriting is scikit-learn's copy of the UCI digits (Alpaydin and Kaynak, 1998; 1797 pictures of 8x8 pixels), the
photographs are those that ship inside scikit-image. Three splits share neither a handwritten digit nor a photograph:
digits are divided in the order of the file, where neighbours are likely to be by the same hand.
"""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Sequence
from typing import Annotated, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch.utils.data import Dataset

from densefield.built import described
from densefield.built.bounds import Count
from densefield.checks import check
from densefield.classes import ClassList, default_colors
from densefield.data.sample import Sample
from densefield.images.bands import AS_DECLARED

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]


class Sources(NamedTuple):
    """What the scenes of one split are made of."""

    seed: int
    photographs: tuple[str, ...]  # functions of skimage.data that read a file of the package
    handwriting: slice  # of scikit-learn's 1797
    scenes: int  # unless told otherwise


SPLITS = {
    "train": Sources(
        1,
        (
            "astronaut",
            "hubble_deep_field",
            "immunohistochemistry",
            "retina",
            "camera",
            "coins",
            "clock",
            "brick",
            "grass",
        ),
        slice(0, 1200),
        1024,
    ),
    "val": Sources(2, ("rocket", "gravel"), slice(1200, 1500), 64),
    "test": Sources(3, ("chelsea", "coffee"), slice(1500, 1797), 64),
}

DIGITS = (0, 1)  # what a small network learns to tell apart in two minutes on two cores

_HEIGHTS = (24.0, 40.0)  # of a digit, in pixels
_AREA = 1300.0  # square pixels of a scene for each digit
_KEPT = 1 << 26  # bytes of scenes that are composed once and kept
_STROKE = 0.42  # the share of full ink at which a pixel counts as part of the digit


Size: TypeAlias = Annotated[int, Field(ge=32, le=2048)]
Digits: TypeAlias = Sequence[Annotated[int, Field(ge=0, le=9)]]


@described()
def samples(
    split: str = "train",
    *,
    size: Size = 96,
    scenes: Count = 1024,
    held_out_size: Size = 192,
    held_out_scenes: Count = 64,
    digits: Digits = DIGITS,
) -> SampleScenes:
    """The embedded scenes: handwriting over photographs, nothing to download.

    Training scenes may be smaller than those measured on, as the handwriting is of one size in both.
    """
    if split == "train":
        return SampleScenes(split, size=size, count=scenes, digits=digits)
    return SampleScenes(split, size=held_out_size, count=held_out_scenes, digits=digits)


class SampleScenes(Dataset[Sample]):
    """Square scenes of `size` pixels; the classes are the background and each of the `digits`, any of 0 to 9.

    Digits are 24 to 40 pixels high whatever `size` is, so that a network trained on small scenes serves for large ones.
    Scene `i` depends on nothing but `i`, `split`, `size` and `digits`: every run sees the same. Sets of less than
    64 MiB are kept as they are composed, which takes a small network's step a quarter longer.
    """

    reading = AS_DECLARED  # of files, of which there are none

    def __init__(
        self, split: str = "train", size: int = 96, count: int | None = None, digits: Sequence[int] = DIGITS
    ) -> None:
        check(split in SPLITS, f"split: wanted train, val or test, received {split!r}")
        check(32 <= size <= 2048, f"size: wanted 32 to 2048 pixels, received {size}")
        count = SPLITS[split].scenes if count is None else count
        check(count >= 1, f"count: wanted at least one scene, received {count}")
        self.digits = tuple(sorted(digits))
        right = bool(self.digits) and set(self.digits) <= set(range(10)) and len(set(self.digits)) == len(self.digits)
        check(right, f"digits: wanted some of 0 to 9, each once, received {list(digits)}")
        self.split, self.size = split, size
        self.classes = ClassList(
            names=("background", *(str(digit) for digit in self.digits)),
            colors=((0, 0, 0), *default_colors(len(self.digits))),
            ignore_declared=True,
        )
        self.names: list[str] = [f"{split}-{index:05d}" for index in range(count)]
        self._kept: dict[int, Sample] | None = {} if 4 * size**2 * count < _KEPT else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]  # an IndexError here ends a plain for loop
        index %= len(self.names)
        scene = self._kept.get(index) if self._kept else None
        if scene is None:
            scene = compose_scene(self.split, index, self.size, self.digits, name)
        if self._kept is None:
            return scene
        self._kept[index] = scene
        return Sample(scene.image.copy(), scene.target.copy(), name)  # whoever gets it may write into it


def compose_scene(split: str, index: int, size: int, digits: tuple[int, ...], name: str) -> Sample:
    """Scene number `index` of a split: a photograph's window, then digits written over it, none over another."""
    sources = SPLITS[split]
    rng = np.random.default_rng([sources.seed, index])
    image = _window(_photograph(sources.photographs[rng.integers(len(sources.photographs))]), size, rng)
    shapes, values = _handwriting()
    shapes, values = shapes[sources.handwriting], values[sources.handwriting]
    known = np.flatnonzero(np.isin(values, digits))
    target = np.zeros((size, size), np.uint8)
    occupied = np.zeros((size, size), np.uint8)
    wanted = max(1, round(size * size * rng.uniform(0.7, 1.3) / _AREA))
    for _ in range(6 * wanted):  # tries; a crowded scene gets fewer digits
        if wanted == 0:
            break
        digit = int(known[rng.integers(len(known))])
        ink = _written(shapes[digit], size, rng)
        drawn = ink > 0.5
        if np.any(occupied[drawn]) or drawn.sum() < 12:
            continue
        _apply_ink(image, ink, rng)
        target[drawn] = 1 + digits.index(int(values[digit]))
        occupied |= cv2.dilate(drawn.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.uint8)
        wanted -= 1
    grain = rng.normal(0.0, 4.0, image.shape)
    return Sample(np.clip(np.rint(image + grain), 0, 255).astype(np.uint8), target, name)


def _window(photograph: Pixels, size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:  # (size, size, 3)
    """A random square of the photograph, at random scale, perhaps mirrored."""
    shorter = min(photograph.shape[:2])
    side = int(shorter * rng.uniform(0.3, 0.95))
    top = int(rng.integers(photograph.shape[0] - side + 1))
    left = int(rng.integers(photograph.shape[1] - side + 1))
    window = photograph[top : top + side, left : left + side]
    if rng.random() < 0.5:
        window = window[:, ::-1]
    method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(window), (size, size), interpolation=method)
    balance = rng.uniform(0.8, 1.2, 3).astype(np.float32)  # white balance and exposure vary from scene to scene
    return resized.astype(np.float32) * balance


def _written(shape: Mask, size: int, rng: np.random.Generator) -> Mask:  # (size, size), 0 ... 1
    """The digit's ink at a random place of the scene, of random height, width, slant and turn."""
    height = rng.uniform(*_HEIGHTS)
    width = height * rng.uniform(0.75, 1.0)
    turn, slant = rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)
    cosine, sine = np.cos(turn), np.sin(turn)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1.0, slant], [0.0, 1.0]])
    linear = linear @ np.diag([width, height]) / shape.shape[0]
    reach = np.abs(linear) @ np.full(2, shape.shape[0] / 2)
    center = rng.uniform(np.minimum(0.9 * reach, size / 2), np.maximum(size - 0.9 * reach, size / 2))
    middle = (shape.shape[0] - 1) / 2
    matrix = np.hstack([linear, (center - linear @ np.full(2, middle))[:, None]])
    strength = cv2.warpAffine(shape, matrix, (size, size), flags=cv2.INTER_LINEAR)
    # The edge is about one and a half pixels wide at every size, as a sharp photograph of a pen stroke would have it.
    slope = 0.11 * height / 8
    return np.clip((strength - _STROKE) * slope * 4 + 0.5, 0.0, 1.0).astype(np.float32)


def _apply_ink(image: npt.NDArray[np.float32], ink: Mask, rng: np.random.Generator) -> None:
    """Lay ink of a random color over `image` in place; of eight random colors the one that stands out best."""
    inside = ink > 0.1
    ground = image[inside].mean(axis=0)
    pens = [
        255.0 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 1.0), rng.choice([0.15, 0.6, 1.0])))
        for _ in range(8)
    ]
    pen = max(pens, key=lambda color: float(np.abs(color - ground).sum()))
    opacity = ink[..., None] * np.float32(rng.uniform(0.85, 1.0))
    image += opacity * (pen.astype(np.float32) - image)


@functools.cache
def _photograph(name: str) -> Pixels:  # (H, W, 3)
    """A photograph of the scikit-image package, grey ones as RGB, at most about 1024 pixels wide."""
    import skimage.data  # here, because only this data set needs it

    photograph = np.asarray(getattr(skimage.data, name)())
    if photograph.ndim == 2:
        photograph = np.repeat(photograph[..., None], 3, axis=2)
    return np.ascontiguousarray(photograph[..., :3])


@functools.cache
def _handwriting() -> tuple[Mask, npt.NDArray[np.int64]]:  # (1797, 96, 96) of 0 ... 1, (1797,)
    """All digits, enlarged smoothly, with an empty rim, and their values."""
    from sklearn.datasets import load_digits  # here, because only this data set needs it

    digits = load_digits()
    framed = np.pad(digits.images / 16.0, ((0, 0), (1, 1), (1, 1))).astype(np.float32)
    large = np.stack([cv2.resize(digit, (80, 80), interpolation=cv2.INTER_CUBIC) for digit in framed])
    return np.clip(large, 0.0, 1.0), digits.target.astype(np.int64)
