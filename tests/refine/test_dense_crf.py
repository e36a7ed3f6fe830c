from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.ops.mean_field.plain import mean_field_by_ops
from densefield.refine import (
    BilateralKernel,
    DenseCRF,
    Diagonal,
    FeatureKernel,
    Matrix,
    Potts,
    SpatialKernel,
    mean_field,
)
from densefield.refine.mean_field import pairwise_terms, with_lattices
from drawing import seeded
from rounding import Rounding, in_float64, sums_to_one


def scores(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seeded(seed)))


def picture(*shape: int, seed: int = 1) -> Tensor:
    """Two flat regions with a little noise, uint8."""
    noise = torch.randint(0, 20, shape, generator=torch.Generator().manual_seed(seeded(seed)))
    return (noise + 150 * (torch.arange(shape[-1]) >= shape[-1] // 2)).to(torch.uint8)


def test_the_defaults_are_those_of_krahenbuhl_and_koltun() -> None:
    unary, image = scores(1, 4, 9, 10), picture(1, 3, 9, 10)
    kernels = (SpatialKernel(3.0, 3.0), BilateralKernel(80.0, 13.0, 10.0))
    wanted = mean_field(-unary, kernels, Potts(), 10, image=image, normalization="symmetric")
    assert torch.equal(DenseCRF(4)(unary, image), wanted)


def test_it_sharpens_a_blurred_edge_where_the_image_has_it() -> None:
    image = picture(1, 3, 20, 24)
    rough = torch.stack([-(torch.arange(24.0) - 9), torch.arange(24.0) - 9]).view(1, 2, 1, 24).expand(1, 2, 20, 24) / 9
    assert not bool((rough.argmax(1) == (torch.arange(24) >= 12)).all())
    refined = DenseCRF(2)(rough, image)
    assert bool((refined.argmax(1) == (torch.arange(24) >= 12)).all())


def test_refined_scores_are_log_marginals_of_the_same_kind() -> None:
    given, image = scores(2, 3, 7, 8), picture(2, 3, 7, 8)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        refined = DenseCRF(3)(given.to(dtype), image)
        assert refined.dtype == dtype
        assert refined.shape == given.shape
        sums_to_one(refined)


def test_images_of_a_batch_do_not_meet() -> None:
    given, image = scores(3, 3, 7, 8), picture(3, 3, 7, 8)
    crf = DenseCRF(3)
    single = torch.cat([crf(given[i : i + 1], image[i : i + 1]) for i in range(3)])
    assert torch.equal(crf(given, image), single)


def test_bytes_and_floats_in_0_1_are_the_same_image() -> None:
    given, image = scores(1, 3, 7, 8), picture(1, 3, 7, 8)
    wanted = DenseCRF(3)(given.double(), image)
    torch.testing.assert_close(DenseCRF(3)(given.double(), image.double() / 255), wanted)
    image = 255 * (image > 99).to(torch.uint8)  # which no rounding moves
    assert torch.equal(DenseCRF(3)(given, image / 255), DenseCRF(3)(given, image))


def test_transposed_and_strided_tensors_serve() -> None:
    given, image = scores(1, 8, 7, 6), picture(1, 3, 14, 8)
    turned, strided = given.permute(0, 2, 3, 1)[:, :3], image.permute(0, 1, 2, 3)[:, :, ::2].transpose(2, 3)
    turned = turned.transpose(2, 3)  # (1, 3, 8, 6)
    strided = strided[:, :, :, :6]
    wanted = DenseCRF(3)(turned.contiguous(), strided.contiguous())
    assert torch.equal(DenseCRF(3)(turned, strided), wanted)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 2)])
def test_small_images_serve(size: tuple[int, int]) -> None:
    given = scores(1, 3, *size)
    refined = DenseCRF(3)(given, picture(1, 3, *size))
    assert bool(torch.isfinite(refined).all())
    if size == (1, 1):  # the pixel hears only itself: w Q, with Q of the iteration before
        given = given.double()
        q = given.softmax(1)
        for _ in range(10):
            q = (given + 13 * q).softmax(1)
        torch.testing.assert_close(DenseCRF(3)(given, picture(1, 3, *size)).exp(), q)


def test_one_label_is_certain() -> None:
    assert torch.equal(DenseCRF(1)(scores(1, 1, 5, 6), picture(1, 3, 5, 6)), torch.zeros(1, 1, 5, 6))


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (1, 3, 0, 5)])
def test_nothing_refined_is_nothing(shape: tuple[int, ...]) -> None:
    assert DenseCRF(3)(torch.zeros(shape), torch.zeros(shape)).shape == shape


def test_many_labels_serve() -> None:
    refined = DenseCRF(300)(scores(1, 300, 5, 6), picture(1, 3, 5, 6))
    sums_to_one(refined)


