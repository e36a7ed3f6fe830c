"""The loss that embeddings learn from: hinges on the distances of pairs of pixels."""

from __future__ import annotations

from densefield.ops.pair_loss.op import pair_loss
from densefield.ops.pair_loss.options import Options, Reduction

__all__ = ["Options", "Reduction", "pair_loss"]
