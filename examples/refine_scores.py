"""Sharpen the scores of any model, of any framework, with a fully connected CRF.

    python examples/refine_scores.py photo.jpg scores.npy sharpened.png

scores.npy holds (K, H, W), before softmax: `densefield predict --scores` writes such files.
Of probabilities p, save log p.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from densefield.classes import ClassList, default_colors
from densefield.images import read_image, write_labels
from densefield.refine import DenseCRF
from densefield.refine.presets import DEEPLAB_V2


def main(photo: str, saved: str, sharpened: str) -> None:
    """Write the refined labels as a palette PNG and say how many pixels changed."""
    image = torch.from_numpy(read_image(photo)).permute(2, 0, 1)[None] / 255  # (1, 3, H, W) in [0, 1]
    scores = torch.from_numpy(np.load(saved, allow_pickle=False)).float()[None]  # (1, K, H, W)
    count = scores.shape[1]
    # With a network of yours at hand, `Segmenter(network, ..., refinement=crf)` does the same in one step.
    crf = DenseCRF(count, DEEPLAB_V2)
    with torch.no_grad():
        refined = crf(scores, image)
    before, after = scores.argmax(dim=1)[0], refined.argmax(dim=1)[0]
    classes = ClassList(names=tuple(f"class {index}" for index in range(count)), colors=default_colors(count))
    write_labels(sharpened, after.numpy(), classes)
    print(f"{(before != after).float().mean():.1%} of the pixels changed")


if __name__ == "__main__":
    main(*sys.argv[1:])
