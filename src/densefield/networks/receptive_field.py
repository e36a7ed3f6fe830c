"""How many pixels a network's scores see, computed from its layers: from no image, and by no gradients.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, table 1: "rf size".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from densefield.checks import InputError, check
from densefield.protocols import geometry, stated

_LENGTH = 1024  # pixels more than the smallest image: what strides divide, also where corners are aligned


class Sight(NamedTuple):
    """Along an axis: feature i sees pixels `spacing`·i + `first` to `spacing`·i + `last`."""

    spacing: Fraction
    first: Fraction
    last: Fraction

    @property
    def field(self) -> int:
        """How many pixels these are."""
        return math.ceil(self.last - self.first) + 1

    @property
    def center(self) -> Fraction:
        """The pixel at which feature 0 lies."""
        return (self.first + self.last) / 2


def receptive_field(network: nn.Module) -> int:
    """The side, in pixels, of the square of which a score depends where it is made.

    Enlarging does not count, be it by interpolation, by unpooling or by a deconvolution of a stride: a score between
    two others depends on what both see, which the network's `reach` holds. Raises `InputError` for a network that looks
    at the whole image, whatever its size, or at the image in several sizes, or whose layers do what cannot be followed.
    """
    return max(sight(network, axis).field for axis in (2, 3))


def sight(network: nn.Module, axis: int = 2) -> Sight:
    """What `network`'s scores see along `axis` (2: rows), as `receptive_field` counts."""
    form = geometry(network)
    length = form.smallest + -(-_LENGTH // form.stride) * form.stride
    shapes = {
        name: tensor.detach().to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    dtype = next((tensor.dtype for tensor in shapes.values()), None)
    image = torch.empty(1, stated(network, "in_channels", 3), length, length, device="meta", dtype=dtype)
    training = [module for module in network.modules() if module.training]
    network.eval()  # normalized over the batch a score would depend on all of it
    try:
        with torch.no_grad(), _Followed(image, axis) as followed:
            scores = torch.func.functional_call(network, shapes, (image,))
    finally:
        for module in training:
            module.training = True
    found = followed.find(scores)
    if found is None:
        raise InputError("receptive_field: the network's scores do not depend on the image")
    return found


class _Followed(TorchDispatchMode):
    """Follows, through every operation on tensors without values, what each tensor sees of the image."""

    def __init__(self, image: Tensor, axis: int) -> None:
        super().__init__()
        self._axis = axis
        self._sights: dict[int, Sight] = {}
        self._stored: dict[int, Sight] = {}  # by storage, for buffers that are written piece by piece
        self._kept: list[Tensor] = []  # so that no identity is given twice
        self._remember(image, Sight(Fraction(1), Fraction(0), Fraction(0)))

    def find(self, tensor: Tensor) -> Sight | None:
        """What `tensor` sees; None for what does not come from the image."""
        return self._sights.get(id(tensor), self._stored.get(tensor.untyped_storage()._cdata))

    def _remember(self, tensor: Tensor, sight: Sight) -> None:
        self._sights[id(tensor)] = self._stored[tensor.untyped_storage()._cdata] = sight
        self._kept.append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sights = {each: sight for each in _tensors(args) if (sight := self.find(each)) is not None}
        name = func.overloadpacket.__name__
        if not sights or name.startswith("new_") or name.endswith("_like"):  # these take only a size
            return result
        # What is no map, such as the statistics beside normalized features, sees nothing of its own.
        made = [each for each in _tensors([result]) if each.dim() == 4]
        if not made and result is not None:
            raise _lost(name)
        for each in made:
            self._remember(each, self._moved(name, args, sights, each))
        return result

    def _moved(self, name: str, args: Sequence[Any], sights: dict[Tensor, Sight], made: Tensor) -> Sight:
        source, sight = next(iter(sights.items()))
        before, after = source.shape[self._axis], made.shape[self._axis]
        here = self._axis - 2

        def argument(index: int, otherwise: int = 0) -> int:
            """Of a convolution or pooling: a number for both axes, or one for each."""
            value = args[index] if len(args) > index else otherwise
            return value if isinstance(value, int) else value[here % len(value)] if value else otherwise

        if name == "convolution":
            kernel, stride, padding, rate = args[1].shape[self._axis], argument(3), argument(4), argument(5)
            if not args[6]:
                return _through(sight, kernel, stride, padding, rate)
            if stride == 1:
                return _through(sight, kernel, 1, (kernel - 1) * rate - padding, rate)
            return _between(sight, Fraction(1, stride), Fraction(2 * padding - (kernel - 1) * rate, 2 * stride))
        if name in ("max_pool2d_with_indices", "avg_pool2d"):
            kernel, pooled = argument(1), name == "max_pool2d_with_indices"
            return _through(sight, kernel, argument(2, kernel), argument(3), argument(4, 1) if pooled else 1)
        if name in ("constant_pad_nd", "reflection_pad2d", "replication_pad2d"):
            lengths = [*args[1], 0, 0]
            return _through(sight, 1, 1, lengths[2 * (1 - here)], 1)
        if name == "slice" and (args[1] if len(args) > 1 else 0) % 4 == self._axis:
            start, step = argument(2), argument(4, 1)
            return _through(sight, 1, step, -(start % before if start < 0 else start), 1)
        if name in ("upsample_bilinear2d", "upsample_bicubic2d") and args[2]:
            return _between(sight, Fraction(max(before - 1, 1), max(after - 1, 1)), Fraction(0))
        if name in ("upsample_bilinear2d", "upsample_bicubic2d", "upsample_nearest2d", "max_unpool2d"):
            ratio = Fraction(1, round(after / before)) if name == "max_unpool2d" else Fraction(before, after)
            return _between(sight, ratio, (ratio - 1) / 2)
        if name in ("index", "index_select"):  # mirrored or picked: as much, wherever it lies
            return sight
        if any(each.dim() != 4 or each.shape[self._axis] != after for each in sights):
            raise _lost(name)
        return functools.reduce(_both, sights.values())


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _lost(name: str) -> InputError:
    return InputError(
        "receptive_field: the network looks at the whole image or at several sizes of it, or does what cannot be "
        f"followed ({name})"
    )


def _through(sight: Sight, kernel: int, stride: int, padding: int, rate: int) -> Sight:
    """A window that begins `padding` before the first feature and moves by `stride`."""
    first = sight.first - padding * sight.spacing
    return Sight(sight.spacing * stride, first, sight.last + ((kernel - 1) * rate - padding) * sight.spacing)


def _between(sight: Sight, ratio: Fraction, shift: Fraction) -> Sight:
    """Features in between, `ratio` as far apart, the first by `shift` features further."""
    move = shift * sight.spacing
    return Sight(sight.spacing * ratio, sight.first + move, sight.last + move)


def _both(one: Sight, other: Sight) -> Sight:
    """What both see together."""
    check(
        one.spacing == other.spacing,
        f"receptive_field: wanted one size of the image, and features as far apart where they meet, received every "
        f"{float(one.spacing):g} and every {float(other.spacing):g} pixels",
    )
    return Sight(one.spacing, min(one.first, other.first), max(one.last, other.last))
