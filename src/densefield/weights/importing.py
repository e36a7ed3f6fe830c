"""Released weights into a network: layers are found by name, values turned to fit; nothing is filled by halves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from densefield.checks import InputError, check
from densefield.weights.caffe import Numbers
from densefield.weights.layers import Layer, Released, Scaling
from densefield.weights.names import convolution_before, key, named_alike, own_names
from densefield.weights.released import read_released

_PIECE = 2**24  # bytes of the file at a time: neither its pages nor copies of them pile up
_TAPS = {4: (0, 2, 4, 6), 3: (0, 3, 6)}  # of fc6's 7×7
_COUNTER = "num_batches_tracked"


class Match(NamedTuple):
    """A layer of the file and ours, the weight's shape as ours has it, and what was done to make it fit."""

    layer: str
    ours: str
    shape: tuple[int, ...]
    how: str


class Imported(NamedTuple):
    """The layer map: what was filled from what, our layers that the file lacks or has in another shape, and the rest.

    `scaling` is how the released network read images, in RGB and [0, 1], where that is known. `beyond` are convolutions
    of the file that are `unused` and more than a classifier's last layer: it may be of a deeper or another network.
    """

    matched: tuple[Match, ...]
    missing: tuple[str, ...]
    misshapen: tuple[Match, ...]  # `how` says which shape the file has
    unused: tuple[str, ...]
    copies: tuple[str, ...]
    scaling: Scaling | None
    beyond: tuple[str, ...] = ()


def import_weights(network: nn.Module, path: str | os.PathLike[str], *, partial: bool = False) -> Imported:
    """Fill `network` with released weights, and tell which layer came from where.

    The file is a .caffemodel, .safetensors, or a PyTorch checkpoint, in any layout that docs/weights.md lists. Every
    parameter and statistic must be there; `partial` leaves what is missing or of another shape as it was. On the meta
    device all of it is checked, and nothing filled. Raises `InputError` in one line, before anything has changed, for a
    file that is damaged, does not fit or holds NaN or Inf.
    """
    path = Path(path)
    released = read_released(path)
    plan = _Plan(path, network, released)
    imported = plan.imported()
    wrong = imported.misshapen
    if wrong and not (partial and imported.matched):
        first = f"{wrong[0].ours}: wanted shape {wrong[0].shape}, {wrong[0].how}"
        count = f"{len(wrong)} layer{'s' * (len(wrong) > 1)} of another shape, first {first}"
        raise InputError(f"{path}: {'' if imported.matched else 'nothing fits: '}{count}")
    names = plan.file_names()
    check(bool(imported.matched), f"{path}: has no layer of this network; it has {_some(names) if names else 'none'}")
    if not partial:
        missing = imported.missing
        check(not missing, f"{path}: lacks {len(missing)} layers of this network: {_some(missing)}")
    for step in plan.steps:
        step.check_finite(path, released)
    for step in plan.steps:
        step.fill(released)
    return imported


class _Step(NamedTuple):
    """One tensor of ours and what it becomes."""

    layer: str
    target: Tensor
    values: Numbers

    def check_finite(self, path: Path, released: Released) -> None:
        for _, piece in _pieces(self.values):
            with np.errstate(all="ignore"):
                finite = bool(np.isfinite(piece.astype(np.float32, copy=False)).all())
            check(finite, f"{path}: layer {self.layer} holds NaN or Inf; download it again")
            released.release()

    def fill(self, released: Released) -> None:
        if self.target.device.type == "meta":
            return
        with torch.no_grad():
            target = self.target.reshape(1) if self.target.dim() == 0 else self.target
            for rows, piece in _pieces(self.values):
                target[rows].copy_(torch.from_numpy(piece))
                released.release()


