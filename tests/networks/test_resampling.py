import numpy as np
import pytest
import torch
from torch.nn import functional

from densefield.networks.resampling import averages, bilinear, padded
from geometry import between


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 6), (13, 60)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_averages_are_those_of_adaptive_pooling(size: tuple[int, int], bins: int) -> None:
    maps = torch.rand(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(averages(maps, bins), functional.adaptive_avg_pool2d(maps, bins), rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 5)])
def test_bilinear_values_are_numpys(size: tuple[int, int]) -> None:
    maps = torch.rand(2, 3, *size, dtype=torch.float64)
    rows, columns = (torch.linspace(-1.5, length + 0.5, 11, dtype=torch.float64) for length in size)
    wanted = between(maps, np.asarray(rows), np.asarray(columns))
    torch.testing.assert_close(bilinear(maps, rows, columns), wanted, rtol=0, atol=1e-13)


def test_half_precision_keeps_its_type_and_its_positions() -> None:
    maps = torch.arange(600, dtype=torch.float32)[None, None, :, None].bfloat16()
    row = bilinear(maps, torch.tensor([513.0]), torch.zeros(1))
    assert row.dtype == torch.bfloat16
    assert row.item() == maps[0, 0, 513, 0]


@pytest.mark.parametrize(
    ("length", "period", "rest", "wanted"), [(1, 8, 1, 1), (2, 8, 1, 9), (1, 8, 2, 2), (33, 8, 2, 34)]
)
def test_padding_is_the_least_that_fits(length: int, period: int, rest: int, wanted: int) -> None:
    image = torch.rand(1, 2, length, 9)
    larger = padded(image, period, rest)
    assert larger.shape[2] == wanted
    assert torch.equal(larger[:, :, :length, :9], image)
    assert not larger[:, :, length:].any()
