"""Mean-field inference of a fully connected CRF."""

from __future__ import annotations

from densefield.ops.mean_field.op import mean_field
from densefield.ops.mean_field.terms import GridTerm, LatticeTerm, Term

__all__ = ["GridTerm", "LatticeTerm", "Term", "mean_field"]
