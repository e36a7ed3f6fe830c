"""Each public function names what is wrong with an argument of the wrong type or size, on one line."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from densefield import losses, refine
from densefield.checks import InputError
from densefield.ops.gaussian import gaussian_filter
from densefield.ops.local_filter import affinity_filter
from densefield.ops.mean_field import mean_field as mean_field_op
from densefield.ops.permutohedral import build_lattice
from densefield.refine.pydensecrf import densecrf, utils

SCORES = torch.linspace(-1, 1, 60).view(1, 3, 4, 5)
IMAGE, TARGET, EDGES = SCORES.abs(), torch.zeros(1, 4, 5, dtype=torch.int64), torch.full((1, 1, 4, 5), 0.5)
ENERGIES, PICTURE = np.ones((3, 20), np.float32), np.zeros((4, 5, 3), np.uint8)


def crf(**given: Any) -> Any:
    """The layer, made and used."""
    made = {name: given.pop(name) for name in ("num_classes", "iterations", "prune") if name in given}
    return refine.DenseCRF(**{"num_classes": 3, **made})(**{"scores": SCORES, "image": IMAGE, **given})


def free_energy(marginals: Any) -> Any:
    return refine.DenseCRF(3).free_energy(marginals, SCORES, IMAGE)


def model() -> densecrf.DenseCRF2D:
    made = densecrf.DenseCRF2D(5, 4, 3)
    made.setUnaryEnergy(ENERGIES + 1)
    return made


def gaussian(**given: Any) -> None:
    model().addPairwiseGaussian(**{"sxy": 3, "compat": 3, **given})


def bilateral(**given: Any) -> None:
    model().addPairwiseBilateral(**{"sxy": 3, "srgb": 3, "rgbim": PICTURE, "compat": 3, **given})


def energy(**given: Any) -> None:
    model().addPairwiseEnergy(**{"features": ENERGIES, "compat": 3, **given})


# Each with arguments that serve; all are tried in turn.
DOORS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (refine.random_walk, {"scores": IMAGE, "boundaries": EDGES, "radius": 2, "beta": 10.0, "steps": 2}),
    (refine.joint_bilateral_filter, {"scores": SCORES, "image": IMAGE, "sigma_space": 3.0, "sigma_range": 0.1}),
    (refine.pamr, {"masks": SCORES, "image": IMAGE, "iterations": 1, "dilations": (1, 2)}),
    (refine.mean_field, {"unary": SCORES, "kernels": [refine.SpatialKernel()], "iterations": 1}),
    (
        refine.segmentation_aware_conv2d,
        {
            "values": SCORES,
            "embeddings": SCORES,
            "weight": torch.ones(2, 3, 3, 3),
            "bias": torch.ones(2),
            "scale": torch.tensor(0.1),
        },
    ),
    (
        refine.DenseCRF,
        {"num_classes": 3, "kernels": (refine.SpatialKernel(),), "iterations": 1, "normalization": "after"},
    ),
    (refine.EmbeddingFilter, {"window": 3, "iterations": 1, "rate": 1, "initial_lambda": 1.0, "distance": "l1"}),
    (refine.FeatureKernel, {"theta": 1.0, "weight": 1.0, "covariance": ((1.0, 0.0), (0.0, 1.0))}),
    (refine.Matrix, {"values": ((1.0, 0.0), (0.0, 1.0))}),
    (crf, {"num_classes": 3, "iterations": 1, "prune": 0.1, "scores": SCORES, "image": IMAGE}),
    (free_energy, {"marginals": SCORES.softmax(1)}),
    (losses.dice_loss, {"scores": SCORES, "target": TARGET, "ignore_index": 255, "eps": 1e-6}),
    (losses.cross_entropy, {"scores": SCORES, "target": TARGET, "ignore_index": 255, "reduction": "sum"}),
    (
        losses.embedding_loss,
        {"embeddings": SCORES, "target": TARGET, "window": 3, "rate": 1, "alpha": 0.5, "beta": 2.0},
    ),
    (losses.embedding_losses, {"embeddings": SCORES, "target": TARGET, "rates": (1, 2)}),
    (gaussian_filter, {"values": SCORES, "theta": 3.0}),
    (
        affinity_filter,
        {"scores": SCORES, "embeddings": SCORES, "scale": 1.0, "window": 3, "rate": 1, "iterations": 1, "eps": 0.0},
    ),
    (
        lambda **given: mean_field_op(terms=[], **given),
        {"scores": SCORES, "iterations": 1, "normalization": "after", "prune": 0.1},
    ),
    (build_lattice, {"features": SCORES.flatten(2)}),
    (densecrf.DenseCRF2D, {"w": 5, "h": 4, "nlabels": 3}),
    (densecrf.DenseCRF, {"nvar": 20, "nlabels": 3}),
    (densecrf.LogisticUnary, {"L": np.ones((3, 2)), "f": np.ones((2, 20))}),
    (lambda niter: model().inference(niter), {"niter": 1}),
    (lambda u: model().setUnaryEnergy(u), {"u": ENERGIES + 1}),
    (lambda u: model().setUnary(u), {"u": densecrf.ConstUnary(ENERGIES)}),
    (lambda Q: model().stepInference(Q), {"Q": ENERGIES.copy() / 3}),
    (lambda Q: model().klDivergence(Q), {"Q": ENERGIES / 3}),
    (gaussian, {"sxy": 3, "compat": 3, "kernel": 1, "normalization": 3}),
    (bilateral, {"sxy": 3, "srgb": 3, "rgbim": PICTURE, "compat": 3}),
    (energy, {"features": ENERGIES, "compat": 3}),
    (utils.unary_from_labels, {"labels": np.ones(20, int), "n_labels": 3, "gt_prob": 0.7}),
    (utils.unary_from_softmax, {"sm": ENERGIES / 3, "scale": 0.5, "clip": 1e-5}),
    (utils.create_pairwise_gaussian, {"sdims": (3, 3), "shape": (4, 5)}),
    (utils.create_pairwise_bilateral, {"sdims": (3, 3), "schan": 3, "img": PICTURE, "chdim": 2}),
]
WRONG = [
    None,
    "abc",
    object(),
    [1, "a"],
    float("nan"),
    2**31,
    2**70,
    1j,
    torch.zeros(0),
    torch.zeros(1, 3, 0, 5),
    torch.zeros(1, 0, 4, 5),
    torch.zeros(1, 3, 4, 5, dtype=torch.complex64),
    np.zeros((1, 3, 4, 5)),
    np.array([None]),
]
OPTIONAL = ("image", "bias", "covariance", "clip", "scale")


def complaint(function: Callable[..., Any], given: dict[str, Any]) -> str | None:
    try:
        function(**given)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("door", range(len(DOORS)))
@pytest.mark.filterwarnings("ignore:unary energies", "ignore:scores")
def test_wrong_types_and_sizes(door: int) -> None:
    function, given = DOORS[door]
    assert complaint(function, given) is None
    for name, wrong in itertools.product(given, WRONG):
        said = complaint(function, {**given, name: wrong})
        if said is None:  # empty maps and numbers that fit may serve
            assert not isinstance(wrong, str | complex), (name, wrong)
            assert wrong is not None or name in OPTIONAL, name
        else:
            assert "\n" not in said, (name, wrong)
            assert len(said) < 300, said