def test_iterations_begin_with_the_scores_and_end_with_the_result() -> None:
    given, image = scores(1, 3, 7, 8).double(), picture(1, 3, 7, 8)
    crf = DenseCRF(3, iterations=4)
    states = list(crf.iterate(given, image))
    assert [state.step for state in states] == [0, 1, 2, 3, 4]
    torch.testing.assert_close(states[0].scores, given.log_softmax(1))
    torch.testing.assert_close(states[-1].scores, crf(given, image))
    assert torch.equal(states[2].marginals, states[2].scores.exp())


def test_nothing_is_learned_unless_asked() -> None:
    assert not list(DenseCRF(3).parameters())


def test_the_nine_parameters_of_schwing_and_urtasun() -> None:
    crf = DenseCRF.nine_parameters(3)
    assert {name: tuple(p.shape) for name, p in crf.named_parameters()} == {
        "log_weights": (2,),
        "log_widths.theta_gamma_0": (2,),
        "log_widths.theta_alpha_1": (2,),
        "log_widths.theta_beta_1": (3,),
    }
    spatial, bilateral = crf.kernels
    assert isinstance(spatial, SpatialKernel)
    assert isinstance(bilateral, BilateralKernel)
    torch.testing.assert_close(torch.as_tensor(bilateral.theta_beta), torch.full((3,), 13.0))
    torch.testing.assert_close(torch.as_tensor(spatial.weight), torch.tensor(3.0))


def test_training_lowers_the_loss_and_keeps_all_numbers_positive() -> None:
    image = picture(1, 3, 10, 12)
    target = (torch.arange(12) >= 6).long().expand(1, 10, 12)
    given = scores(1, 2, 10, 12) + functional.one_hot(target, 2).movedim(-1, 1)
    crf = DenseCRF.nine_parameters(2)
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.3)
    losses = []
    for _ in range(6):
        loss = functional.nll_loss(crf(given, image), target)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in crf.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for kernel in crf.kernels:
        assert all(bool((torch.as_tensor(v) > 0).all()) for v in vars(kernel).values() if v is not None)


@pytest.mark.parametrize(
    ("compatibility", "shapes"),
    [
        (Potts(), [()]),
        (Diagonal((-1.0, -1.0, -2.0)), [(3,)]),
        (Matrix(((-1.0, 0.0, 0.0),) * 3), [(3, 3)]),
        ((Potts(), Diagonal((-1.0, -1.0, -2.0))), [(), (3,)]),
    ],
)
def test_compatibilities_are_learned(compatibility: Any, shapes: list[tuple[int, ...]]) -> None:
    crf = DenseCRF(3, compatibility=compatibility, iterations=2, learn_compatibility=True)
    assert [tuple(p.shape) for p in crf.parameters()] == shapes
    given, image = scores(1, 3, 6, 7).requires_grad_(), picture(1, 3, 6, 7)  # a gradient is kept for either way
    fixed = DenseCRF(3, compatibility=compatibility, iterations=2)
    assert torch.equal(crf(given, image), fixed(given, image))
    crf(given, image)[:, 0].sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in crf.parameters())


def test_feature_kernels_learn_a_full_covariance() -> None:
    kernel = FeatureKernel(covariance=((2.0, 0.5), (0.5, 1.0)), weight=2.0)
    crf = DenseCRF(2, (kernel,), iterations=2, learn_widths=True)
    features = scores(1, 2, 30, seed=5)
    crf(scores(1, 2, 30), features=features)[:, 0].sum().backward()
    (factor,) = crf.parameters()
    assert factor.grad is not None
    assert bool((factor.grad.tril() != 0).any())
    assert float(factor.grad[0, 1]) == 0.0


def test_states_copies_and_pickles_keep_what_was_learned() -> None:
    crf = DenseCRF.nine_parameters(3)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter += 0.25
    given, image = scores(1, 3, 6, 7), picture(1, 3, 6, 7)
    wanted = crf(given, image)
    other = DenseCRF.nine_parameters(3)
    other.load_state_dict(crf.state_dict())
    for again in (other, copy.deepcopy(crf), pickle.loads(pickle.dumps(crf))):
        assert torch.equal(again(given, image), wanted)


def test_gradients_reach_a_network_below() -> None:
    network = nn.Conv2d(3, 2, 1)
    image = picture(1, 3, 6, 7) / 255
    functional.nll_loss(DenseCRF(2, iterations=3)(network(image), image), torch.zeros(1, 6, 7).long()).backward()
    assert network.weight.grad is not None
    assert bool((network.weight.grad != 0).any())


def test_the_representation_shows_the_settings() -> None:
    assert "theta_beta=13.0" in repr(DenseCRF(3))


