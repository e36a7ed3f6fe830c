from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import densefield.refine.pydensecrf.densecrf as dcrf
from densefield.checks import InputError
from densefield.refine.pydensecrf import utils
from drawing import seeded
from rounding import sums_to_one

PLACES = ((0, 0), (3, 8), (6, 7), (11, 15))

# What pydensecrf 1.0rc3 answers on `scene`: klDivergence, and the marginals of three labels at PLACES.
ORIGINAL = [
    (
        "NORMALIZE_SYMMETRIC",
        -1005.75717,
        [
            [0.0001, 0.99979, 0.0001],
            [0.87998, 0.11509, 0.00493],
            [0.40231, 0.06863, 0.52906],
            [0.99978, 0.0001, 0.00012],
        ],
    ),
    (
        "NORMALIZE_BEFORE",
        -1015.69193,
        [
            [0.00019, 0.99963, 0.00019],
            [0.8046, 0.19044, 0.00496],
            [0.38704, 0.07003, 0.54292],
            [0.99973, 0.00012, 0.00015],
        ],
    ),
    (
        "NORMALIZE_AFTER",
        -1019.77903,
        [[5e-05, 0.99991, 5e-05], [0.91754, 0.07775, 0.00471], [0.41406, 0.06598, 0.51996], [0.99986, 6e-05, 8e-05]],
    ),
    (
        "NO_NORMALIZATION",
        -148.17527,
        [
            [0.05841, 0.88403, 0.05756],
            [0.47155, 0.40458, 0.12387],
            [0.4884, 0.23882, 0.27278],
            [0.91862, 0.03611, 0.04527],
        ],
    ),
]


def scene() -> tuple[Any, Any]:
    """A picture (12, 16, 3) and energies (3, 192), made by arithmetic alone."""
    y, x = np.mgrid[:12, :16]
    red, green = (x * 13 + y * 7) % 97 + 80 * (x > 7), (y * y * 3 + x) % 121 + 40 * (x > 7)
    image = np.stack([red, green, (x * y) % 64 + 100 * (y > 5)], -1).astype(np.uint8)
    first, second = np.sin(0.7 * x + 0.3 * y) + (x > 7), np.cos(0.5 * y - 0.2 * x) + (x < 8) * (y < 6)
    powers = np.exp(np.stack([first, second, np.sin(0.11 * x * y) + (y > 5) * (x < 8)]))
    return image, (-np.log(powers / powers.sum(0))).astype(np.float32).reshape(3, -1)


def model(normalization: int = dcrf.NORMALIZE_SYMMETRIC) -> dcrf.DenseCRF2D:
    image, unary = scene()
    less = 0.02 if normalization == dcrf.NO_NORMALIZATION else 1.0
    d = dcrf.DenseCRF2D(16, 12, 3)
    d.setUnaryEnergy(unary)
    d.addPairwiseGaussian(sxy=(3, 2), compat=3 * less, normalization=normalization)
    compat = np.array([-4, -5, -3], np.float32) * less
    d.addPairwiseBilateral(sxy=(20, 30), srgb=(13, 20, 30), rgbim=image, compat=compat, normalization=normalization)
    return d


@pytest.mark.parametrize(("normalization", "divergence", "marginals"), ORIGINAL)
def test_marginals_and_divergence_are_those_of_pydensecrf(
    normalization: str, divergence: float, marginals: Any
) -> None:
    d = model(getattr(dcrf, normalization))
    q = d.inference(4)
    got = np.array(q).reshape(3, 12, 16)
    np.testing.assert_allclose([got[:, y, x] for y, x in PLACES], marginals, atol=1e-3)
    assert d.klDivergence(q) == pytest.approx(divergence, rel=1e-4)


@pytest.mark.parametrize("normalization", list(dcrf.NormalizationType))
def test_steps_are_the_iterations_of_inference(normalization: dcrf.NormalizationType) -> None:
    d = model(normalization)
    q, first, second = d.startInference()
    kept = q
    for _ in range(3):
        d.stepInference(q, first, second)
    assert kept is q
    np.testing.assert_allclose(q, d.inference(3), atol=2e-3)


def test_the_divergence_falls_over_the_iterations() -> None:
    d = model()
    q, first, second = d.startInference()
    before = d.klDivergence(q)
    for _ in range(3):
        d.stepInference(q, first, second)
    assert d.klDivergence(q) < before


def test_results_have_the_buffer_protocol_and_sum_to_one() -> None:
    q = model().inference(2)
    view = memoryview(q)
    assert view.format == "f"
    assert view.shape == (3, 192)
    sums_to_one(torch.from_numpy(np.array(q)).log(), 0)