def _pieces(values: Numbers) -> Iterator[tuple[slice, Numbers]]:
    """Copies of some rows at a time, aligned and in order, which the file's numbers need not be."""
    values = values.reshape(1) if values.ndim == 0 else values
    step = max(1, _PIECE // max(1, abs(values.strides[0]), values[:1].nbytes))
    for begin in range(0, len(values), step):
        rows = slice(begin, begin + step)
        yield rows, np.array(values[rows], dtype=values.dtype.newbyteorder("="), order="C")


class _Own(NamedTuple):
    """A layer of the network: its tensors by their last names, and for a normalization the convolution before it.

    A `fixed` one is right as it begins, so a file need not have it.
    """

    path: str
    tensors: Mapping[str, Tensor]
    norm: bool
    fixed: bool
    after: str | None
    eps: float


class _Plan:
    """Which layer of the file fills which of ours."""

    def __init__(self, path: Path, network: nn.Module, released: Released) -> None:
        self._path = path
        self._released = released
        self._own = {layer.path: layer for layer in _layers(network)}
        self._filled: dict[str, Layer] = {}  # by our path
        self.steps: list[_Step] = []
        self._matched: list[Match] = []
        self._misshapen: list[Match] = []
        self._pair()
        self._fit()
        self._constants = self._check_constants(getattr(network, "constants", None))

    def file_names(self) -> list[str]:
        return [layer.name for layer in self._released.layers]

    def imported(self) -> Imported:
        used = {layer.name for layer in (*self._filled.values(), *self._constants)}
        missing = [path for path, own in self._own.items() if path not in self._filled and not own.fixed]
        unused = [layer for layer in self._released.layers if layer.name not in used]
        return Imported(
            tuple(self._matched),
            tuple(missing),
            tuple(self._misshapen),
            tuple(layer.name for layer in unused),
            self._released.copies,
            self._released.scaling,
            _beyond(unused),
        )

    def _pair(self) -> None:
        convolutions = [own.path for own in self._own.values() if not own.norm]
        names: dict[str, list[tuple[int, str]]] = {}
        for path in convolutions:
            least: dict[str, int] = {}
            for name, left_out in own_names(path, convolutions):
                least[key(name)] = min(left_out, least.get(key(name), left_out))
            for name, left_out in least.items():
                names.setdefault(name, []).append((left_out, path))
        ours: dict[str, str] = {}  # our convolution, by the file's
        for layer in self._released.layers:
            if not layer.norm:
                found = (named_alike(names, name) for name in layer.names)
                free = [path for path in found if path is not None and path not in self._filled]
                if free:
                    ours[layer.name], self._filled[free[0]] = free[0], layer
        self._pair_branches(convolutions)
        for layer in self._released.layers:
            if layer.norm:
                self._pair_norm(layer, ours.get(layer.after or ""))

    def _pair_branches(self, convolutions: list[str]) -> None:
        """DeepLab v2's branches fc6_1, fc6_2 ... each begin as VGG's fc6."""
        plain = {key(name): layer for layer in self._released.layers if not layer.norm for name in layer.names}
        for path in convolutions:
            for name, _ in own_names(path, convolutions) if path not in self._filled else ():
                found = re.fullmatch(r"(fc[67])_\d", key(name))
                if found is not None and found[1] in plain:
                    self._filled[path] = plain[found[1]]
                    break

    def _pair_norm(self, layer: Layer, convolution: str | None) -> None:
        """By its own whole name, else by the convolution that it follows here and there."""
        for name in layer.names:
            own = self._own.get(name)
            if own is not None and own.norm and name not in self._filled:
                self._filled[name] = layer
                return
        if convolution is None:
            return
        following = [own.path for own in self._own.values() if own.norm and own.after == convolution]
        free = [path for path in following if path not in self._filled]
        check(
            bool(following),
            f"{self._path}: {layer.name} normalizes what {convolution} gives, where this network does not; build the"
            " network with batch_norm, if it has that",
        )
        if free:
            self._filled[free[0]] = layer

    def _fit(self) -> None:
        for path, own in self._own.items():
            layer = self._filled.get(path)
            if layer is not None and own.tensors:
                self._fit_layer(own, layer, self._bias_before(own))

    def _check_constants(self, constants: object) -> list[Layer]:
        """The layers that are numbers here, such as FCN's factors of pools: the same, or it is another network."""
        if not isinstance(constants, Mapping):
            return []
        found = [layer for layer in self._released.layers if layer.name in constants]
        for layer in found:
            here, there = constants[layer.name], np.atleast_1d(layer.values.get("weight", np.nan))
            check(there.size > 0, f"{self._path}: {layer.name} holds no numbers; download it again")
            check(
                np.allclose(there, here, rtol=1e-5, atol=0),
                f"{self._path}: {layer.name} multiplies by {there.flat[0]:g}, this network by {here:g}; it is another",
            )
            self._matched.append(Match(layer.name, layer.name, tuple(there.shape), f"the constant {here:g} here"))
        return found

    def _bias_before(self, own: _Own) -> Numbers | None:
        """The bias of a convolution in the file whose own has none: what a normalization takes off again."""
        before = self._own.get(own.after or "") if own.norm else None
        if before is None or "bias" in before.tensors or before.path not in self._filled:
            return None
        return self._filled[before.path].values.get("bias")

    def _fit_layer(self, own: _Own, layer: Layer, bias: Numbers | None) -> None:
        values = dict(layer.values)
        how = ["BGR to RGB"] if layer.turned else []
        if layer.folded and "running_var" in own.tensors:
            values["running_mean"] = np.zeros(values["weight"].shape, np.float32)
            values["running_var"] = np.full(values["weight"].shape, 1 - own.eps, np.float32)
            how.append("statistics folded in")
        if bias is not None and "running_mean" in values and bias.size == values["running_mean"].size:
            values["running_mean"] = values["running_mean"].reshape(-1) - bias.reshape(-1)
            how.append("less the convolution's bias")
        steps: list[_Step] = []
        wanted = next(iter(own.tensors.values()))
        for leaf, target in own.tensors.items():
            shape = tuple(target.shape)
            if leaf not in values:
                self._misfit(own, layer, shape, f"the file has no {leaf}")
                return
            fitted = _fitted(own.path, values[leaf], shape)
            if fitted is None:
                self._misfit(own, layer, shape, f"{leaf} in the file: {tuple(values[leaf].shape)}")
                return
            steps.append(_Step(layer.name, target, fitted[0]))
            how += [word for word in fitted[1] if word not in how]
        if "bias" in values and "bias" not in own.tensors and not self._followed(own):
            self._misfit(own, layer, tuple(wanted.shape), "the file has a bias too")
            return
        self.steps += steps
        self._matched.append(Match(layer.name, own.path, tuple(wanted.shape), ", ".join(how)))

    def _followed(self, convolution: _Own) -> bool:
        """Whether a normalization, filled too, comes after it."""
        return any(
            own.norm and own.after == convolution.path and path in self._filled for path, own in self._own.items()
        )

    def _misfit(self, own: _Own, layer: Layer, shape: tuple[int, ...], what: str) -> None:
        self._misshapen.append(Match(layer.name, own.path, shape, what))


def _beyond(unused: Sequence[Layer]) -> tuple[str, ...]:
    """The convolutions among them; none where there is one alone of 1×1 pixels, as a classifier's last layer is."""
    shapes = {
        layer.name: layer.values["weight"].shape for layer in unused if not layer.norm and "weight" in layer.values
    }
    shapes.pop("ctx_upsample", None)  # Dilation10's last, fixed and bilinear
    wide = any(len(shape) == 4 and shape[:2] != (1, 1) and shape[2:] != (1, 1) for shape in shapes.values())
    return tuple(shapes) if wide or len(shapes) > 1 else ()


def _layers(network: nn.Module) -> Iterator[_Own]:
    """The network's layers in its own order, each tensor once; other buffers than these are not released."""
    grouped: dict[str, dict[str, Tensor]] = {}
    known: set[int] = set()
    parameters = dict(network.named_parameters())
    for name, tensor in network.state_dict(keep_vars=True).items():
        folder, _, leaf = name.rpartition(".")
        held = name in parameters or leaf in ("weight", "running_mean", "running_var")
        if held and id(tensor) not in known:
            known.add(id(tensor))
            grouped.setdefault(folder, {})[leaf] = tensor.detach()
    norms = {path for path, tensors in grouped.items() if _is_norm(tensors)}
    convolutions = dict.fromkeys(path for path in grouped if path not in norms)
    previous: str | None = None
    for path, tensors in grouped.items():
        norm = path in norms
        after = convolution_before(path, convolutions, previous) if norm else None
        previous = previous if norm else path
        fixed = list(tensors) == ["weight"] and f"{path}.weight" not in parameters
        yield _Own(path, tensors, norm, fixed, after, float(getattr(network.get_submodule(path), "eps", 0)))


def _is_norm(tensors: Mapping[str, Tensor]) -> bool:
    return "running_mean" in tensors or ("weight" in tensors and tensors["weight"].dim() == 1)


def _fitted(path: str, values: Numbers, wanted: tuple[int, ...]) -> tuple[Numbers, list[str]] | None:
    """`values` in the shape that is `wanted`, and what was done; None where they cannot be."""
    values = np.atleast_1d(values) if wanted else values
    if values.shape == wanted:
        return values, []
    if not wanted or not values.size:
        return None
    if len(wanted) == 1 and values.size == wanted[0] and max(values.shape) == values.size:
        return values.reshape(wanted), []
    if values.ndim == 4 and values.shape[:2] == (1, 1) and wanted[:2] != (1, 1):  # an old inner product
        values = values.reshape(values.shape[2:])
        if values.shape == wanted:
            return values, []
    if len(values) == wanted[0] and values.size == np.prod(wanted) and 2 in (values.ndim, len(wanted)):
        return values.reshape(wanted), ["as a convolution"] if len(wanted) == 4 else ["as an inner product"]
    found = re.search(r"(?:^|\.)fc([67])(_\d+)?(\.|$)", path)
    return _thinned(found[1], values, wanted) if found is not None else None


def _thinned(which: str, values: Numbers, wanted: tuple[int, ...]) -> tuple[Numbers, list[str]] | None:
    """fc6 and fc7 of VGG for a smaller kernel or fewer filters, as DeepLab's authors cut them."""
    if len(values) < wanted[0] or len(values) % wanted[0]:
        return None
    step, how = len(values) // wanted[0], []
    values = values[::step]
    if step > 1:
        how.append(f"one filter in {step}")
    if len(wanted) == 4 and which == "6":
        if values.ndim == 2 and values.shape[1] == wanted[1] * 49:
            values = values.reshape(wanted[0], wanted[1], 7, 7)
        taps = _TAPS.get(wanted[2])
        if values.ndim == 4 and values.shape[2:] == (7, 7) and wanted[2] == wanted[3] and taps is not None:
            values = values[:, :, :: taps[1], :: taps[1]]
            how.append(f"taps {', '.join(map(str, taps))}")
    elif len(wanted) == 4 and values.ndim > 1:
        values = values.reshape(*values.shape[:2], 1, 1) if values.ndim == 2 else values
        if values.shape[1] >= wanted[1] and values.shape[1] % wanted[1] == 0:
            values = values[:, :: values.shape[1] // wanted[1]]
    return (values, how) if values.shape == wanted else None


def _some(names: list[str] | tuple[str, ...]) -> str:
    return f"{', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
