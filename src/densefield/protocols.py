"""What crosses from room to room, each as one protocol: a network, a data set, a refinement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from densefield.checks import check
from densefield.classes import ClassList
from densefield.images.bands import Reading

T = TypeVar("T")


class Network(Protocol):
    """Image (B, `in_channels`, H, W) → scores (B, `num_classes`, H − 2 `margin`, W − 2 `margin`).

    A score depends on no input pixel further than `reach` from its own (None: on the whole image); tiles give the same
    scores as the whole image when their origins are multiples of `stride`. A network that takes only certain sides says
    the `smallest`; others are that plus multiples of `stride`. Networks of other origin need say none of it: `geometry`
    reads what is there.

    A network may also have `all_scores(image) -> tuple[Tensor, ...]`, for learning: its answer, then the scores of its
    scales or auxiliary heads, each at its own size. Score i of each lies at pixel i·s, s in `all_strides`; where all
    have the image's size, s is 1 and need not be said. One that enlarges its answer may give the same before that:
    `own_scores(image)`, at pixels i·s, s in `own_strides`.
    """

    in_channels: int
    num_classes: int
    margin: int
    stride: int
    reach: int | None

    def __call__(self, image: Tensor, /) -> Tensor: ...


class Geometry(NamedTuple):
    """How a network's scores lie over its image, in pixels, as `Network` explains."""

    margin: int
    stride: int
    reach: int | None  # None: not known, so that any pixel may matter
    smallest: int


def geometry(network: nn.Module) -> Geometry:
    """What `network` says of itself; of others, that scores cover the image and repeat every 32 pixels at most."""
    margin = stated(network, "margin", 0)
    return Geometry(
        margin,
        stated(network, "stride", 32),
        stated(network, "reach", None),
        stated(network, "smallest", 2 * margin + 1),
    )


def all_scores(network: nn.Module, image: Tensor, *, own: bool = False) -> list[tuple[Tensor, int]]:
    """What `network` lets a loss see, as `Network` explains, each with its stride: its answer, and more if it has more.

    `own`: before the answer is enlarged. Raises `InputError` where a network does not say by `all_strides` where scores
    of another size than the image's lie, and for `own` scores of one that has none.
    """
    name = "own" if own else "all"
    several = getattr(network, f"{name}_scores", None)
    check(not own or has_own_scores(network), f"{type(network).__name__}: has a score for every pixel, and no others")
    if not callable(several):
        return [(network(image), 1)]
    scores, strides = tuple(several(image)), tuple(getattr(network, f"{name}_strides", ()))
    if not strides and all(each.shape[2:] == image.shape[2:] for each in scores):
        strides = (1,) * len(scores)
    wanted = f"{name}_strides: wanted the strides of the {len(scores)} scores that {name}_scores gives"
    check(len(strides) == len(scores), f"{wanted}, received {strides}")
    return list(zip(scores, strides, strict=True))


def has_own_scores(network: nn.Module) -> bool:
    """Whether `all_scores(network, image, own=True)` can be had."""
    return bool(getattr(network, "own_strides", ()))


def speaks(network: nn.Module) -> bool:
    """Whether a network speaks the protocol itself: those that state their `margin` do, or have `all_scores`."""
    return isinstance(getattr(network, "margin", None), int) or callable(getattr(network, "all_scores", None))


def stated(network: nn.Module, name: str, otherwise: T) -> int | T:
    """A whole number that networks state of themselves; those of other origin may mean something else by the name."""
    value = getattr(network, name, otherwise)
    return value if isinstance(value, int) else otherwise


class Refinement(Protocol):
    """Scores (B, K, H, W) and the image (B, C, H, W) in [0, 1] → scores (B, K, H, W), before softmax."""

    def __call__(self, scores: Tensor, image: Tensor, /) -> Tensor: ...


class Sample(NamedTuple):
    """One image with a label for each pixel; 255 in `target` means "not labelled"."""

    image: npt.NDArray[np.uint8]  # (H, W, 3), RGB
    target: npt.NDArray[np.uint8]  # (H, W)
    name: str


class Pairs(Protocol):
    """A data set: a `Sample` at each index.

    `names` are the images', in order; `reading` says how their files are read, where they do not.

    A data set that tells objects of a class apart may also have `instances(index) -> (H, W)` uint16 that numbers them
    1, 2, …: 0 is what is none, and no object has 255, which means "not labelled" as in targets.
    """

    classes: ClassList
    names: Sequence[str]
    reading: Reading

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


def instances_of(pairs: Pairs, index: int) -> npt.NDArray[np.uint16] | None:
    """An image's numbered objects (H, W), as `Pairs` explains; None where the data set does not tell them apart."""
    numbered = getattr(pairs, "instances", None)
    return numbered(index) if callable(numbered) else None
