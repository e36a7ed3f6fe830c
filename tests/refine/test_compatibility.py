from __future__ import annotations

import math

import pytest
import torch

from densefield.checks import InputError
from densefield.refine import Diagonal, Matrix, Potts


def test_energies_have_the_sign_that_the_model_gives_them() -> None:
    assert float(Potts(2.5).energies()) == -2.5
    assert Diagonal((1.0, -2.0)).energies().tolist() == [1.0, -2.0]
    assert Matrix(((0.0, 1.0), (3.0, -1.0))).energies().tolist() == [[0.0, 2.0], [2.0, -1.0]]


@pytest.mark.parametrize("compatibility", [Potts(0.3), Diagonal((1.0, -2.0)), Matrix(((0.0, 2.0), (2.0, -1.0)))])
def test_raw_numbers_lead_back_to_the_energies(compatibility: Potts | Diagonal | Matrix) -> None:
    again = compatibility.with_raw(compatibility.raw())
    torch.testing.assert_close(again.energies(), compatibility.energies())


def test_any_raw_number_is_a_positive_potts_weight() -> None:
    for raw in (-5.0, 0.0, 3.0):
        weight = Potts().with_raw(torch.tensor(raw)).weight
        assert float(weight) == pytest.approx(math.exp(raw))


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf, "heavy"])
def test_a_potts_weight_is_positive_and_finite(weight: float) -> None:
    with pytest.raises(InputError, match="weight: wanted positive"):
        Potts(weight)


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match=r"values: wanted a square matrix of energies \(K, K\)"):
        Matrix(((1.0, 2.0),))
    with pytest.raises(InputError, match=r"values: wanted one energy a label"):
        Diagonal(())
    with pytest.raises(InputError, match="values: holds NaN"):
        Diagonal((1.0, math.nan))
