"""Layers of .caffemodel files: images in BGR, statistics in layers or blobs of their own, inner products."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from densefield.checks import check
from densefield.weights.caffe import CaffeLayer, Numbers, read_caffemodel
from densefield.weights.layers import Layer, Released, Scaling, less_mean
from densefield.weights.names import spellings

_COPIES = re.compile(r"_res(05|075)$")  # DeepLab v2's other scales hold the same weights again

# The means that Caffe's networks subtracted, by a layer that tells them; RGB, 0 to 255. The file does not hold them.
MEANS = (
    (r"conv\d_\d_D|conv_decode\d", (0.0, 0.0, 0.0)),  # SegNet
    (r"conv5_3_pool\d_conv", (123.68, 116.779, 103.939)),  # PSPNet
    (r"ct_conv\d_\d|fc[-_]final", (116.52, 111.36, 102.93)),  # Dilation8, Pascal VOC
    (r"ctx_conv7_1", (73.16, 82.91, 72.39)),  # Dilation10, Cityscapes
    (r"ctx_conv1_1", (105.41, 108.77, 110.70)),  # Dilation8, CamVid
    (r"score(_\w+)?", (122.67891434, 116.66876762, 104.00698793)),  # FCN
)
MEAN = (122.675, 116.669, 104.008)  # DeepLab


def read_layers(path: Path) -> Released:
    """The layers of a .caffemodel; `release` lets go of its pages."""
    file = read_caffemodel(path)
    copies = tuple(layer.name for layer in file.layers if _COPIES.search(layer.name))
    originals = [layer for layer in file.layers if not _COPIES.search(layer.name)]
    layers = tuple(_layers(path, originals))
    return Released(layers, _scaling(layers), copies, file.release)


def _layers(path: Path, found: Sequence[CaffeLayer]) -> Iterator[Layer]:
    names = {layer.name for layer in found}
    image: str | None = None  # what the first convolution reads
    convolution: str | None = None
    skip = False
    for layer, following in zip(found, [*found[1:], None], strict=True):
        if skip:
            skip = False
            continue
        after = layer.reads if layer.reads in names else convolution
        if _is_batch_norm(layer):
            check(len(layer.blobs) > 1, f"{path}: layer {layer.name} has no variance; download it again")
            skip = following is not None and _is_scale(following)
            yield _batch_norm(layer, following if skip else None, after)
        elif _is_scale(layer):
            yield _scale(layer, after)
        else:
            reads = re.sub(r"_split_\d+$", "", layer.reads)
            weight = layer.blobs[0]
            turned = weight.ndim == 4 and weight.shape[1] == 3 and (image is None or (reads == image and reads != ""))
            image = reads if image is None else image
            convolution = layer.name
            values = {"weight": weight[:, ::-1] if turned else weight}
            if len(layer.blobs) > 1:
                values["bias"] = layer.blobs[1].reshape(-1)
            yield Layer(layer.name, tuple(spellings(layer.name)), values, turned=turned)
    check(convolution is not None, f"{path}: holds no convolutions; wanted the weights of a network")


def _is_batch_norm(layer: CaffeLayer) -> bool:
    sizes = [blob.size for blob in layer.blobs]
    return layer.kind == "BatchNorm" or (
        layer.kind == "" and len(sizes) == 3 and sizes[0] == sizes[1] and sizes[2] == 1
    )


def _is_scale(layer: CaffeLayer) -> bool:
    """Scale, PSPNet's BN and SegNet's: as many factors as biases, and where statistics are kept, as many of each."""
    sizes = {blob.size for blob in layer.blobs}
    alike = len(sizes) == 1 and all(max(blob.shape, default=1) == blob.size for blob in layer.blobs)
    return alike and (layer.kind in ("Scale", "BN") or (layer.kind == "" and len(layer.blobs) in (2, 4)))


def _batch_norm(layer: CaffeLayer, scale: CaffeLayer | None, after: str | None) -> Layer:
    """BatchNorm holds sums of statistics and what to divide them by; factor and bias are the next layer's, if any."""
    divisor = float(layer.blobs[2].reshape(-1)[0]) if len(layer.blobs) > 2 else 1.0
    with np.errstate(all="ignore"):  # what is not finite is refused later
        factor = np.float64(1) / divisor if divisor else 0.0
        mean, variance = ((blob.reshape(-1).astype(np.float64) * factor).astype(np.float32) for blob in layer.blobs[:2])
    values: dict[str, Numbers] = {"running_mean": mean, "running_var": variance}
    values["weight"], values["bias"] = np.ones_like(mean), np.zeros_like(mean)
    for leaf, blob in zip(("weight", "bias"), scale.blobs if scale is not None else (), strict=False):
        values[leaf] = blob.reshape(-1)
    return Layer(layer.name, tuple(spellings(layer.name)), values, norm=True, after=after)


def _scale(layer: CaffeLayer, after: str | None) -> Layer:
    """PSPNet's BN: slope, bias, mean, variance. SegNet's BN, and a Scale alone: statistics are folded in."""
    values = {
        leaf: blob.reshape(-1)
        for leaf, blob in zip(("weight", "bias", "running_mean", "running_var"), layer.blobs, strict=False)
    }
    values.setdefault("bias", np.zeros_like(values["weight"]))
    folded = "running_var" not in values
    if len(layer.blobs) == 1:  # FCN's at once multiplies pools by a number, which no normalization does
        after = None
    return Layer(layer.name, tuple(spellings(layer.name)), values, norm=True, after=after, folded=folded)


def _scaling(layers: Sequence[Layer]) -> Scaling | None:
    if not any(layer.turned for layer in layers):
        return None
    for pattern, mean in MEANS:
        if any(re.fullmatch(pattern, layer.name) for layer in layers):
            return less_mean(mean)
    return less_mean(MEAN)