def test_numbers_vectors_and_matrices_say_the_same() -> None:
    results = []
    for compat in (4, -4 * np.ones(3, np.float32), -4 * np.eye(3, dtype=np.float32), np.float64(4)):
        d = dcrf.DenseCRF2D(16, 12, 3)
        d.setUnaryEnergy(scene()[1])
        d.addPairwiseGaussian(sxy=3, compat=compat)
        results.append(np.array(d.inference(3)))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_features_of_the_utils_are_the_kernels_of_the_image() -> None:
    image, unary = scene()
    direct = dcrf.DenseCRF2D(16, 12, 3)
    direct.setUnaryEnergy(unary)
    direct.addPairwiseBilateral(sxy=(8, 8), srgb=13, rgbim=image, compat=5)
    free = dcrf.DenseCRF(16 * 12, 3)
    free.setUnaryEnergy(unary)
    features = utils.create_pairwise_bilateral(sdims=(8, 8), schan=(13, 13, 13), img=image, chdim=2)
    # The utils put rows before columns, which is the same kernel on another lattice: swap them.
    free.addPairwiseEnergy(features[[1, 0, 2, 3, 4]], compat=5, kernel=dcrf.FULL_KERNEL)
    np.testing.assert_array_equal(free.inference(3), direct.inference(3))


def test_different_normalizations_may_meet() -> None:
    d = model(dcrf.NORMALIZE_AFTER)
    d.addPairwiseGaussian(sxy=2, compat=1, normalization=dcrf.NORMALIZE_BEFORE)
    sums_to_one(torch.from_numpy(np.array(d.inference(2))).log(), 0)


def test_without_energies_all_labels_are_alike() -> None:
    d = dcrf.DenseCRF2D(4, 3, 2)
    d.addPairwiseGaussian(sxy=2, compat=1)
    np.testing.assert_array_equal(d.inference(2), 0.5)
    assert not d.startInference()[0].any()


def test_unaries_of_logistic_regression() -> None:
    rng = np.random.default_rng(seeded())
    weights, features = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(5, 12)).astype(np.float32)
    d, e, f = (dcrf.DenseCRF(12, 3) for _ in range(3))
    d.setUnary(dcrf.LogisticUnary(weights, features))
    e.setUnaryEnergy(weights, features)
    f.setUnary(dcrf.ConstUnary(weights @ features))
    for other in (e, f):
        np.testing.assert_array_equal(other.inference(0), d.inference(0))


def test_constants_count_as_the_original_ones() -> None:
    assert [int(kind) for kind in (dcrf.CONST_KERNEL, dcrf.DIAG_KERNEL, dcrf.FULL_KERNEL)] == [0, 1, 2]
    kinds = (dcrf.NO_NORMALIZATION, dcrf.NORMALIZE_BEFORE, dcrf.NORMALIZE_AFTER, dcrf.NORMALIZE_SYMMETRIC)
    assert [int(kind) for kind in kinds] == [0, 1, 2, 3]


def test_energies_are_taken_as_they_are_now() -> None:
    unary = scene()[1]
    d = dcrf.DenseCRF2D(16, 12, 3)
    d.setUnaryEnergy(unary)
    before = np.array(d.inference(0))
    unary[:] = 0
    np.testing.assert_array_equal(d.inference(0), before)


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy, memoryview])
def test_what_is_handed_over_is_copied(wrap: Any) -> None:
    image, unary = scene()
    features = utils.create_pairwise_gaussian((3, 3), (12, 16))
    given, kept, places = unary.copy(), image.copy(), features.copy()
    d = dcrf.DenseCRF2D(16, 12, 3)
    d.setUnary(dcrf.ConstUnary(wrap(given)))
    d.setUnaryEnergy(wrap(given))
    d.addPairwiseBilateral(sxy=20, srgb=13, rgbim=wrap(kept), compat=4)
    d.addPairwiseEnergy(wrap(places), compat=2)
    before = np.array(d.inference(2))
    for array in (given, kept, places):
        array[:] = 0
    np.testing.assert_array_equal(d.inference(2), before)


def test_a_read_only_image_is_taken_without_a_warning() -> None:
    picture = np.zeros((5, 6, 3), np.uint8)
    picture.flags.writeable = False  # as Pillow's images are
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dcrf.DenseCRF2D(6, 5, 2).addPairwiseBilateral(sxy=3, srgb=13, rgbim=picture, compat=3)


def test_numbers_are_taken_as_pydensecrf_takes_them() -> None:
    d = model()
    np.testing.assert_array_equal(d.inference(4.0), d.inference(4))  # type: ignore[arg-type]
    for wrong in (5.5, -1, None, "5", 2**31):
        with pytest.raises(InputError, match="niter: wanted"):
            d.inference(wrong)  # type: ignore[arg-type]
    plain = dcrf.DenseCRF2D(16.0, 12, np.int64(3))  # type: ignore[arg-type]
    plain.setUnaryEnergy(scene()[1])
    before = np.array(plain.inference(2))
    plain.addPairwiseGaussian(sxy=3, compat=0)  # a weight of nothing
    np.testing.assert_array_equal(plain.inference(2), before)


