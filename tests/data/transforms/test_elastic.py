import numpy as np
import pytest

from densefield.checks import InputError
from densefield.data.transforms import ElasticDeformation, coarse_displacement
from drawing import seeded


@pytest.mark.parametrize("knots", [3, 4, 6])
def test_passes_through_the_knots(knots):
    vectors = np.random.default_rng(seeded()).normal(0, 10, (2, knots, knots))
    steps = 8 * (knots - 1) + 1
    assert np.allclose(coarse_displacement(vectors, steps, steps)[:, ::8, ::8], vectors, atol=1e-5)


def test_parabolas_are_exact():
    """Keys's interpolation reproduces polynomials of second degree, up to the border."""
    for knots in (3, 5):
        y, x = np.meshgrid(np.arange(knots), np.arange(knots), indexing="ij")
        fine_y, fine_x = np.meshgrid(np.linspace(0, knots - 1, 41), np.linspace(0, knots - 1, 67), indexing="ij")

        def surface(y, x):
            return np.stack([2 * x * x - 3 * x * y + y, y * y - x + 4.0])

        wanted = surface(fine_y, fine_x)
        assert np.allclose(coarse_displacement(surface(y, x), 41, 67), wanted, atol=1e-4)


def test_size_of_the_displacements():
    rng = np.random.default_rng(seeded())
    corners = np.stack([ElasticDeformation(sigma=10.0).draw(33, 33, rng)[:, ::16, ::16] for _ in range(1400)])
    # 25,200 normal numbers: deviations of 10 / sqrt(2 n) = 0.045 and 10 / sqrt(n) = 0.063, six and more of them fit.
    assert abs(corners.std() - 10.0) < 0.4
    assert abs(corners.mean()) < 0.4
    assert ElasticDeformation().draw(5, 9, rng).shape == (2, 5, 9)


def test_grid_too_coarse():
    with pytest.raises(InputError, match="grid"):
        coarse_displacement(np.zeros((2, 2, 3)), 5, 5)
