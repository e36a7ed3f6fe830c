"""How much of each image every class covers, as CSV.

python examples/segment_folder.py models/camvid_fc_densenet56.safetensors photos/ > cover.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch

from densefield.checks import InputError
from densefield.segmenter import Segmenter


def main(model: str, folder: str) -> None:
    """Write one row an image: its name, then each class's share of the pixels."""
    segmenter = Segmenter.load(model)
    table = csv.writer(sys.stdout)
    table.writerow(["image", *segmenter.classes.names])
    for path in sorted(Path(folder).iterdir()):
        try:
            labels = segmenter(path)  # (H, W)
        except InputError as error:  # not an image, cut short, ...: the message names the file
            print(error, file=sys.stderr)
            continue
        pixels = torch.bincount(labels.flatten(), minlength=len(segmenter.classes))
        table.writerow([path.name, *(f"{share:.4f}" for share in (pixels / pixels.sum()).tolist())])


if __name__ == "__main__":
    main(*sys.argv[1:])
