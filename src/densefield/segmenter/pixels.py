"""What a person hands a segmenter (path, Pillow image, array, tensor) as one batch of pixels, and tiles cut from it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from densefield.checks import InputError, check, check_in_unit, one_line
from densefield.images import read_image
from densefield.images.bands import AS_DECLARED, LUMINANCE, Reading, rgb
from densefield.images.decoding import decoded_picture
from densefield.mirroring import mirrored_window
from densefield.segmenter.tiling import Span

ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray[Any, Any] | Tensor

_WANTED = "wanted a path, a Pillow image, uint8 (H, W, 3) or a float tensor (3, H, W) or (B, 3, H, W) in [0, 1]"


class Pixels(NamedTuple):
    """Pixels (B, C, H, W), uint8 or float in [0, 1], and whether the person gave a batch."""

    values: Tensor
    batched: bool


def as_pixels(image: ImageLike, reading: Reading = AS_DECLARED) -> Pixels:
    """Read (files and Pillow images by `reading`) or check `image`; 8-bit pixels stay 8-bit, as a gigabyte must not
    become four.

    Raises `InputError` for an unreadable file, another type, shape or dtype, and values far from [0, 1].
    """
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if isinstance(image, str | os.PathLike):
        array = read_image(image, reading)
    elif isinstance(image, Image.Image):
        array = _from_pillow(image, reading)
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise InputError(f"image: {_WANTED}, received {type(image).__name__}")
    if array.ndim == 2:
        array = array[:, :, None]
    right = array.ndim == 3 and array.shape[2] in (1, 3) and array.dtype == np.uint8 and array.size > 0
    check(right, f"image: {_WANTED}, received {array.dtype} {array.shape}")
    return Pixels(_tensor(array).permute(2, 0, 1)[None], batched=False)


def read_tile(
    pixels: Tensor,  # (B, C, H, W)
    rows: Span,
    columns: Span,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:  # (B, len(mean), h, w)
    """Cut one tile, mirrored where it reaches outside, as the network reads it: (value - mean) / std a channel."""
    return network_input(_cut(pixels, rows, columns).to(device), mean=mean, std=std, dtype=dtype)


def network_input(pixels: Tensor, *, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Pixels (B, C, H, W), uint8 or in [0, 1], as a network reads them: (value - mean) / std a channel."""
    values = normalized(pixels, channels=len(mean), dtype=dtype)
    return (values - values.new_tensor(mean)[:, None, None]) / values.new_tensor(std)[:, None, None]


def normalized(pixels: Tensor, *, channels: int, dtype: torch.dtype) -> Tensor:
    """Values in [0, 1], with `channels` channels: luminance when one is wanted of three, copies when three of one."""
    values = pixels.to(dtype) / 255 if pixels.dtype == torch.uint8 else pixels.to(dtype)
    received = values.shape[1]
    if received == 3 and channels == 1:
        return (values * values.new_tensor(LUMINANCE)[:, None, None]).sum(dim=1, keepdim=True)
    if received == 1 and channels == 3:
        return values.expand(-1, 3, -1, -1)
    check(received == channels, f"image: wanted {channels} channels for this network, received {received}")
    return values


def _cut(pixels: Tensor, rows: Span, columns: Span) -> Tensor:
    height, width = pixels.shape[2:]
    if min(rows.start, columns.start) >= 0 and rows.stop <= height and columns.stop <= width:
        return pixels[:, :, rows.start : rows.stop, columns.start : columns.stop]
    return mirrored_window(pixels, (rows.start, rows.stop), (columns.start, columns.stop))


def _from_tensor(image: Tensor) -> Pixels:
    right = image.dim() in (3, 4) and image.is_floating_point() and image.numel() > 0
    check(right, f"image: {_WANTED}, received {image.dtype} {tuple(image.shape)}")
    check_in_unit("image", image, "float values in [0, 1]")
    return Pixels(image if image.dim() == 4 else image[None], batched=image.dim() == 4)


def _from_pillow(image: Image.Image, reading: Reading) -> np.ndarray[Any, Any]:
    try:
        return rgb(decoded_picture(image), reading)
    except InputError:
        raise
    except Exception as error:  # a file that Pillow had opened and decodes only now
        reason = one_line(error, 120)
        raise InputError(f"image: not a whole picture ({reason})") from error


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """The array's own memory, read-only too: nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
