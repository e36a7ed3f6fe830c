"""An image's result is the same bits alone and beside others, which are quite unlike it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from densefield.ops.mean_field import LatticeTerm
from densefield.ops.mean_field import mean_field as infer
from densefield.refine import BilateralKernel, DenseCRF, FeatureKernel, Matrix, SpatialKernel, presets
from drawing import seeded

SIZE = (40, 60)
PRESETS = ("DEFAULT", "DEEPLAB_V1", "DEEPLAB_V1_MSC", "DEEPLAB_V1_COCO", "DEEPLAB_V2", "DEEPLAB_V2_VGG16")


def unlike(size: tuple[int, ...] = SIZE) -> Tensor:  # (4, 3, *size)
    """Noise, whose lattice is too large to be filled, between images whose lattices are small."""
    generator = torch.Generator().manual_seed(seeded(3))
    noise = torch.randint(0, 256, (3, *size), generator=generator)
    halves = torch.where(torch.arange(size[-1]) < 20, 30, 200).expand(3, *size)
    return torch.stack([noise, halves, torch.full_like(noise, 77), noise // 8]).to(torch.uint8)


def scores_of(labels: int, size: tuple[int, ...] = SIZE) -> Tensor:
    """The first image is sure of its labels, the last of none; one knows of three labels alone."""
    scores = torch.randn(4, labels, *size, generator=torch.Generator().manual_seed(seeded(4)))
    scores *= torch.tensor([8.0, 1.0, 2.0, 0.01]).view(-1, *[1] * (scores.dim() - 1))
    scores[2, 3:] -= 30
    return scores


def check_alone(crf: DenseCRF, scores: Tensor, image: Tensor, **more: Tensor) -> None:
    many = crf(scores, image, **more)
    for b in (0, 2, 3):
        alone = crf(scores[b : b + 1], image[b : b + 1], **{name: x[b : b + 1] for name, x in more.items()})
        assert torch.equal(many[b : b + 1], alone), f"image {b}"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("labels", [2, 5])
def test_presets(preset: str, labels: int) -> None:
    with torch.no_grad():
        check_alone(DenseCRF(labels, getattr(presets, preset), iterations=3), scores_of(labels), unlike())


@pytest.mark.parametrize(
    "options",
    [
        {"accurate": True},
        {"prune": 0.05},
        {"normalization": "none"},
        {"normalization": "before"},
        {"normalization": "after"},
        {"compatibility": Matrix((-torch.eye(5)).tolist())},
        {"learn_weights": True, "learn_widths": True, "recompute": True},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_options(options: dict[str, Any], dtype: torch.dtype) -> None:
    """float64 goes op by op."""
    crf = DenseCRF(5, presets.DEEPLAB_V2, iterations=2, **options)
    check_alone(crf, scores_of(5).to(dtype), unlike())


def test_all_pairs() -> None:
    size = (7, 9)
    check_alone(DenseCRF(5, iterations=2, dense=True), scores_of(5, size), unlike(size))


def test_features_and_volumes() -> None:
    size = (4, 10, 24)
    features = torch.randn(4, 2, *size, generator=torch.Generator().manual_seed(seeded(5)))
    features[1] *= 1e6  # another precision: its lattice is built in float64
    kernels = (SpatialKernel(1.0), BilateralKernel(5.0, 3.0), FeatureKernel(0.5))
    check_alone(DenseCRF(3, kernels, iterations=2), scores_of(3, size), unlike(size), features=features)


def test_steps_energies_and_gradients() -> None:
    scores, image = scores_of(5), unlike()
    crf = DenseCRF(5, presets.DEEPLAB_V2, iterations=2)
    many, alone = list(crf.iterate(scores, image)), list(crf.iterate(scores[:1], image[:1]))
    assert all(torch.equal(a.scores[:1], b.scores) for a, b in zip(many, alone, strict=True))
    labels, marginals = scores.argmax(1), scores.softmax(1)
    for method, given in ((crf.energy, labels), (crf.free_energy, marginals)):
        assert torch.equal(method(given, scores, image)[:1], method(given[:1], scores[:1], image[:1]))
    leaves = [scores.clone().requires_grad_(), scores[:1].clone().requires_grad_()]
    for leaf in leaves:
        crf(leaf, image[: len(leaf)])[:1].exp().square().sum().backward()
    assert torch.equal(leaves[0].grad[:1], leaves[1].grad)  # type: ignore[index]


def test_terms_begun_in_the_middle() -> None:
    scores, image = scores_of(5).flatten(2), unlike().flatten(2).float()
    term = LatticeTerm(image, torch.full((3,), 4.0), torch.tensor(-2.0), fill_rows=6000, shifts=2)
    initial = scores.roll(1, 1).log_softmax(1)
    many = infer(scores, [term], iterations=2, initial=initial)
    term = LatticeTerm(image[:1], term.widths, term.compatibility, fill_rows=6000, shifts=2)
    assert torch.equal(many[:1], infer(scores[:1], [term], iterations=2, initial=initial[:1]))
