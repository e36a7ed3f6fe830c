from __future__ import annotations

import pytest
import torch
from torch import nn

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.networks import embedding_network
from densefield.refine import EmbeddingFilter, EmbeddingRefinement
from densefield.segmenter import Segmenter
from drawing import seeded
from ops.local_filter.dense import dense_filter

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def refinement(window: int = 5, iterations: int = 2) -> EmbeddingRefinement:
    torch.manual_seed(seeded())
    embedder = embedding_network(dimension=4, width=2)
    nn.init.normal_(embedder.mix.weight, std=0.02)  # masks that are neither 0 nor 1
    layer = EmbeddingFilter(window, iterations, initial_lambda=0.7)
    return EmbeddingRefinement(embedder, layer, mean=MEAN, std=STD)


def test_equals_scaling_embedding_and_the_dense_filter() -> None:
    module = refinement().double()
    image, scores = torch.rand(2, 3, 9, 10, dtype=torch.float64), torch.randn(2, 5, 9, 10, dtype=torch.float64)
    scaled = torch.stack([(image[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)
    embeddings = module.embedder(scaled)
    torch.testing.assert_close(module.embeddings(image), embeddings)
    wanted = dense_filter(scores, embeddings, module.filter.scale, window=5, iterations=2)
    torch.testing.assert_close(module(scores, image), wanted)
    assert (wanted - scores).abs().max() > 0.1


def test_gradients_reach_scores_lambda_and_the_embedder() -> None:
    module = refinement()
    scores = torch.randn(1, 3, 8, 8, requires_grad=True)
    module(scores, torch.rand(1, 3, 8, 8)).square().sum().backward()
    assert scores.grad is not None
    assert bool(scores.grad.any())
    assert all(p.grad is not None and bool(p.grad.any()) for p in module.filter.parameters())
    assert all(p.grad is not None and bool(p.grad.any()) for p in module.embedder.mix.parameters() if p.dim() > 1)


def test_the_embedder_may_be_of_another_precision_than_the_scores() -> None:
    module = refinement()
    module.embedder.double()
    refined = module(torch.randn(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
    assert refined.dtype == torch.float32


def test_stands_behind_any_network_in_a_segmenter() -> None:
    """A network of quarter size, whose scores say where the image is bright: the filter brings back the sharp edge."""

    class Coarse(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            bright = nn.functional.avg_pool2d(image[:, :1], 8)
            return torch.cat([-bright, bright], dim=1)

    class Colors(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return 4 * image

    image = torch.zeros(3, 32, 32)
    image[:, :, 13:] = 1
    options = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    classes = ClassList(names=("dark", "bright"), colors=((0, 0, 0), (255, 255, 255)))
    module = EmbeddingRefinement(Colors(), EmbeddingFilter(), **options)
    plain = Segmenter(Coarse(), classes, **options)(image)
    refined = Segmenter(Coarse(), classes, refinement=module, **options)(image)
    target = (image[0] > 0.5).long()
    assert int((plain != target).sum()) >= 32
    assert torch.equal(refined, target)


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(InputError, match="std: wanted 3 values like mean, received 1"):
        EmbeddingRefinement(nn.Identity(), EmbeddingFilter(), mean=MEAN, std=(1.0,))
    with pytest.raises(InputError, match="std: wanted positive values"):
        EmbeddingRefinement(nn.Identity(), EmbeddingFilter(), mean=MEAN, std=(1.0, 0.0, 1.0))
    with pytest.raises(InputError, match=r"image: wanted shape \(B, 3, H, W\), received \(1, 1, 8, 8\)"):
        refinement()(torch.zeros(1, 2, 8, 8), torch.zeros(1, 1, 8, 8))
    with pytest.raises(InputError, match="scores: wanted shape"):
        refinement()(torch.zeros(1, 2, 8, 8), torch.zeros(1, 3, 8, 9))
