"""Gaussian filtering in any number of feature dimensions by the permutohedral lattice."""

from __future__ import annotations

from densefield.ops.permutohedral.lattice import Lattice
from densefield.ops.permutohedral.op import build_lattice, lattice_filter
from densefield.ops.permutohedral.shifted import shifted_lattices

__all__ = ["Lattice", "build_lattice", "lattice_filter", "shifted_lattices"]