def test_probabilities_and_energies_earn_a_warning() -> None:
    given, image = scores(1, 3, 6, 7), picture(1, 3, 6, 7)
    with pytest.warns(UserWarning, match="look like probabilities"):
        DenseCRF(3)(given.softmax(1), image)
    with pytest.warns(UserWarning, match="look like energies"):
        DenseCRF(3)(-given.log_softmax(1), image)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(1, 4, 6, 7), r"scores: wanted a tensor \(B, 3, \*size\)"),
        (torch.zeros(3, 6), r"received \(3, 6\)"),
        (torch.zeros(1, 3, 6, 7, dtype=torch.int64), "scores: wanted a floating-point tensor, received torch.int64"),
        (torch.full((1, 3, 6, 7), math.nan), "scores: hold NaN or Inf"),
        (torch.full((1, 3, 6, 7), math.inf), "scores: hold NaN or Inf"),
        (torch.full((1, 3, 6, 7), -math.inf), "scores: hold -Inf for all labels of 42 pixels"),
        (torch.zeros(1, 3, 7, 6), "image: wanted shape"),
        ([[0.0]], r"received \[\[0.0\]\]"),
    ],
)
def test_scores_are_checked(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        DenseCRF(3)(given, picture(1, 3, 6, 7))


@pytest.mark.parametrize("low", [1e4, 1e9, 1e30, 3.4028234663852886e38])
@pytest.mark.parametrize("labels", [2, 3, 5, 11, 21])
@pytest.mark.parametrize("options", [{}, {"dense": True}, {"recompute": True}, {"prune": 0.01}])
def test_scores_all_as_low_are_scores_all_alike(low: float, labels: int, options: dict[str, Any]) -> None:
    """The masked part of a padded batch: the softmax sees no number that all labels share."""
    given, image = scores(1, labels, 6, 7), picture(1, 3, 6, 7)
    given[..., 4:] = 0
    crf = DenseCRF(labels, iterations=3, **options)
    wanted = crf(given, image)
    for shared in (-low, low):
        masked = given.clone()
        masked[..., 4:] = shared
        assert torch.equal(crf(masked, image), wanted)


@pytest.mark.parametrize("options", [{}, {"dense": True}, {"recompute": True}, {"prune": 0.01}, {"accurate": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_labels_that_cannot_be_stay_out(options: dict[str, Any], dtype: torch.dtype) -> None:
    given, image = scores(1, 4, 6, 7).to(dtype), picture(1, 3, 6, 7)
    never = given < -1
    never[:, 2] = False
    given[never] = -math.inf
    given.requires_grad_()
    crf = DenseCRF(4, iterations=3, **options)
    found = crf(given, image)
    assert torch.equal(found == -math.inf, never)
    low = crf(given.detach().masked_fill(never, -6e4).requires_grad_(), image)
    assert torch.equal(found.exp(), low.exp())
    functional.nll_loss(found, torch.full((1, 6, 7), 2)).backward()
    assert given.grad is not None
    assert bool(torch.isfinite(given.grad).all())
    assert not bool(given.grad[never].any())
    assert all(torch.equal(state.scores == -math.inf, never) for state in crf.iterate(given, image))


def test_energies_of_labels_that_cannot_be() -> None:
    given, image = scores(2, 3, 6, 7), picture(2, 3, 6, 7)
    given[1, 1, 2, 3] = -math.inf
    crf = DenseCRF(3, iterations=2)
    labels = given.argmax(1)
    low = given.clamp_min(-1e6)
    assert torch.equal(crf.energy(labels, given, image), crf.energy(labels, low, image))
    marginals = crf(given, image).exp().requires_grad_()
    free = crf.free_energy(marginals, given, image)
    assert torch.equal(free, crf.free_energy(marginals, low, image))
    free.sum().backward()
    assert marginals.grad is not None
    assert bool(torch.isfinite(marginals.grad).all())
    labels[1, 2, 3] = 1
    assert crf.energy(labels, given, image).isposinf().tolist() == [False, True]


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="num_classes: wanted 1 or more, received 0"):
        DenseCRF(0)
    with pytest.raises(InputError, match="iterations: wanted 0 or more"):
        DenseCRF(2, iterations=-1)
    with pytest.raises(InputError, match="normalization: wanted one of"):
        DenseCRF(2, normalization="rows")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="compatibility: wanted energies for 2 labels, received 3"):
        DenseCRF(2, compatibility=Diagonal((1.0, 2.0, 3.0)))
    with pytest.raises(InputError, match="compatibility: wanted one for all kernels or 2"):
        DenseCRF(2, compatibility=[Potts()])


@pytest.mark.parametrize("labels", [2, 4, 6])
def test_many_kernels_of_many_lattices_serve(labels: int) -> None:
    """Eight of twelve lattices each in one loop; one kernel more goes op by op."""
    given, image = scores(1, labels, 6, 7), picture(1, 3, 6, 7)
    kernels = [BilateralKernel(20.0 + i, 10.0 + i, 0.5) for i in range(9)]
    for count in (6, 8, 9):
        found = DenseCRF(labels, kernels[:count], iterations=2, accurate=True)(given, image)
        terms = with_lattices(pairwise_terms(given, kernels[:count], image=image, accurate=True))
        assert all(len(term.lattice) == 12 for term in terms)
        options = {"iterations": 2, "normalization": "symmetric", "initial": None}
        with Rounding(torch.float32) as rounding:
            wanted = mean_field_by_ops(given.double(), in_float64(terms), **options).exp()
        rounding.within([found.exp()], [wanted])


def test_images_of_too_many_channels_are_named() -> None:
    given = scores(1, 3, 6, 7)
    assert bool(torch.isfinite(DenseCRF(3)(given, picture(1, 14, 6, 7))).all())
    with pytest.raises(InputError, match="image: wanted at most 14 channels beside 2 axes of positions, received 15"):
        DenseCRF(3)(given, picture(1, 15, 6, 7))
    with pytest.raises(InputError, match="features: wanted 1 to 16 dimensions, received 17"):
        DenseCRF(3, (FeatureKernel(),))(given, features=torch.zeros(1, 17, 6, 7))


def test_a_lattice_that_does_not_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densefield.ops.memory._available", lambda: 1 << 20)
    size = (1000, 800)
    with pytest.raises(InputError, match=r"a lattice over 1 x 800000 pixels needs .* GiB, .* are free"):
        DenseCRF(2)(torch.zeros(1, 2, *size), torch.zeros(1, 3, *size, dtype=torch.uint8))


def test_tiny_color_widths_serve_or_say_so() -> None:
    given, image = scores(1, 3, 6, 7), picture(1, 3, 6, 7)
    refined = DenseCRF(3, (BilateralKernel(80.0, 0.01, 10.0),))(given, image)
    assert bool(torch.isfinite(refined).all())
    with pytest.raises(InputError, match="width"):
        DenseCRF(3, (BilateralKernel(80.0, 1e-12, 10.0),))(given, image)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at it while it compiles
def test_compiled_models_train_and_raise_as_uncompiled_ones() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.crf = DenseCRF(3, iterations=2, learn_weights=True)

        def forward(self, x: Tensor) -> Tensor:
            refined: Tensor = self.crf(self.conv(x), x)
            return refined

    net, image = Net(), torch.rand(1, 3, 8, 9)
    compiled = torch.compile(net, backend="aot_eager")
    wanted, found = ([], [])
    for run, gradients in ((net, wanted), (compiled, found)):
        net.zero_grad()
        run(image).sin().sum().backward()
        gradients.extend(p.grad.clone() for p in net.parameters() if p.grad is not None)
    assert len(wanted) == 3
    assert all(map(torch.equal, found, wanted))

    crf = net.crf
    alone, given = torch.compile(crf, backend="aot_eager"), scores(1, 3, 8, 9)
    given[0, 0, 0, 0] = 1e5  # more than half precision holds: the loop begins again without
    assert torch.equal(alone(given, image), crf(given, image))
    given[0, 0, 0, 0] = math.nan
    with pytest.raises(InputError, match="scores: hold NaN"):
        alone(given, image)


@pytest.mark.parametrize("kernels", [(), (SpatialKernel(2.0),), (SpatialKernel(2.0), SpatialKernel(4.0))])
def test_gradients_without_a_lattice(kernels):
    """Lists of lattices and their numbers are then empty, which torch takes for lists of tensors."""
    learned = {"learn_weights": True, "learn_widths": True, "learn_compatibility": True}
    crf = DenseCRF(3, kernels, iterations=2, accurate=True, **learned)
    dense = DenseCRF(3, kernels, iterations=2, dense=True, **learned).double()
    scores, weights = torch.randn(1, 3, 7, 9, requires_grad=True), torch.rand(1, 3, 7, 9)
    exact = scores.detach().double().requires_grad_()
    (crf(scores).exp() * weights).sum().backward()
    (dense(exact).exp() * weights.double()).sum().backward()
    pairs = [(scores, exact), *zip(crf.parameters(), dense.parameters(), strict=True)]
    for mine, theirs in pairs:
        if not kernels and theirs.grad is None:
            assert mine.grad is None  # a compatibility between nobody
            continue
        # Two iterations of sums over 63 pixels and three labels, and taps cut at 1e-7: some 1e3 roundings of 6e-8.
        assert torch.allclose(mine.grad.double(), theirs.grad, atol=1e-4, rtol=1e-3)
