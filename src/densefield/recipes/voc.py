"""PASCAL VOC 2012 as the recipes of papers see it: where it lies, how pixels are scaled, what learns how fast.

The augmented set as published (docs/data.md): 10,582 images to learn from, 1,449 held out. Caffe's networks read values
from 0 to 255 less a mean; the mean is the one that `densefield weights import` takes over from a classifier, so that a
run can begin with it: `--weights START`.
"""

from __future__ import annotations

from densefield import data
from densefield.built import words
from densefield.training import ParameterGroup

DATA = words(data.voc, variant="augmented")
MEAN = (122.675 / 255, 116.669 / 255, 104.008 / 255)
STD = (1 / 255, 1 / 255, 1 / 255)
BIASES = ParameterGroup(r"bias$", 2.0)
SCORES = ParameterGroup(r"\.(fc8|fc1_c)[^.]*\.weight$", 10.0)
SCORES_BIASES = ParameterGroup(r"\.(fc8|fc1_c)[^.]*\.bias$", 20.0)
