"""What is counted over a set, by a network whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from densefield.classes import ClassList
from densefield.images import AS_DECLARED
from densefield.protocols import Sample
from densefield.runs.evaluate import evaluate
from densefield.segmenter import Segmenter

CLASSES = ClassList(("background", "cell"), ((0, 0, 0), (9, 9, 9)), ignore_declared=True)


class Bright(nn.Module):
    """Cells are what is brighter than half."""

    in_channels, num_classes = 3, 2

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([0.5 - image[:, :1], image[:, :1] - 0.5], dim=1)


class Plain:
    """Two images of cells, of which the network sees some as they are, some not, and two that touch as one."""

    classes, reading, names = CLASSES, AS_DECLARED, ("a", "b")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        bright = np.zeros((20, 24), np.uint8)
        bright[1:6, 2:9] = 255
        if index:
            bright[10:18, 3:20] = 255
        target = np.where(OBJECTS == 255, 255, OBJECTS > 0).astype(np.uint8)
        return Sample(np.repeat(bright[:, :, None], 3, 2), target, self.names[index])


class Numbered(Plain):
    def instances(self, index: int) -> np.ndarray:
        return OBJECTS


OBJECTS = np.zeros((20, 24), np.uint16)
OBJECTS[1:6, 2:9] = 1
OBJECTS[10:18, 3:15], OBJECTS[10:18, 15:20] = 300, 2
OBJECTS[:, 23] = 255  # not labelled, and no cell


def test_seg_is_counted_where_the_data_numbers_its_objects() -> None:
    segmenter = Segmenter(Bright(), CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3)
    cells = evaluate(segmenter, Numbered()).counts.cells
    assert cells.cells == 6
    # One of three is found in the first image; in the second one part of 17 columns covers cells of 12 and 5.
    assert cells.mean() == pytest.approx((1 + 0 + 0 + 1 + 12 / 17 + 5 / 17) / 6)
    assert evaluate(segmenter, Plain()).counts.cells.cells == 0
