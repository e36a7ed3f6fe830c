"""`EmbeddingRefinement`: an embedding network and its filter as one refinement, from scores and image to scores."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from densefield.built import described
from densefield.built.bounds import Number, Scale
from densefield.checks import check, check_map, finite_number, shown
from densefield.refine.embedding_filter import EmbeddingFilter


@described("embedding_filter")
class EmbeddingRefinement(nn.Module):
    """Embeddings and their filter behind any model: scores (B, K, H, W), image (B, C, H, W) in [0, 1] → refined scores.

    `embedder` makes embeddings (B, D, H, W) of the image scaled by (value - mean) / std, one value a channel; `filter`
    averages scores by their masks (Harley et al. 2017). Gradients reach scores, λ and the embedder's weights.
    Raises `InputError` for other channels than `mean` has, and for embeddings of another size than the scores.
    """

    def __init__(
        self,
        embedder: nn.Module,
        filter: EmbeddingFilter,
        *,
        mean: Sequence[Number],
        std: Sequence[Scale],
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            listed = isinstance(values, Sequence) and not isinstance(values, str)
            check(listed, f"{name}: wanted one value a channel, received {shown(values)}")
            for value in values:
                finite_number(name, value)
        check(len(mean) == len(std), f"std: wanted {len(mean)} values like mean, received {len(std)}")
        check(all(value > 0 for value in std), f"std: wanted positive values, received {tuple(std)}")
        self.embedder = embedder
        self.filter = filter
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)

    def embeddings(self, image: Tensor) -> Tensor:  # (B, C, H, W) in [0, 1] -> (B, D, H, W)
        """What the embedder makes of the scaled image."""
        check_map("image", image, len(self.mean))
        weight = next((p for p in self.embedder.parameters() if p.is_floating_point()), image)
        values = image.to(weight.dtype)
        mean, std = (values.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        embeddings: Tensor = self.embedder((values - mean) / std)
        return embeddings

    def forward(
        self,
        scores: Tensor,  # (B, K, H, W)
        image: Tensor,  # (B, C, H, W) in [0, 1]
    ) -> Tensor:  # (B, K, H, W)
        refined: Tensor = self.filter(scores, self.embeddings(image))
        return refined
