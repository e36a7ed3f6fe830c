"""The affinity filter over maps of one size: its options, and what its sum of masks holds beside pairs of pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from densefield.checks import InputError, finite_number, whole_number
from densefield.ops.local_filter.window import Border, Distance, Window, check_window


class Options(NamedTuple):
    """The options of `affinity_filter`, which says what they mean."""

    window: int
    rate: int = 1
    iterations: int = 1
    distance: Distance = "l1"
    normalize: bool = True
    eps: float = 0.0
    include_center: bool = True
    border: Border = "valid"

    def checked(self) -> Options:
        """Give the same in plain types; raise `InputError` for what cannot be."""
        check_window(self.window, self.rate, self.distance, self.border)
        iterations, eps = whole_number("iterations", self.iterations, 1, 256), finite_number("eps", self.eps)
        if eps < 0:
            raise InputError(f"eps: wanted a number of at least 0, received {self.eps}")
        window, rate, normalize, center = (
            int(self.window),
            int(self.rate),
            bool(self.normalize),
            bool(self.include_center),
        )
        return Options(window, rate, iterations, self.distance, normalize, eps, center, self.border)


class Filter(NamedTuple):
    """What one call filters by. A sum of masks is that over pairs, the centre's mask and the floor under it."""

    window: Window
    options: Options
    scale: float
    centre: Tensor | float  # (B, H, W) where it varies
    floor: Tensor | float  # eps and the masks of places outside; (B, H, W) where it varies

    @staticmethod
    def by(
        embeddings: Tensor,  # (B, D, H, W)
        scale: float,
        options: Options,
    ) -> Filter:
        """Give the filter by masks of embeddings."""
        window = Window.over(embeddings, options.window, options.rate)
        centre: Tensor | float = float(options.include_center)
        if options.include_center and options.distance == "dot":
            centre = torch.exp(scale * embeddings.square().sum(1))
        floor: Tensor | float = options.eps
        if options.normalize and options.border != "valid":
            count = window.outside(embeddings.device, embeddings.dtype)
            if options.border == "published" or options.distance == "dot":
                floor = (count + options.eps).expand(embeddings.shape[0], *count.shape).contiguous()
            else:
                floor = count * torch.exp(-scale * distances_from_zero(embeddings, options.distance)) + options.eps
        return Filter(window, options, scale, centre, floor)

    def add_gradients(
        self,
        embeddings: Tensor,  # (B, D, H, W)
        by_centre: Tensor | None,  # (B, H, W)
        by_floor: Tensor | None,  # (B, H, W)
        by_embeddings: Tensor | None,  # (B, D, H, W), added to
    ) -> Tensor:  # () float64: the gradient by scale
        """Carry the gradients by centre and floor, where they vary, to the embeddings (in place) and to the scale."""
        _, options, scale, centre, _ = self
        by_scale = torch.zeros((), dtype=torch.float64, device=embeddings.device)
        if by_centre is not None and isinstance(centre, Tensor):  # exp(scale |e|²)
            squares = embeddings.square().sum(1)
            weight = by_centre * centre
            by_scale = by_scale + (weight * squares).sum(dtype=torch.float64)
            if by_embeddings is not None:
                by_embeddings.addcmul_(embeddings, weight[:, None], value=2 * scale)
        if by_floor is not None and options.border == "zero" and options.distance != "dot":  # count exp(-scale |e - 0|)
            distances = distances_from_zero(embeddings, options.distance)
            count = self.window.outside(embeddings.device, embeddings.dtype)
            weight = by_floor * count * torch.exp(-scale * distances)
            by_scale = by_scale - (weight * distances).sum(dtype=torch.float64)
            if by_embeddings is not None:
                slope = embeddings.sign() if options.distance == "l1" else embeddings
                by_embeddings.addcmul_(slope, weight[:, None], value=-scale)
        return by_scale


def distances_from_zero(
    embeddings: Tensor,  # (B, D, H, W)
    distance: str,
) -> Tensor:  # (B, H, W)
    """Give the distance `l1` or `l2` of each embedding from 0."""
    return embeddings.abs().sum(1) if distance == "l1" else 0.5 * embeddings.square().sum(1)
