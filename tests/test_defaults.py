"""What is computed depends on the tensors given, not on torch's default type, its default device or autocast."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch

import densefield.refine.pydensecrf.densecrf as dcrf
from densefield.losses import cross_entropy, dice_loss, embedding_losses
from densefield.metrics import BoundaryIoU, ConfusionMatrix
from densefield.mirroring import mirrored
from densefield.ops import native
from densefield.ops.gaussian import gaussian_filter
from densefield.ops.local_filter import affinity_filter
from densefield.ops.permutohedral import lattice_filter, shifted_lattices
from densefield.refine import (
    BilateralKernel,
    DenseCRF,
    Diagonal,
    EmbeddingFilter,
    FeatureKernel,
    Matrix,
    SegmentationAwareConv2d,
    SpatialKernel,
    joint_bilateral_filter,
    pamr,
    random_walk,
)

K, SIZE = 3, (7, 9)
KERNELS = (SpatialKernel(2.0, 3.0), BilateralKernel(20.0, 20.0, 5.0))


def _random(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


SCORES, EMBEDDINGS, IMAGE = _random(0, 1, K, *SIZE), _random(1, 1, 4, *SIZE), _random(2, 1, 3, *SIZE).sigmoid()
FEATURES = _random(3, 1, 2, *SIZE)
PIXELS = (IMAGE[0].permute(1, 2, 0) * 255).byte().contiguous().numpy()
TARGET = SCORES.argmax(1)


def _crf(compatibility: object = None, **options: object) -> DenseCRF:
    chosen = Diagonal((-3.0,) * K) if compatibility is None else compatibility
    return DenseCRF(K, kernels=KERNELS, compatibility=chosen, iterations=3, **options)


LEARNED = {"learn_weights": True, "learn_widths": True}
COVARIANCE = FeatureKernel(covariance=[[1.0, 0.3], [0.3, 0.5]], weight=2.0)
# Made before any default changes: parameters lie where torch's defaults say.
MODULES: dict[str, torch.nn.Module] = {
    "potts": DenseCRF(K, kernels=KERNELS, iterations=3, learn_compatibility=True, **LEARNED),
    "diagonal": _crf(**LEARNED),
    "matrix": _crf(Matrix(-3 * torch.eye(K)), learn_compatibility=True, **LEARNED),
    "recompute": _crf(recompute=True, **LEARNED),
    "accurate": _crf(accurate=True),
    "none": _crf(normalization="none"),
    "prune": _crf(prune=0.2),
    "dense": _crf(Matrix(-3 * torch.eye(K)), dense=True, **LEARNED),
    "covariance": DenseCRF(K, kernels=(COVARIANCE,), iterations=3, learn_widths=True),
    "filter": EmbeddingFilter(window=3, iterations=2, initial_lambda=0.3, border="zero"),
    "convolution": SegmentationAwareConv2d(K, 2),
    "volume": DenseCRF(
        K, kernels=KERNELS[:1], compatibility=Matrix(-3 * torch.eye(K)), iterations=2, learn_widths=True
    ),
}


def _run(name: str, backward: bool = True) -> list[torch.Tensor]:
    """A layer's result and its gradients by what it is given and by its parameters."""
    module = copy.deepcopy(MODULES[name])
    scores = (SCORES[:, :, None] if name == "volume" else SCORES).clone().requires_grad_()
    if name in ("filter", "convolution"):
        result = module(scores, EMBEDDINGS)
    elif name == "covariance":
        result = module(scores, features=FEATURES)
    else:
        result = module(scores, None if name == "volume" else IMAGE)
    learned = [p for p in module.parameters() if p.requires_grad]
    if not backward:
        return [result.detach(), scores, *learned]
    return [result.detach(), *torch.autograd.grad((result * result.detach().cos()).sum(), [scores, *learned])]


def _drop_in() -> list[torch.Tensor]:
    crf = dcrf.DenseCRF2D(SIZE[1], SIZE[0], K)
    crf.setUnaryEnergy(SCORES[0].flatten(1).numpy())
    crf.addPairwiseGaussian(3, 3)
    crf.addPairwiseBilateral(20, 13, PIXELS, np.float32([2.0, 3.0, 4.0]), normalization=dcrf.NO_NORMALIZATION)
    bare = dcrf.DenseCRF(SIZE[0] * SIZE[1], K)
    return [torch.from_numpy(x) for x in (crf.inference(2), bare.inference(1), np.float64([crf.klDivergence(TRUE)]))]


