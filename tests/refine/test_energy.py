from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from densefield.checks import InputError
from densefield.refine import DenseCRF, Diagonal, Matrix, Potts, SpatialKernel
from densefield.refine.mean_field import Normalization
from drawing import seeded

SIZE, LABELS = (2, 3), 3
# Numbers that single precision holds: the kernels keep them so.
MATRIX = Matrix(((-1.0, 0.5, 0.0), (0.5, 0.25, 0.375), (0.0, 0.375, -0.75)))


def every_labelling() -> torch.Tensor:  # (3^6, 2, 3)
    return torch.tensor(list(itertools.product(range(LABELS), repeat=6))).reshape(-1, *SIZE)


@pytest.mark.parametrize("compatibility", [Potts(), Diagonal((-1.0, 0.5, -2.0)), MATRIX])
@pytest.mark.parametrize("normalization", ["symmetric", "none"])
def test_energies_are_sums_over_pairs_and_the_free_energy_bounds_their_partition_function(
    exact: Any, compatibility: Potts | Diagonal | Matrix, normalization: Normalization
) -> None:
    scores = torch.randn(1, LABELS, *SIZE, generator=torch.Generator().manual_seed(seeded(1)), dtype=torch.float64)
    crf = DenseCRF(LABELS, (SpatialKernel(1.25, 0.75),), compatibility, 10, normalization)
    kernel = exact.normalized(exact.kernel_matrix(exact.places(*SIZE) / 1.25), normalization)
    pair = compatibility.energies().numpy()
    pair = 0.75 * (pair * np.eye(LABELS) if pair.ndim == 0 else np.diag(pair) if pair.ndim == 1 else pair)
    labellings = every_labelling()
    got = crf.energy(labellings, scores.expand(len(labellings), -1, -1, -1)).numpy()
    wanted = []
    for labels in labellings.flatten(1).tolist():
        total = -sum(float(scores[0].flatten(1)[label, i]) for i, label in enumerate(labels))
        total += sum(pair[labels[i], labels[j]] * kernel[i, j] for i in range(6) for j in range(i))
        total += sum(pair[labels[i], labels[i]] * kernel[i, i] / 2 for i in range(6))
        wanted.append(total)
    np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10)

    marginals = crf(scores).exp()
    log_partition = np.logaddexp.reduce([-energy for energy in wanted])
    q = marginals[0].flatten(1).numpy()
    divergence = 0.0
    for labels, energy in zip(labellings.flatten(1).tolist(), wanted, strict=True):
        log_q = sum(math.log(q[label, i]) for i, label in enumerate(labels))
        divergence += math.exp(log_q) * (log_q + energy + log_partition)
    # KL(Q || P) >= 0. Where a pixel meets itself, Q holds q² and the labelling q: that half term is no divergence.
    own = 0.5 * sum(kernel[i, i] * (q[:, i] @ pair @ q[:, i] - np.diag(pair) @ q[:, i]) for i in range(6))
    free = float(crf.free_energy(marginals, scores))
    assert free + log_partition == pytest.approx(divergence + own, rel=1e-9, abs=1e-9)
    assert divergence >= 0


def test_updates_lower_the_free_energy() -> None:
    scores = 2 * torch.randn(2, 4, 8, 9, generator=torch.Generator().manual_seed(seeded()), dtype=torch.float64)
    crf = DenseCRF(4, (SpatialKernel(2.0, 1.0),))
    energies = torch.stack([crf.free_energy(state.marginals, scores) for state in crf.iterate(scores)])
    assert energies.shape == (11, 2)
    assert bool((energies.diff(dim=0) < 1e-9).all())


def test_a_sure_marginal_has_the_energy_of_its_labels() -> None:
    scores = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(seeded(2)), dtype=torch.float64)
    image = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seeded(3)), dtype=torch.float64)
    labels = scores.argmax(1)
    crf = DenseCRF(3)
    sure = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double()
    torch.testing.assert_close(crf.free_energy(sure, scores, image), crf.energy(labels, scores, image))


def test_labels_and_marginals_are_checked() -> None:
    crf, scores = DenseCRF(3, (SpatialKernel(),)), torch.zeros(1, 3, 4, 5)
    with pytest.raises(InputError, match="labels: holds class 3"):
        crf.energy(torch.full((1, 4, 5), 3), scores)
    with pytest.raises(InputError, match="labels: holds class -1"):
        crf.energy(torch.full((1, 4, 5), -1), scores)
    with pytest.raises(InputError, match="labels: wanted shape"):
        crf.energy(torch.zeros(1, 5, 4, dtype=torch.int64), scores)
    with pytest.raises(InputError, match="marginals: wanted the shape"):
        crf.free_energy(torch.zeros(1, 3, 5, 4), scores)
    with pytest.raises(InputError, match=r"marginals: wanted probabilities, received -1\.09861; .* take the exp"):
        crf.free_energy(crf(scores), scores)
