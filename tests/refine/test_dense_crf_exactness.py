"""The layer against its own sums over all pairs of pixels (`dense=True`, float64), on a crop of a photograph."""

from __future__ import annotations

import pytest
import torch
from skimage import data
from torch import Tensor
from torch.nn import functional

from densefield.ops.mean_field import LatticeTerm
from densefield.refine import BilateralKernel, DenseCRF, mean_field
from densefield.refine.mean_field import pairwise_terms

SIZE = (36, 48)


def crop(labels: int) -> tuple[Tensor, Tensor, Tensor]:
    """A photograph (1, 3, H, W), scores (1, K, H, W) four times too coarse and a target (1, H, W), by brightness."""
    image = torch.from_numpy(data.astronaut()[100 : 100 + SIZE[0], 190 : 190 + SIZE[1]]).movedim(2, 0)[None] / 255
    brightness = functional.avg_pool2d(image.mean(1, keepdim=True), 3, 1, 1, count_include_pad=False)[0]
    steps = torch.quantile(brightness, torch.linspace(0, 1, labels + 1)[1:-1])
    target = torch.bucketize(brightness, steps)
    sure = functional.one_hot(target, labels).movedim(-1, 1).float()
    # One scene, not a draw: how near the lattices come is a figure of the scene (draws had 0.01 to 0.13).
    count = labels * (SIZE[0] // 4) * (SIZE[1] // 4)
    noise = 12**0.5 * ((43758.5453 * (12.9898 * torch.arange(count, dtype=torch.float64)).sin()) % 1 - 0.5).float()
    noise = noise.reshape(1, labels, SIZE[0] // 4, SIZE[1] // 4)
    coarse = functional.avg_pool2d(sure, 4) + 0.1 * noise
    return image, 6 * functional.interpolate(coarse, size=SIZE, mode="bilinear"), target


def gradients(crf: DenseCRF, image: Tensor, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """By the scores, and by the logarithms of the seven widths."""
    scores = scores.clone().requires_grad_()
    functional.nll_loss(crf(scores, image), target).backward()
    assert scores.grad is not None
    widths = [p.grad for name, p in crf.named_parameters() if name.startswith("log_widths") and p.grad is not None]
    return scores.grad.flatten().double(), torch.cat(widths).double()


@pytest.mark.parametrize("labels", [5, 21])
def test_gradients_of_a_small_image_are_near_the_exact_ones(labels: int) -> None:
    image, scores, target = crop(labels)
    got = gradients(DenseCRF.nine_parameters(labels), image, scores, target)
    exact = DenseCRF.nine_parameters(labels).double()
    exact.dense = True
    wanted = gradients(exact, image.double(), scores.double(), target)
    for ours, theirs, error, cosine in zip(got, wanted, (0.06, 0.12), (0.998, 0.99), strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) <= error
        assert float(torch.cosine_similarity(ours, theirs, dim=0)) >= cosine


def test_small_images_and_accurate_ones_get_more_lattices() -> None:
    def shifts(*size: int, accurate: bool = False) -> int:
        (term,) = pairwise_terms(
            torch.zeros(1, 2, *size), [BilateralKernel()], image=torch.zeros(1, 3, *size), accurate=accurate
        )
        assert isinstance(term, LatticeTerm)
        return term.shifts

    assert [shifts(32, 64), shifts(48, 64), shifts(64, 96), shifts(64, 97)] == [6, 4, 2, 1]
    assert [shifts(32, 64, accurate=True), shifts(64, 97, accurate=True)] == [12, 6]


def test_an_image_fares_in_a_batch_as_it_does_alone() -> None:
    image, scores, _ = crop(5)
    images, several = image.repeat(3, 1, 1, 1), scores.repeat(3, 1, 1, 1)
    alone = mean_field(-scores, [BilateralKernel()], iterations=5, image=image)
    together = mean_field(-several, [BilateralKernel()], iterations=5, image=images)
    for each in together:
        assert torch.equal(each, alone[0])
