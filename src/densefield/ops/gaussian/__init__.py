"""Exact separable Gaussian filtering on the grid."""

from __future__ import annotations

from densefield.ops.gaussian.op import gaussian_filter

__all__ = ["gaussian_filter"]
