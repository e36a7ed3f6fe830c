"""The options of the pair loss, and the label of what it leaves out."""

from __future__ import annotations

from typing import Literal, NamedTuple

from densefield.checks import check, finite_number, shown, whole_number
from densefield.ops.local_filter import Border, Distance, check_window

Reduction = Literal["mean", "sum"]

LEFT_OUT = -(2**31)  # the label, inside, of pixels whose pairs are not counted


class Options(NamedTuple):
    """The options of `losses.embedding_loss`, which says what they mean."""

    window: int = 9
    rate: int = 1
    alpha: float = 0.5
    beta: float = 2.0
    distance: Distance = "l1"
    border: Border = "valid"
    squared: bool = False
    reduction: Reduction = "mean"
    ignore_index: int = 255

    def checked(self) -> Options:
        """Give the same in plain types; raise `InputError` for what cannot be."""
        check_window(self.window, self.rate, self.distance, self.border)
        alpha, beta = finite_number("alpha", self.alpha), finite_number("beta", self.beta)
        check(alpha >= 0, f"alpha: wanted a distance of at least 0, received {self.alpha}")
        check(beta >= 0, f"beta: wanted a distance of at least 0, received {self.beta}")
        ignore_index = whole_number("ignore_index", self.ignore_index, -(2**31), 2**31 - 1)
        known = isinstance(self.reduction, str) and self.reduction in ("mean", "sum")
        check(known, f"reduction: wanted mean or sum, received {shown(self.reduction)}")
        window, rate, squared = int(self.window), int(self.rate), bool(self.squared)
        return Options(window, rate, alpha, beta, self.distance, self.border, squared, self.reduction, ignore_index)
