"""The embedding filter over window sizes and iterations, as Harley et al. 2016 tabulate them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch

from densefield.checks import InputError
from densefield.metrics import ConfusionMatrix
from densefield.ops.local_filter import affinity_filter
from densefield.protocols import Pairs
from densefield.refine import EmbeddingRefinement
from densefield.segmenter import Segmenter

WINDOWS = (3, 5, 7, 9, 11)
ITERATIONS = (1, 2, 3, 5, 7, 10)


def sweep_filter(
    segmenter: Segmenter,
    pairs: Pairs,
    *,
    windows: Sequence[int] = WINDOWS,
    iterations: Sequence[int] = ITERATIONS,
    progress: Callable[[Iterator[int]], Iterator[int]] = iter,
) -> dict[tuple[int, int], float]:
    """Mean IoU on `pairs` for each (window, iterations), with embeddings and λ as learned.

    Raises `InputError` for a segmenter whose refinement is not an `EmbeddingRefinement`.
    """
    refinement = swept_refinement(segmenter).eval()
    steps = [0, *sorted(iterations)]
    found = {(window, count): ConfusionMatrix(len(segmenter.classes)) for window in windows for count in steps[1:]}
    for index in progress(iter(range(len(pairs)))):
        image, target, _ = pairs[index]
        scores = segmenter.network_scores(image)[None].to(refinement.filter.scale.device)
        with torch.no_grad():
            embeddings = refinement.embeddings(torch.from_numpy(image).permute(2, 0, 1)[None].to(scores) / 255)
            for window in windows:
                filtered = scores
                for before, count in pairwise(steps):
                    filtered = affinity_filter(
                        filtered,
                        embeddings,
                        refinement.filter.scale,
                        window=window,
                        rate=refinement.filter.rate,
                        iterations=count - before,
                        distance=refinement.filter.distance,
                        border=refinement.filter.border,
                    )
                    found[window, count].update(filtered[0].argmax(dim=0).cpu(), target)
    return {key: confusion.mean_iou() for key, confusion in found.items()}


def swept_refinement(segmenter: Segmenter) -> EmbeddingRefinement:
    """What a sweep varies; raises `InputError` where there is no such refinement."""
    refinement = segmenter.refinement
    if isinstance(refinement, EmbeddingRefinement):
        return refinement
    name = "none" if refinement is None else type(refinement).__name__
    raise InputError(f"sweep: wanted a model whose refinement is an EmbeddingRefinement, received {name}")
