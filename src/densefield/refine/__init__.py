"""Scores and an image in, refined scores out: dense CRFs and learned affinities."""

from __future__ import annotations

from densefield.refine.compatibility import Compatibility, Diagonal, Matrix, Potts
from densefield.refine.dense_crf import DenseCRF, Iteration
from densefield.refine.kernels import BilateralKernel, FeatureKernel, Kernel, SpatialKernel
from densefield.refine.mean_field import mean_field

__all__ = [
    "BilateralKernel",
    "Compatibility",
    "DenseCRF",
    "Diagonal",
    "FeatureKernel",
    "Iteration",
    "Kernel",
    "Matrix",
    "Potts",
    "SpatialKernel",
    "mean_field",
]
