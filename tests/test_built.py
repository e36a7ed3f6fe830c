from __future__ import annotations

import copy

from torch import nn

from densefield.built import Built, built_by, remembered


@remembered
def a_network(num_classes: int, in_channels: int = 3, *, dropout: float = 0.2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, num_classes, 1), nn.Dropout(dropout))


def test_name_and_all_arguments_are_remembered() -> None:
    network = a_network(5, dropout=0.1)
    assert built_by(network) == Built("a_network", {"num_classes": 5, "in_channels": 3, "dropout": 0.1})
    assert built_by(copy.deepcopy(network)) == built_by(network)


def test_the_network_is_otherwise_untouched() -> None:
    assert set(a_network(5).state_dict()) == {"0.weight", "0.bias"}
    assert a_network.__name__ == "a_network"
    assert built_by(nn.Conv2d(1, 1, 1)) is None
