"""The classes of PASCAL VOC, in its order and colors."""

from __future__ import annotations

from densefield.classes import ClassList, Color

_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def voc_colors(count: int) -> tuple[Color, ...]:
    """VOC's color map (VOCdevkit, VOClabelcolormap.m): bits 0, 3, 6 of the index are red's upper ones, and so on."""
    return tuple(
        (_spread(index), _spread(index >> 1), _spread(index >> 2))  # red, green, blue
        for index in range(count)
    )


def _spread(index: int) -> int:
    """The bits 0, 3, 6 … of an index as 128, 64, 32 …"""
    return sum((index >> (3 * place) & 1) << (7 - place) for place in range(3))


VOC_CLASSES = ClassList(_NAMES, voc_colors(len(_NAMES)), ignore_declared=True)
