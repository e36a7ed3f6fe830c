"""A check for NaN and Inf that costs one read of the tensor."""

from __future__ import annotations

import math

from torch import Tensor

from densefield.checks import check_finite


def check_all_finite(name: str, tensor: Tensor) -> None:
    """Raise as `check_finite` does, by the least and the greatest value: NaN spreads to both."""
    if tensor.numel():
        least, most = (float(bound) for bound in tensor.detach().aminmax())
        if not (math.isfinite(least) and math.isfinite(most)):
            check_finite(name, tensor)
