"""Local filtering by learned affinities of pixel pairs, and the loss that such affinities learn from."""

from __future__ import annotations

from densefield.ops.local_filter.loss import pair_loss
from densefield.ops.local_filter.masks import filter_by_masks
from densefield.ops.local_filter.op import affinity_filter
from densefield.ops.local_filter.pairs import pair_distances
from densefield.ops.local_filter.window import Border, Distance, Window, check_embeddings, check_window

__all__ = [
    "Border",
    "Distance",
    "Window",
    "affinity_filter",
    "check_embeddings",
    "check_window",
    "filter_by_masks",
    "pair_distances",
    "pair_loss",
]
