"""What a stage lowers: the loss of scores, refined or not, and the pair losses of embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from densefield import losses
from densefield.checks import check
from densefield.data import superpixels
from densefield.protocols import Pairs, Refinement, all_scores, has_own_scores
from densefield.refine import EmbeddingRefinement
from densefield.runs.recipe import Recipe, Trains
from densefield.runs.sections import Loss
from densefield.segmenter import Segmenter
from densefield.segmenter.pixels import network_input
from densefield.training import Batch, Objective

Lowered = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # scores, target, pixel_weights -> scalar


def build_objective(recipe: Recipe, trains: Trains, segmenter: Segmenter, class_weights: Tensor | None) -> Objective:
    """The loss of one batch for a stage that trains `trains` of `segmenter`.

    What a network that learns says at several scales or by auxiliary heads is summed, all but its answer unrefined and
    by `loss.auxiliary`; where `loss.at` is scores, its answer counts before it is enlarged. Embeddings also learn from
    their pair losses; where the recipe has no other loss, from these alone. Raises `InputError` for a recipe with
    nothing to learn from, where a stage trains a refinement that the recipe lacks, and for a loss at the scores of a
    network that has one for every pixel.
    """
    refinement, chosen = segmenter.refinement, recipe.loss
    pair_loss = 0.0 if refinement is None else recipe.pair_loss
    alone = trains == "refinement" and pair_loss > 0 and not chosen.of_scores
    behind = trains == "refinement" and refinement is None
    check(not behind, "stages: trains: wanted a refinement in the recipe (refinement.kind) where a stage trains it")
    loss = None if alone else build_loss(chosen, class_weights)
    own = chosen.at == "scores" and trains != "refinement"
    _check_place(chosen, segmenter)

    def objective(batch: Batch) -> Tensor:
        image, target = batch["image"], batch["target"]
        embeddings = refinement.embeddings(image).float() if isinstance(refinement, EmbeddingRefinement) else None
        total = image.new_zeros(())
        if embeddings is not None and pair_loss > 0:
            regions = _regions(image) if chosen.pair_labels == "superpixels" else target
            total = total + pair_loss * losses.embedding_losses(
                embeddings, regions, window=chosen.pair_window or 3, rates=chosen.pair_rates or (1, 2, 5)
            )
        if loss is None:
            return total
        weights = batch.get("pixel_weights")
        others: list[tuple[Tensor, int]] = []
        with torch.set_grad_enabled(trains != "refinement"):
            pixels = prepared(segmenter, recipe.channels_last, image)
            if trains == "refinement" or (chosen.auxiliary == 0 and not own):
                scores, stride = segmenter.network(pixels), 1
            else:
                (scores, stride), *others = all_scores(segmenter.network, pixels, own=own)
        with torch.autocast(image.device.type, enabled=False):
            scores = _refined(refinement, scores.float(), image, embeddings)
        total = total + loss(*_where_they_lie(scores, stride, target, weights))
        for other, stride in others if chosen.auxiliary > 0 else ():
            total = total + chosen.auxiliary * loss(*_where_they_lie(other.float(), stride, target, weights))
        return total

    return objective


def _check_place(choice: Loss, segmenter: Segmenter) -> None:
    """Raise `InputError` where a loss is wanted at the scores' own pixels, and these are every pixel."""
    own = choice.at == "image" or has_own_scores(segmenter.network)
    check(own, f"loss.at: scores: {type(segmenter.network).__name__} has a score for every pixel; leave it out")
    behind = segmenter.refinement is not None and choice.at == "scores"
    check(not behind, "loss.at: scores: a refinement wants every pixel's; leave it out where one is trained")


