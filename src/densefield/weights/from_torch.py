"""Layers of PyTorch's state_dicts: torchvision's, timm's, smp's, pytorch-fcn's, deeplab-pytorch's, ours."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from densefield.checks import InputError, check
from densefield.weights.caffe import Numbers
from densefield.weights.checkpoint import read_checkpoint
from densefield.weights.from_caffe import MEAN, MEANS
from densefield.weights.layers import Layer, Released, Scaling, less_mean
from densefield.weights.names import convolution_before, spellings, vgg_names
from densefield.weights.tensors import read_tensors

_IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's, and whoever began there


def read_layers(path: Path) -> Released:
    """The layers of a .safetensors file or a checkpoint of torch.save."""
    if path.suffix == ".safetensors":
        tensors, header = read_tensors(path)
        # Such files are sorted as text, features.10 before features.2.
        state = {name: tensors[name] for name in sorted(tensors, key=_natural)}
        return _released(path, state, _described(header))
    return _released(path, _state(path, read_checkpoint(path)), None)


def _state(path: Path, read: Any) -> dict[str, Tensor]:
    """The mapping of names to tensors, of all that lie in a checkpoint the one with most."""
    mappings = [read, *(read.values() if isinstance(read, Mapping) else ())]
    states = [
        {name: value for name, value in each.items() if isinstance(name, str) and isinstance(value, Tensor)}
        for each in mappings
        if isinstance(each, Mapping)
    ]
    state = max(states, key=len, default={})
    check(bool(state), f"{path}: holds no named tensors; wanted a state_dict")
    return state


def _described(header: Mapping[str, str]) -> Scaling | None:
    """How images are read as a saved segmenter's own description has it."""
    try:
        fields = json.loads(header.get("densefield", "{}"))["segmenter"]
        mean, std = tuple(map(float, fields["mean"])), tuple(map(float, fields["std"]))
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return None
    sound = all(map(math.isfinite, (*mean, *std))) and min(std, default=0) > 0
    return Scaling(mean, std) if sound else None


def _natural(name: str) -> list[tuple[bool, int, str]]:
    return [(part.isdigit(), int(part) if part.isdecimal() and len(part) < 10 else 0, part) for part in name.split(".")]


def _released(path: Path, state: Mapping[str, Tensor], scaling: Scaling | None) -> Released:
    grouped = _grouped(state)
    convolutions = dict.fromkeys(name for name, values in grouped.items() if _is_convolution(values))  # in their order
    _check_not_only_alike(path, grouped)
    bgr, known = _convention(convolutions)
    vgg = vgg_names(convolutions)
    layers: list[Layer] = []
    previous: str | None = None
    for name, values in grouped.items():
        if name in convolutions:
            turned = bgr and "weight" in values and values["weight"].ndim == 4 and values["weight"].shape[1] == 3
            if turned:
                values["weight"], bgr = values["weight"][:, ::-1], False  # the first alone reads the image
            names = (name, vgg[name]) if name in vgg else tuple(spellings(name))
            layers.append(Layer(name, names, values, turned=turned))
            previous = name
        else:
            after = convolution_before(name, convolutions, previous)
            layers.append(Layer(name, tuple(spellings(name)), values, norm=True, after=after))
    check(bool(layers), f"{path}: holds no weights; wanted a state_dict")
    return Released(tuple(layers), scaling or known, (), lambda: None)


def _grouped(state: Mapping[str, Tensor]) -> dict[str, dict[str, Numbers]]:
    """Numbers by their last names, by layer; counters and other whole numbers are not weights."""
    layers: dict[str, dict[str, Numbers]] = {}
    for name, tensor in state.items():
        if tensor.is_floating_point():
            folder, _, leaf = name.rpartition(".")
            dense = tensor.detach()
            wide = dense if dense.dtype.itemsize >= 4 else dense.float()
            layers.setdefault(_printable(folder), {})[leaf] = wide.numpy()
    return layers


def _printable(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name)[:1000]


def _is_convolution(values: Mapping[str, Numbers]) -> bool:
    """Whatever is not a normalization: those have a factor for each channel, or statistics."""
    return "running_mean" not in values and ("weight" not in values or values["weight"].ndim > 1)


def _convention(convolutions: Collection[str]) -> tuple[bool, Scaling | None]:
    """Whether the first convolution reads BGR, as two projects took over from Caffe, and how pixels were scaled."""
    plain = {tuple(spellings(name))[-1] for name in convolutions} | set(convolutions)
    if any(re.search(r"(^|\.)layer1\.conv1\.conv$", name) for name in convolutions):  # deeplab-pytorch
        return True, less_mean(MEAN)
    if "conv1_1" in plain and any(name.startswith("score_") for name in plain):  # pytorch-fcn
        return True, less_mean(MEANS[-1][1])
    if any(re.search(r"(^|\.)(features\.0|layer1\.0\.conv1)$", name) for name in convolutions):
        return False, _IMAGENET
    return False, None


def _check_not_only_alike(path: Path, layers: Mapping[str, Mapping[str, Numbers]]) -> None:
    """torchvision's AlexNet and GoogLeNet are other networks than those that FCN and others began with."""
    firsts = [values.get("weight") for name, values in layers.items() if f".{name}".endswith(".features.0")]
    alexnet = any(first is not None and first.shape == (64, 3, 11, 11) for first in firsts)
    googlenet = any(name.endswith("inception3a.branch1.conv") for name in layers)
    what = "AlexNet (64 filters, no groups)" if alexnet else "GoogLeNet (batch norm, 3×3 in place of 5×5)"
    if alexnet or googlenet:
        raise InputError(f"{path}: is torchvision's {what}, another network than Caffe's; wanted its .caffemodel")
