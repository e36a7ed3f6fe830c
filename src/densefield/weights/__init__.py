"""Checkpoints in and out, without ever running code from a file."""

from __future__ import annotations

from densefield.weights.checkpoint import read_checkpoint
from densefield.weights.importing import Imported, import_weights
from densefield.weights.layers import Scaling
from densefield.weights.tensors import check_fit, read_tensors, write_tensors

__all__ = ["Imported", "Scaling", "check_fit", "import_weights", "read_checkpoint", "read_tensors", "write_tensors"]
