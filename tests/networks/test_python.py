from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from densefield.built import built_by
from densefield.checks import InputError
from densefield.networks import UNet, python
from densefield.networks.adapted import Adapted
from densefield.networks.python import check_trusted
from densefield.runs.kinds import NETWORKS

MODULE = """
from torch import nn
from densefield.networks import unet

def coarse(num_classes, in_channels=3, *, side=4):
    return nn.Conv2d(in_channels, num_classes, side, stride=side)

def ours(num_classes, in_channels):
    return unet(num_classes, in_channels, padding="same", width=1)

def any_way(num_classes, in_channels, **others):
    return nn.Conv2d(in_channels, num_classes, **others)

def nothing(num_classes, in_channels):
    return 5

def ends(num_classes, in_channels):
    raise KeyError("no such\\nlayer")
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "persons_own.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_function_of_a_module_builds_the_network() -> None:
    network = python(5, 1, target="persons_own:coarse", arguments={"side": 2})
    assert isinstance(network, Adapted)
    assert sum(parameter.numel() for parameter in network.parameters()) == 5 * (1 * 2 * 2 + 1)
    assert network(torch.rand(1, 1, 6, 8)).shape == (1, 5, 6, 8)
    built = built_by(network)
    assert built is not None
    assert (built.kind, built.arguments["target"]) == ("python", "persons_own:coarse")


def test_a_network_that_speaks_the_protocol_stays_what_it_is_but_is_saved_as_the_persons() -> None:
    network = python(3, target="persons_own:ours")
    assert isinstance(network, UNet)
    assert built_by(network).kind == "python"  # type: ignore[union-attr]


def test_a_class_may_stand_for_the_function() -> None:
    network = python(4, 2, target="torch.nn:Conv2d", arguments={"kernel_size": 1})
    assert isinstance(network, Adapted)
    assert isinstance(network.model, nn.Conv2d)


def test_a_function_that_takes_anything_is_given_it() -> None:
    assert python(4, 2, target="persons_own:any_way", arguments={"kernel_size": [1, 1]}).model.kernel_size == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"target": "persons_own"}, "target: wanted package.module:function, received 'persons_own'"),
        ({"target": "no_such_place:f"}, r"no_such_place cannot be imported \(No module named 'no_such_place'\)"),
        ({"target": "persons_own:coarser"}, r"persons_own has no function 'coarser'; did you mean 'coarse'\?"),
        ({"target": "persons_own:nothing"}, "persons_own:nothing: wanted an nn.Module of it, received 5"),
        ({"target": "persons_own:ends"}, r"persons_own:ends: does not accept its arguments \('no such"),
        ({"target": "persons_own:coarse", "arguments": {"sid": 2}}, "coarse takes no 'sid'; did you mean 'side'"),
    ],
)
def test_what_cannot_be_built_is_one_line(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=f"^python: .*{told}"):
        python(3, **arguments)


def test_a_recipes_target_is_held_against_its_form_without_importing_anything() -> None:
    words = NETWORKS.read({"kind": "python", "target": "no_such_place:f"}, "network")
    assert words.kind == "python"
    with pytest.raises(InputError, match="network: target: String should match pattern"):
        NETWORKS.read({"kind": "python", "target": "import os; os.remove('x')"}, "network")


def test_a_target_is_trusted_by_its_whole_name() -> None:
    check_trusted("a.b:c", "a.b:c", "file")
    told = "^file: its network is code, a.b:c, .*: --trust a.b:c, in Python trust='a.b:c'$"
    with pytest.raises(InputError, match=told):
        check_trusted("a.b:c", None, "file")
    with pytest.raises(InputError, match=r"a.b:c, .*; trusted was a.b:d, and nothing was run$"):
        check_trusted("a.b:c", "a.b:d", "file")
