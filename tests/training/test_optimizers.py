from __future__ import annotations

import pytest
from torch import nn

from densefield.checks import InputError
from densefield.training import ParameterGroup, parameter_groups


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.classifier = nn.Conv2d(4, 2, 1)


def test_every_parameter_is_in_one_group() -> None:
    network = Network()
    groups = parameter_groups(network, 0.1, 0.01, (ParameterGroup("classifier", 10.0),))
    members = [id(p) for group in groups for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in network.parameters())


def test_rates_and_decay_are_those_of_the_group() -> None:
    network = Network()
    groups = parameter_groups(
        network, 0.1, 0.01, (ParameterGroup("classifier", 10.0), ParameterGroup("norm", 1.0, 0.5))
    )
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found[id(network.encoder.weight)] == (0.1, 0.01)
    assert found[id(network.encoder.bias)] == (0.1, 0.0)
    assert found[id(network.classifier.weight)] == (1.0, 0.01)
    assert found[id(network.norm.weight)] == (0.1, 0.5)


def test_frozen_parameters_are_left_out() -> None:
    network = Network()
    network.encoder.requires_grad_(False)
    members = {id(p) for group in parameter_groups(network, 0.1, 0.0) for p in group["params"]}
    assert id(network.encoder.weight) not in members


def test_a_group_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match=r"'clasifier' matches no parameter that learns"):
        parameter_groups(Network(), 0.1, 0.0, (ParameterGroup("clasifier"),))