TRUE = SCORES[0].flatten(1).softmax(0).numpy()


def _losses() -> list[torch.Tensor]:
    scores, embeddings = SCORES.clone().requires_grad_(), EMBEDDINGS.clone().requires_grad_()
    total = cross_entropy(scores, TARGET) + dice_loss(scores, TARGET)
    total = total + embedding_losses(embeddings, TARGET, border="published", squared=True, rates=(1, 2))
    return [total.detach(), *torch.autograd.grad(total, (scores, embeddings))]


def _metrics() -> list[torch.Tensor]:
    matrix, boundary = ConfusionMatrix(K), BoundaryIoU(K)
    for one in (matrix, boundary):
        one.update(EMBEDDINGS[:, :K].argmax(1), TARGET)
    return [matrix.iou_per_class(), boundary.iou_per_class(), mirrored(-3, 12, 7)]


def _filters() -> list[torch.Tensor]:
    wide = EMBEDDINGS.flatten(2)
    lattices = shifted_lattices(wide, 3, fill_rows=400)
    filtered = [lattice_filter(SCORES.flatten(2), each) for each in lattices]
    return [
        *filtered,
        gaussian_filter(SCORES, 1.3, normalize=True),
        gaussian_filter(SCORES, [0.7, 2.0]),
        affinity_filter(SCORES, EMBEDDINGS, 0.3, window=3, distance="l2", border="published"),
        joint_bilateral_filter(SCORES, IMAGE),
        pamr(SCORES, IMAGE, iterations=2),
        random_walk(SCORES.exp(), IMAGE[:, :1], steps=4),
    ]


def _states() -> list[torch.Tensor]:
    crf = MODULES["matrix"]
    assert isinstance(crf, DenseCRF)
    with torch.no_grad():
        states = [state.scores for state in crf.iterate(SCORES, IMAGE)]
        return [*states, crf.energy(TARGET, SCORES, IMAGE), crf.free_energy(SCORES.softmax(1), SCORES, IMAGE)]


CASES: dict[str, Callable[[], list[torch.Tensor]]] = {
    **{name: lambda name=name: _run(name) for name in MODULES},
    "drop-in": _drop_in,
    "losses": _losses,
    "metrics": _metrics,
    "filters": _filters,
    "states": _states,
}


@pytest.fixture(params=["float64", "bfloat16", "meta"])
def other_default(request):
    """Another default: silently made tensors would have the wrong type, or no values at all."""
    if request.param == "meta":
        torch.set_default_device("meta")
    else:
        torch.set_default_dtype(getattr(torch, request.param))
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_under_other_defaults(name, kernels, other_default, monkeypatch):
    if kernels == "torch":
        monkeypatch.setattr(native, "available", lambda: False)
    found = CASES[name]()
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    for mine, wanted in zip(found, CASES[name](), strict=True):
        assert mine.dtype == wanted.dtype
        assert torch.equal(mine, wanted)


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("name", [*MODULES, "losses", "filters", "states"])
def test_the_same_bits_under_autocast(name, kernels, monkeypatch):
    if kernels == "torch":
        monkeypatch.setattr(native, "available", lambda: False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = CASES[name]()
    for mine, wanted in zip(found, CASES[name](), strict=True):
        assert mine.dtype == wanted.dtype
        # Gradients of matrix products may take another way there, in float32 as well: sums of at most 63 numbers, 63
        # units roundoff or 4e-6 of what is summed. Of bfloat16, which is what may not be, one unit is 4e-3.
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def test_parameters_are_float32_on_the_default_device():
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            crf, embedding_filter = _crf(learn_compatibility=True, **LEARNED), EmbeddingFilter()
    finally:
        torch.set_default_dtype(torch.float32)
    for parameter in (*crf.parameters(), *embedding_filter.parameters()):
        assert parameter.dtype == torch.float32
        assert parameter.device.type == "meta"
    assert float(EmbeddingFilter(initial_lambda=0.05).scale.detach()) == pytest.approx(0.05, rel=1e-6)
