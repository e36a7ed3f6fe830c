"""Half types go in and come out, float32 lies between: positions, small constants, sums, what iterations hand on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from densefield.ops.local_filter import pair_distances
from densefield.refine import (
    BilateralKernel,
    DenseCRF,
    EmbeddingFilter,
    SpatialKernel,
    joint_bilateral_filter,
    pamr,
    random_walk,
    segmentation_aware_conv2d,
)

KERNELS = (SpatialKernel(2.0, 3.0), BilateralKernel(20.0, 20.0, 5.0))
WEIGHT, ONE = torch.ones(2, 2, 3, 3) / 18, torch.ones(())


def _crf(**options: object) -> Callable[[Tensor, Tensor], Tensor]:
    return DenseCRF(2, kernels=KERNELS, iterations=5, **options)


def _free_energy(scores: Tensor, image: Tensor) -> Tensor:
    return DenseCRF(2, kernels=KERNELS).free_energy(scores.softmax(1), scores, image)


def _last_state(scores: Tensor, image: Tensor) -> Tensor:
    *_, last = DenseCRF(2, kernels=KERNELS, iterations=5).iterate(scores, image)
    return last.scores


CASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "joint bilateral": lambda scores, image: joint_bilateral_filter(scores, image),
    "pamr": lambda scores, image: pamr(scores, image),
    "random walk": lambda scores, image: random_walk(scores.abs(), image[:, :1], steps=16),
    "segmentation-aware": lambda scores, image: segmentation_aware_conv2d(scores, image, WEIGHT, None, ONE),
    "pair distances": lambda scores, image: pair_distances(image, distance="l2"),
    "embedding filter": lambda scores, image: EmbeddingFilter()(scores, image),
    "crf": _crf(),
    "crf, prune": _crf(prune=0.2),
    "crf, recompute": _crf(recompute=True),
    "crf, dense": _crf(dense=True),
    "crf, states": _last_state,
    "free energy": _free_energy,
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_only_the_result_is_rounded(name, dtype):
    width = 40 if "dense" in name else 300  # bfloat16 counts pixels up to 256
    scores, image = (2 * torch.randn(1, 2, 3, width)).to(dtype), torch.rand(1, 3, 3, width).to(dtype)
    image[..., : width // 2] = 0.25  # flat: 1e-8 alone keeps PAMR from 0 / 0
    wide = scores.float().requires_grad_("recompute" in name)
    scores.requires_grad_("recompute" in name)
    found, wanted = CASES[name](scores, image).detach(), CASES[name](wide, image.float()).detach()
    kind = torch.float32 if name in ("pair distances", "free energy") else dtype
    assert found.dtype == (torch.float64 if name == "free energy" else kind)
    if name == "free energy":  # marginals, given in the half type: x log x and x U of numbers rounded once
        limit = torch.finfo(dtype).eps * 2 * width * 3 * (1 + scores.abs().max() + 8)
        assert ((found.double() - wanted.double()).abs() <= limit).all()
    else:  # one rounding; where the fused loop keeps marginals in half precision it does so for both
        assert torch.equal(found, wanted.to(kind))


def test_weights_of_a_half_convolution_are_those_of_its_type():
    layer = nn.Conv2d(2, 2, 3, padding=1, bias=True).half()
    values, same = torch.randn(1, 2, 5, 6).half(), torch.zeros(1, 1, 5, 6).half()
    found = segmentation_aware_conv2d(values, same, layer.weight, layer.bias, ONE)
    wanted = nn.functional.conv2d(values.double(), layer.weight.double(), layer.bias.double(), padding=1)
    assert found.dtype == torch.float16
    bound = nn.functional.conv2d(
        values.double().abs(), layer.weight.double().abs(), layer.bias.double().abs(), padding=1
    )
    assert ((found - wanted).abs() <= 0.5 * torch.finfo(torch.float16).eps * wanted.abs() + 20 * 2**-24 * bound).all()
