"""Training on Lightning: the task, batches that resume exactly, checkpoints that are never half written."""

from densefield.training.batches import Batch, EpochBatches, TrainingSet, ValidationSet, collate, collate_step
from densefield.training.checkpoints import AtomicCheckpointIO, KeepBest, KeepLast
from densefield.training.data_module import SegmentationData
from densefield.training.mean_loss import MeanLoss
from densefield.training.optimizers import ParameterGroup, adam, adamw, parameter_groups, rmsprop, sgd
from densefield.training.patience import Patience
from densefield.training.progress import EpochLines
from densefield.training.schedules import constant, cosine, exponential, poly, step
from densefield.training.signals import Interrupted, StopSignals
from densefield.training.table import MetricsTable
from densefield.training.task import Objective, SegmentationTask, Steps

__all__ = [
    "AtomicCheckpointIO",
    "Batch",
    "EpochBatches",
    "EpochLines",
    "Interrupted",
    "KeepBest",
    "KeepLast",
    "MeanLoss",
    "MetricsTable",
    "Objective",
    "ParameterGroup",
    "Patience",
    "SegmentationData",
    "SegmentationTask",
    "Steps",
    "StopSignals",
    "TrainingSet",
    "ValidationSet",
    "adam",
    "adamw",
    "collate",
    "collate_step",
    "constant",
    "cosine",
    "exponential",
    "parameter_groups",
    "poly",
    "rmsprop",
    "sgd",
    "step",
]
