"""What networks state of themselves, and what is taken of others."""

from __future__ import annotations

import inspect
import typing

import pytest
from torch import nn

from densefield.protocols import Geometry, Network, geometry
from densefield.segmenter.description import NETWORKS


@pytest.mark.parametrize("kind", [kind for kind in NETWORKS.builders if kind != "embedding_network"])
def test_every_network_states_what_the_protocol_wants(kind: str) -> None:
    builder = NETWORKS.builders[kind]
    small = {"width": 1} if "width" in inspect.signature(builder).parameters else {}
    network = builder(2, 3, **small)
    for name in typing.get_type_hints(Network):
        whole_image = name == "reach" and kind == "pspnet101"
        assert isinstance(getattr(network, name), type(None) if whole_image else int), name
    assert (network.num_classes, network.in_channels) == (2, 3)
    assert geometry(network)[:3] == (network.margin, network.stride, network.reach)


def test_of_other_networks_nothing_is_taken_that_is_no_number() -> None:
    network = nn.Conv2d(3, 2, 1)  # whose stride is a pair
    assert geometry(network) == Geometry(margin=0, stride=32, reach=None, smallest=1)