@pytest.mark.parametrize("normalization", list(dcrf.NormalizationType))
def test_labels_of_probability_zero_cannot_be(normalization: dcrf.NormalizationType) -> None:
    """-log 0 as pydensecrf has it: the limit of large energies."""
    unary = scene()[1]
    never = unary > np.sort(unary, 0)[1]  # the worst label of each pixel
    results = []
    for huge in (np.inf, 1e4):
        d = model(normalization)
        d.setUnaryEnergy(np.where(never, huge, unary))
        q, first, second = d.startInference()
        d.stepInference(q, first, second)
        results.append((d.inference(4), q, d.klDivergence(q)))
    assert not results[0][0][never].any()
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2]
    with np.errstate(divide="ignore"):
        d.setUnaryEnergy(utils.unary_from_softmax(np.where(never, 0, 0.5), clip=None))
    assert np.isfinite(d.inference(1)).all()


def test_the_usual_mistakes_are_named() -> None:
    image, unary = scene()
    d = dcrf.DenseCRF2D(16, 12, 3)
    with pytest.warns(UserWarning, match="look like probabilities"):
        d.setUnaryEnergy(np.exp(-unary))
    with pytest.warns(UserWarning, match=r"look like log\(p\)"):
        d.setUnaryEnergy(-unary)
    with pytest.raises(ValueError, match="Bad shape for unary energy"):
        d.setUnaryEnergy(unary.T)
    with pytest.raises(ValueError, match="Bad shape for pairwise energy"):
        d.addPairwiseEnergy(np.zeros((2, 7), np.float32), compat=3)
    with pytest.raises(ValueError, match="Bad shape for pairwise bilateral"):
        d.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image.transpose(1, 0, 2), compat=3)
    with pytest.raises(ValueError, match="only works for RGB images"):
        d.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image[:, :, :1], compat=3)
    with pytest.raises(InputError, match="rgbim: wanted uint8, received float64"):
        d.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image / 255, compat=3)
    with pytest.raises(InputError, match="compat: wanted a number"):
        d.addPairwiseGaussian(sxy=3, compat=np.zeros(4, np.float32))
    with pytest.raises(InputError, match="dimension >2"):
        d.addPairwiseGaussian(sxy=3, compat=np.zeros((3, 3, 3), np.float32))
    for wrong in (np.nan, -np.inf):
        with pytest.raises(InputError, match="u: holds NaN or Inf"):
            d.setUnaryEnergy(np.where(unary < 1, wrong, unary))
    with pytest.raises(InputError, match="u: holds Inf for all labels of 192 pixels"):
        d.setUnaryEnergy(np.full_like(unary, np.inf))
    with pytest.raises(InputError, match="features: holds NaN"):
        d.addPairwiseEnergy(np.full((2, 192), np.inf), compat=3)
    for width in (0, -1, np.inf, 1e-320):
        with pytest.raises(InputError, match="sxy"):
            d.addPairwiseGaussian(sxy=width, compat=3)
    with pytest.raises(InputError, match="srgb: wanted positive"):
        d.addPairwiseBilateral(sxy=80, srgb=0, rgbim=image, compat=3)
    with pytest.raises(InputError, match="features: wanted 1 to 16 dimensions, received 17"):
        d.addPairwiseEnergy(np.zeros((17, 192), np.float32), compat=3)
    with pytest.raises(InputError, match="sxy: wanted one width or 2, received None"):
        d.addPairwiseGaussian(sxy=None, compat=3)
    with pytest.raises(InputError, match="compat: holds NaN"):
        d.addPairwiseGaussian(sxy=3, compat=np.nan)
    with pytest.raises(InputError, match="energies of 21 labels for 40000000000 pixels needs"):
        dcrf.DenseCRF2D(200_000, 200_000, 21).inference(1)
    with pytest.raises(InputError, match="normalization"):
        d.addPairwiseGaussian(sxy=3, compat=3, normalization=7)


def test_pydensecrf_itself_agrees_where_it_is_installed() -> None:
    original = pytest.importorskip("pydensecrf.densecrf")
    image, unary = scene()
    results = []
    for module in (original, dcrf):
        d = module.DenseCRF2D(16, 12, 3)
        d.setUnaryEnergy(unary)
        d.addPairwiseGaussian(sxy=3, compat=3)
        d.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image, compat=10)
        results.append(np.array(d.inference(5)))
    assert np.abs(results[0] - results[1]).mean() < 5e-5
