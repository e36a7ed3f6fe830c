"""A file of released weights, of any kind that is read."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from densefield.checks import check
from densefield.weights import from_caffe, from_torch
from densefield.weights.layers import Released


def read_released(path: str | os.PathLike[str]) -> Released:
    """The layers of a .caffemodel, a .safetensors file, or a PyTorch checkpoint.

    Raises `InputError` naming the file when it cannot be read, holds no weights, is of a network that is only called
    alike, or has another SHA-256 than its name says.
    """
    path = Path(path)
    missing = "is a folder" if path.is_dir() else "no such file"
    check(path.is_file(), f"{path}: {missing}; wanted a .caffemodel, .safetensors, .pth or .pt file")
    _check_digits(path)
    check(path.suffix != ".h5", f"{path}: Caffe's HDF5 files are not read; wanted a .caffemodel")
    return (from_caffe if path.suffix == ".caffemodel" else from_torch).read_layers(path)


def _check_digits(path: Path) -> None:
    """Of resnet101-5d3b4d8f.pth the digits are the first of its SHA-256, as torchvision, timm and others name files.

    Also of resnet101-5D3B4D8F.pth and resnet101-5d3b4d8f.pth.tar.
    """
    found = re.search(r"-([0-9a-fA-F]{8})(\.[a-zA-Z]\w*){0,2}$", path.name)
    if found is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    received = digest.hexdigest()[:8]
    check(
        received == found[1].lower(),
        f"{path}: its SHA-256 begins with {received}, its name says {found[1]}; download it again, or rename it",
    )
