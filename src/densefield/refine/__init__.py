"""Scores and an image in, refined scores out: dense CRFs and learned affinities."""

from __future__ import annotations

from densefield.refine.compatibility import Compatibility, Diagonal, Matrix, Potts
from densefield.refine.dense_crf import DenseCRF, Iteration
from densefield.refine.embedding_filter import EmbeddingFilter
from densefield.refine.embedding_refinement import EmbeddingRefinement
from densefield.refine.joint_bilateral import joint_bilateral_filter
from densefield.refine.kernels import BilateralKernel, FeatureKernel, Kernel, SpatialKernel
from densefield.refine.mean_field import mean_field
from densefield.refine.pamr import pamr
from densefield.refine.random_walk import random_walk
from densefield.refine.segmentation_aware import SegmentationAwareConv2d, segmentation_aware_conv2d

__all__ = [
    "BilateralKernel",
    "Compatibility",
    "DenseCRF",
    "Diagonal",
    "EmbeddingFilter",
    "EmbeddingRefinement",
    "FeatureKernel",
    "Iteration",
    "Kernel",
    "Matrix",
    "Potts",
    "SegmentationAwareConv2d",
    "SpatialKernel",
    "joint_bilateral_filter",
    "mean_field",
    "pamr",
    "random_walk",
    "segmentation_aware_conv2d",
]
