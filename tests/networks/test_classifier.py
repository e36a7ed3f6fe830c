from __future__ import annotations

import pytest
import torch
from torch import nn

from densefield.networks.classifier import Fully, fully, scoring


@pytest.mark.parametrize(("kernel", "rate"), [(1, 1), (3, 12), (7, 4)])
def test_padded_layers_keep_the_size_and_others_lose_what_they_read(kernel: int, rate: int) -> None:
    layer = Fully(kernel, 5, rate)
    features = torch.rand(2, 3, 40, 50)
    assert fully(3, layer, 0.5, batch_norm=True)(features).shape == (2, 5, 40, 50)
    lost = 2 * layer.half
    assert fully(3, layer, 0.5, batch_norm=False, padded=False)(features).shape == (2, 5, 40 - lost, 50 - lost)


def test_a_bias_stands_where_nothing_normalizes() -> None:
    assert fully(3, Fully(1, 2), 0.0, batch_norm=False)[0].bias is not None
    normalized = fully(3, Fully(1, 2), 0.0, batch_norm=True)
    assert normalized[0].bias is None
    assert isinstance(normalized[1], nn.BatchNorm2d)


def test_scores_begin_small_and_without_preference() -> None:
    layer = scoring(4096, 21, std=0.001)
    assert not layer.bias.any()
    weights = layer.weight.detach()
    assert abs(float(weights.std()) / 0.001 - 1) < 6 / (2 * weights.numel()) ** 0.5  # six deviations
