"""Pictures of labels, errors, scores and embeddings: uint8 RGB arrays (H, W, 3) out."""

from densefield.draw.embeddings import draw_affinity, draw_embeddings
from densefield.draw.pictures import (
    RAMP,
    RIGHT,
    UNCOUNTED,
    WRONG,
    Picture,
    boundaries,
    error_map,
    overlay,
    paint_labels,
    score_map,
    side_by_side,
)

__all__ = [
    "RAMP",
    "RIGHT",
    "UNCOUNTED",
    "WRONG",
    "Picture",
    "boundaries",
    "draw_affinity",
    "draw_embeddings",
    "error_map",
    "overlay",
    "paint_labels",
    "score_map",
    "side_by_side",
]
