"""Local filtering by learned affinities of pixel pairs."""

from __future__ import annotations

from densefield.ops.local_filter.op import affinity_filter, filter_by_masks, pair_distances
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
]