def _where_they_lie(
    scores: Tensor,  # (B, K, h, w), at pixels i·stride
    stride: int,
    target: Tensor,  # (B, H, W)
    pixel_weights: Tensor | None,  # (B, H, W)
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores, and target and weights at their own pixels; scores beyond the image have none, and are left out."""
    height, width = scores.shape[2:]
    own = target[:, ::stride, ::stride][:, :height, :width]
    weights = None if pixel_weights is None else pixel_weights[:, ::stride, ::stride][:, :height, :width]
    return scores[:, :, : own.shape[1], : own.shape[2]], own, weights


def _refined(refinement: Refinement | None, scores: Tensor, image: Tensor, embeddings: Tensor | None) -> Tensor:
    if isinstance(refinement, EmbeddingRefinement) and embeddings is not None:
        filtered: Tensor = refinement.filter(scores, embeddings)
        return filtered
    if refinement is None:
        return scores
    result: Tensor = refinement(scores, image)
    return result


def _regions(image: Tensor) -> Tensor:  # (B, 3, H, W) in [0, 1] -> (B, H, W)
    """Superpixels in place of labels."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(np.stack([superpixels(one) for one in pixels])).to(image.device)


def prepared(segmenter: Segmenter, channels_last: bool, image: Tensor) -> Tensor:
    """`image` (B, 3, H, W) in [0, 1] as the network reads it."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    scaled = network_input(image, mean=segmenter.mean, std=segmenter.std, dtype=image.dtype)
    return scaled.contiguous(memory_format=layout)


def counted_class_weights(choice: Loss, pairs: Pairs, num_classes: int, console: Console) -> Tensor | None:
    """Class weights (K,): those written down, or median frequency weights of the training targets; or none."""
    if choice.class_weights == "none":
        return None
    if choice.class_weights != "median_frequency":
        return torch.tensor(choice.class_weights)
    console.print("counting class frequencies ...")
    return losses.median_frequency_weights(
        *losses.class_pixels((pairs[i].target for i in range(len(pairs))), num_classes)
    )


def check_class_weights(choice: Loss, classes: Sequence[str]) -> None:
    """Raise `InputError` unless written weights are one a class."""
    written = choice.class_weights
    count = len(classes) if isinstance(written, str) else len(written)
    wanted = f"loss.class_weights: wanted {len(classes)} numbers, one for each of {', '.join(classes)}"
    check(count == len(classes), f"{wanted}; received {count}")


def build_loss(choice: Loss, class_weights: Tensor | None) -> Lowered:
    """The weighted sum of losses of scores that `choice` describes.

    Where pixels are weighted by U-Net's border map, that map holds the class weights already (its w_c).
    """
    counted = choice.of_scores
    check(len(counted) > 0, "loss: cross_entropy, dice and all others are 0; nothing to learn from")

    def loss(scores: Tensor, target: Tensor, pixel_weights: Tensor | None) -> Tensor:
        total = scores.new_zeros(())
        for function, weight in counted.items():
            given: dict[str, Any] = {}
            if function is losses.cross_entropy:
                balance = None if class_weights is None or pixel_weights is not None else class_weights.to(scores)
                given = {"class_weights": balance, "pixel_weights": pixel_weights, "reduction": choice.reduction}
            total = total + weight * function(scores, target, **given)
        return total

    return loss


@dataclasses.dataclass(frozen=True)
class BorderWeights:
    """U-Net's weight map of a target (H, W) whose class 1 is the objects; an object, as loader workers pickle it.

    Objects are told apart by `instances`, which have 255 for what is ignored, or are the connected parts of class 1.
    """

    w0: float
    sigma: float
    class_weights: NDArray[np.float32] | None

    def __call__(
        self, target: NDArray[np.unsignedinteger], instances: NDArray[np.unsignedinteger] | None = None
    ) -> NDArray[np.float32]:
        objects = target == 1 if instances is None else np.where(target == 1, instances, 0)
        return losses.border_weights(objects, class_weights=self.class_weights, w0=self.w0, sigma=self.sigma)


def border_weights(choice: Loss, class_weights: Tensor | None, num_classes: int) -> BorderWeights | None:
    """U-Net's weight map as `choice` describes it, or None; raises `InputError` unless there are two classes."""
    if choice.border == 0:
        return None
    check(num_classes == 2, f"loss.border: wanted two classes (background, objects), received {num_classes}")
    balance = None if class_weights is None else class_weights.numpy()
    return BorderWeights(choice.border, choice.border_sigma or 5.0, balance)
