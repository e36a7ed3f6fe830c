"""What a recipe chooses from, by part: builders that `densefield.built` describes."""

from __future__ import annotations

import inspect

from densefield import data, refine, training
from densefield.built import Kinds, described_in
from densefield.segmenter.description import BUILDERS

_SCORERS = [builder for builder in BUILDERS if "num_classes" in inspect.signature(builder).parameters]

NETWORKS = Kinds(_SCORERS, given=("num_classes", "in_channels"))
EMBEDDERS = Kinds([builder for builder in BUILDERS if builder not in _SCORERS], given=("in_channels", "trunk"))
REFINEMENTS = Kinds(
    (refine.DenseCRF, refine.EmbeddingRefinement),
    given=("num_classes", "mean", "std"),
    places={"embedder": EMBEDDERS},
)
DATA = Kinds(described_in(data), given=("split",))
OPTIMIZERS = Kinds(
    (training.sgd, training.rmsprop, training.adam, training.adamw), given=("module",), usual=training.adamw
)
SCHEDULES = Kinds(
    (training.constant, training.poly, training.step, training.exponential, training.cosine),
    given=("step", "total_steps", "steps_per_epoch"),
    usual=training.constant,
)

# What `densefield kinds` tells of.
PARTS = {
    "network": NETWORKS,
    "refinement": REFINEMENTS,
    "refinement.kernels": Kinds((refine.SpatialKernel, refine.BilateralKernel)),
    "refinement.compatibility": Kinds((refine.Potts, refine.Diagonal, refine.Matrix)),
    "refinement.embedder": EMBEDDERS,
    "refinement.filter": Kinds((refine.EmbeddingFilter,)),
    "data": DATA,
    "stages.optimizer": OPTIMIZERS,
    "stages.schedule": SCHEDULES,
}
