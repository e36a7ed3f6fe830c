"""`EmbeddingFilter`: scores sharpened by learned embeddings, as a layer."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from densefield.built import described
from densefield.built.bounds import Channels, Scale
from densefield.checks import check, finite_number, whole_number
from densefield.ops.local_filter import Border, Distance, affinity_filter, check_window


@described("filter")
class EmbeddingFilter(nn.Module):
    """Remembers the options of `affinity_filter`, and lambda by its logarithm, so that it stays positive.

    The defaults are the published 9 x 9 window and seven iterations. `filter(scores, embeddings)` gives refined scores.
    Raises `InputError` for an even window, no iterations or a lambda that is not positive.
    """

    def __init__(
        self,
        window: Channels = 9,
        iterations: Channels = 7,
        rate: Channels = 1,
        learn_lambda: bool = True,
        *,
        initial_lambda: Annotated[Scale, Field(description="smaller, thin things drown (docs/embeddings.md)")] = 1.0,
        distance: Distance = "l1",
        border: Border = "valid",
    ) -> None:
        super().__init__()
        check_window(window, rate, distance, border)
        iterations = whole_number("iterations", iterations, 1, 256)
        positive = finite_number("initial_lambda", initial_lambda) > 0
        check(positive, f"initial_lambda: wanted a positive number, received {initial_lambda}")
        self.window = window
        self.iterations = iterations
        self.rate = rate
        self.distance: Distance = distance
        self.border: Border = border
        initial = torch.tensor(math.log(initial_lambda), dtype=torch.float32)
        self.log_lambda = nn.Parameter(initial, requires_grad=learn_lambda)

    @property
    def scale(self) -> Tensor:  # ()
        """Lambda, the factor of distances in exp(-lambda d)."""
        return self.log_lambda.exp()

    @property
    def initial_lambda(self) -> float:
        """Lambda as it is now, which a filter built like this one begins with."""
        return float(self.scale.detach())

    @property
    def learn_lambda(self) -> bool:
        """Whether lambda learns."""
        return self.log_lambda.requires_grad

    def forward(
        self,
        scores: Tensor,  # (B, C, H, W)
        embeddings: Tensor,  # (B, D, H, W)
    ) -> Tensor:  # (B, C, H, W)
        return affinity_filter(
            scores,
            embeddings,
            self.scale,
            window=self.window,
            rate=self.rate,
            iterations=self.iterations,
            distance=self.distance,
            border=self.border,
        )

    def extra_repr(self) -> str:
        value = float(self.scale.detach())
        return f"window={self.window}, iterations={self.iterations}, rate={self.rate}, lambda={value:.3g}"
