"""Seconds and memory to fill FCN's VGG-16 from a .caffemodel of 540 MB, beside the size of the file.

The file is written here, as Caffe would. A process of its own imports it, and prints by how much its memory's peak grew
since before the network was set aside: the network alone is as large as the file. Then the same with a NaN in fc8.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import nn

from densefield.checks import InputError
from densefield.weights import import_weights

VGG = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class Classifier(nn.Module):
    """VGG-16's layers by their released names, fc6 and fc7 as convolutions: what FCN begins with."""

    def __init__(self) -> None:
        super().__init__()
        for name, after, before, kernel in layers():
            self.add_module(name, nn.Conv2d(before, after, kernel))


def layers() -> Iterator[tuple[str, int, int, int]]:
    """Name, filters, channels and side of each."""
    channels = 3
    for block, (width, count) in enumerate(VGG, start=1):
        for index in range(1, count + 1):
            yield f"conv{block}_{index}", width, channels, 3
            channels = width
    yield from (("fc6", 4096, 512, 7), ("fc7", 4096, 4096, 1), ("fc8", 21, 4096, 1))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def span(field: int, length: int) -> bytes:
    return varint(field << 3 | 2) + varint(length)


def write(path: Path, *, nan: bool = False) -> None:
    """A V1 file: layer (2), name (4), type (5), blobs (6) of num … width (1 to 4) and data (5)."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for name, filters, channels, side in layers():
            fully = name.startswith("fc")
            shape = (1, 1, filters, channels * side**2) if fully else (filters, channels, side, side)
            weight = 0.01 * rng.standard_normal(shape, dtype=np.float32)
            bias = np.full((1, 1, 1, filters), np.nan if nan and name == "fc8" else 0, np.float32)
            text = span(4, len(name)) + name.encode() + bytes([5 << 3, 14 if fully else 4])
            heads = []
            for blob in (weight, bias):
                head = b"".join(varint(field << 3) + varint(axis) for field, axis in enumerate(blob.shape, start=1))
                heads.append(head + span(5, blob.nbytes))
            sizes = [len(head) + blob.nbytes for head, blob in zip(heads, (weight, bias), strict=True)]
            file.write(span(2, len(text) + sum(len(span(6, size)) + size for size in sizes)) + text)
            for head, size, blob in zip(heads, sizes, (weight, bias), strict=True):
                write_blob(file, span(6, size) + head, blob)


def write_blob(file: BinaryIO, head: bytes, blob: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    file.write(head)
    file.write(blob.data)


def peak() -> int:
    """The most memory of this process so far, bytes; its own, not what it was forked from."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def measure(path: Path) -> None:
    """In a process of its own: import the file."""
    torch.set_num_threads(1)
    torch.zeros(1).aminmax()
    before = peak()
    begin, used = time.perf_counter(), time.process_time()
    with torch.device("meta"):
        network = Classifier()
    network.to_empty(device="cpu")  # the weights that a network begins with take longer to draw than these to read
    try:
        import_weights(network, path)
        what = "filled"
    except InputError as error:
        what = str(error).partition(": ")[2]
    seconds, cpu = time.perf_counter() - begin, time.process_time() - used
    size = path.stat().st_size
    grown = peak() - before
    print(f"{size / 1e6:.0f} MB: {seconds:.1f} s ({cpu:.1f} s of CPU), memory {grown / size:.2f} x its size; {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.file is not None:
        measure(asked.file)
        return
    for nan in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vgg.caffemodel"
            write(path, nan=nan)
            subprocess.run([sys.executable, __file__, "--file", str(path)], check=True)


if __name__ == "__main__":
    main()
