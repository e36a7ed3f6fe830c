"""Segmenters as ONNX files: image in [0, 1] in, scores out, for whatever runs ONNX and has no PyTorch.

Traced by torch.export with batch, height and width left open, then written by torch.onnx.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from densefield.checks import InputError, check, one_line
from densefield.protocols import geometry, stated
from densefield.segmenter.pixels import network_input
from densefield.segmenter.segmenter import Segmenter

TOLERANCE = 1e-4  # of the largest score, and of 1


class _Scaled(nn.Module):
    """The network behind its scaling, as a segmenter runs it on whole images."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.network = copy.deepcopy(segmenter.network).cpu().float()  # which stays where it is
        self.mean, self.std = segmenter.mean, segmenter.std

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) in [0, 1] -> (B, K, h, w)
        scores: Tensor = self.network(network_input(image, mean=self.mean, std=self.std, dtype=image.dtype))
        return scores


def export_onnx(segmenter: Segmenter) -> bytes:
    """The network with its scaling: `image` (B, C, H, W) float32 in [0, 1] → `scores` (B, K, h, w), any B, H and W.

    The classes are the model's metadata, as JSON. A refinement is not in it. Raises `InputError` where packages of the
    extra `export` are missing, or the network cannot be traced.
    """
    _needed("onnx", "onnxscript")
    whole = _Scaled(segmenter).eval()
    channels = _channels(segmenter)
    example = torch.rand(2, channels, *_sides(segmenter)[0])
    free = torch.export.Dim.DYNAMIC
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(whole, (example,), dynamic_shapes=({0: free, 2: free, 3: free},))
            written = torch.onnx.export(
                program,
                input_names=["image"],
                output_names=["scores"],
                dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),  # their names in the file
                verbose=False,
            )
    except Exception as error:
        raise InputError(f"export: this network cannot be traced ({one_line(error)})") from error
    assert written is not None
    model = written.model_proto
    colors = {1: "gray", 3: "RGB"}.get(channels, f"{channels} channels")
    about = {"classes": json.dumps(segmenter.classes.to_dict()), "image": f"{colors} in [0, 1]", "by": "densefield"}
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    data: bytes = model.SerializeToString()
    return data


class Difference(NamedTuple):
    """How far a score is from the network's at most, and the network's largest: where that is 0, nothing was shown."""

    most: float
    largest: float


def check_export(segmenter: Segmenter, model: bytes) -> dict[tuple[int, int], Difference]:
    """How far scores of the model, run by onnxruntime, are from the network's, for three sizes.

    Raises `InputError` where one is over 1e-4 (times the largest score, where that is above 1), or cannot be run.
    """
    _needed("onnxruntime")
    import onnxruntime

    whole = _Scaled(segmenter).eval()
    found = {}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for batch, size in enumerate(_sides(segmenter), start=1):
        image = torch.rand(batch, _channels(segmenter), *size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted = whole(image)
        try:
            received = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
        except Exception as error:
            raise InputError(f"export: onnxruntime cannot run it on {size[0]}×{size[1]} ({one_line(error)})") from error
        shapes = tuple(received.shape), tuple(wanted.shape)
        check(shapes[0] == shapes[1], f"export: on {size[0]}×{size[1]} it gives {shapes[0]}, the network {shapes[1]}")
        difference = Difference(float((received - wanted).abs().max()), float(wanted.abs().max()))
        bound = TOLERANCE * max(1.0, difference.largest)
        check(
            difference.most <= bound,
            f"export: on {size[0]}×{size[1]} its scores differ by {difference.most:.1e}, wanted at most {bound:.1e}",
        )
        found[size] = difference
    return found


def _channels(segmenter: Segmenter) -> int:
    return stated(segmenter.network, "in_channels", len(segmenter.mean))


def _sides(segmenter: Segmenter) -> list[tuple[int, int]]:
    """Three sizes; the first, odd where the network takes any, is that of tracing: crops are then seen to be needed."""
    margin, stride, _, smallest = geometry(segmenter.network)
    if margin:
        return [(smallest + 3 * stride, smallest + 4 * stride), (smallest, smallest + stride), (smallest + stride,) * 2]
    return [(77, 107), (64, 96), (101, 75)]


def _needed(*packages: str) -> None:
    import importlib.util

    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    check(not missing, f"export: needs {', '.join(missing)}; pip install {' '.join(missing)}")


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """torch.onnx warns of packages that nothing here needs, and tells its steps."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
