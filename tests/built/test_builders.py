"""A builder's signature as its description: words, models, and the object built again from them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from torch import Tensor, nn

from densefield.built import Built, Kinds, built_by, described, kind_of, words, words_of
from densefield.checks import InputError

Whole = Annotated[int, Field(gt=0, le=9)]


@described()
def a_network(num_classes: int, in_channels: Whole = 3, *, dropout: float = 0.2) -> nn.Module:
    """A network."""
    return nn.Sequential(nn.Conv2d(in_channels, num_classes, 1), nn.Dropout(dropout))


@described()
def another(num_classes: int, in_channels: Whole = 3, *, depth: Whole, mode: Literal["a", "b"] = "a") -> nn.Module:
    """Another network."""
    return nn.Sequential(*(nn.Conv2d(in_channels, num_classes, 1) for _ in range(depth)))


@described("ball")
@dataclasses.dataclass(frozen=True)
class Ball:
    """Round."""

    radius: Whole | Sequence[Whole] | Tensor = 2


@described("cube")
@dataclasses.dataclass(frozen=True)
class Cube:
    """Square."""

    side: Whole = 1


@described("body")
class Body(nn.Module):
    """Shapes."""

    def __init__(self, shapes: Sequence[Ball | Cube] = (Ball(), Cube(3)), lid: Cube = Cube(), *, name: str) -> None:
        super().__init__()
        self.shapes, self.lid, self.name = shapes, lid, name


NETWORKS = Kinds((a_network, another), given=("num_classes", "in_channels"), usual=a_network)
BODIES = Kinds((Body,))


def test_kind_and_all_arguments_are_remembered() -> None:
    network = a_network(5, dropout=0.1)
    assert built_by(network) == Built("a_network", {"num_classes": 5, "in_channels": 3, "dropout": 0.1})
    assert built_by(copy.deepcopy(network)) == built_by(network)
    assert words_of(network) == {"kind": "a_network", "num_classes": 5, "in_channels": 3, "dropout": 0.1}


def test_a_function_may_have_a_kind_of_another_name() -> None:
    @described("twin")
    def made(num_classes: int) -> nn.Module:
        return nn.Conv2d(1, num_classes, 1)

    assert (kind_of(made), words_of(made(2))) == ("twin", {"kind": "twin", "num_classes": 2})


def test_the_network_is_otherwise_untouched() -> None:
    assert set(a_network(5).state_dict()) == {"0.weight", "0.bias"}
    assert a_network.__name__ == "a_network"
    assert built_by(nn.Conv2d(1, 1, 1)) is None
    assert words_of(nn.Conv2d(1, 1, 1)) is None


def test_only_exactly_a_described_class_has_its_kind() -> None:
    class Wall(Body):
        pass

    assert (kind_of(Body), kind_of(Body(name="x")), kind_of(Wall(name="x")), kind_of(3)) == ("body", "body", None, None)


def test_a_place_gives_what_is_not_written_there() -> None:
    chosen = NETWORKS.read({"kind": "another", "depth": 2}, "here")
    assert (chosen.kind, chosen.depth, chosen.mode) == ("another", 2, "a")
    built = chosen.build(num_classes=7, in_channels=2, elsewhere=None)
    assert built_by(built) == Built("another", {"num_classes": 7, "in_channels": 2, "depth": 2, "mode": "a"})
    assert built_by(chosen.build(7, 2)) == built_by(chosen.build(7, in_channels=2)) == built_by(built)
    with pytest.raises(InputError, match="another: wanted num_classes, in_channels, received 3 values"):
        chosen.build(7, 2, 1)
    assert NETWORKS.read({}, "here") == NETWORKS.read({"kind": "a_network", "dropout": 0.2}, "here")


def test_an_object_is_built_again_from_its_words() -> None:
    body = Body((Cube(2), Ball((3, 4))), Cube(5), name="b")
    plain = words_of(body)
    assert plain == {
        "kind": "body",
        "shapes": ({"kind": "cube", "side": 2}, {"kind": "ball", "radius": (3, 4)}),
        "lid": {"kind": "cube", "side": 5},
        "name": "b",
    }
    again = BODIES.build(plain, "here")
    assert (again.shapes, again.lid, again.name) == (body.shapes, body.lid, body.name)
    old = {"kind": "Body", "shapes": [{"kind": "Cube"}], "name": "c"}  # by the names of the classes
    assert Kinds((Body,), of_files=True).build(old, "here").shapes == (Cube(),)
    far = {"kind": "body", "shapes": [{"kind": "cube", "side": 10}], "name": "d"}  # bounds are for what people write
    assert Kinds((Body,), of_files=True).build(far, "here").shapes == (Cube(10),)
    with pytest.raises(InputError, match=r"shapes\.0\.side: .*less than or equal to 9"):
        BODIES.build(far, "here")
    assert BODIES.build({"kind": "body", "name": "d"}, "here").shapes == (Ball(), Cube(3))


def test_words_may_hold_objects_and_other_words() -> None:
    chosen = BODIES.annotation
    assert words(Body, shapes=(words(Ball, radius=1), Cube(2)), name="x").shapes == (
        {"kind": "ball", "radius": 1},
        {"kind": "cube", "side": 2},
    )
    assert chosen is BODIES.annotation
    with pytest.raises(InputError, match="wanted a described builder"):
        words(nn.Conv2d)
    with pytest.raises(InputError, match="body takes no 'nmae'; did you mean 'name'"):
        words(Body, nmae="x")


@pytest.mark.parametrize(
    ("kinds", "plain", "line"),
    [
        (
            NETWORKS,
            {"kind": "anothr"},
            "kind: there is no 'anothr'; did you mean 'another'? Wanted one of: a_network, another",
        ),
        (NETWORKS, {"kind": "another"}, "the key 'depth' is missing"),
        (NETWORKS, {"kind": "another", "depth": 10}, "depth: Input should be less than or equal to 9, received 10"),
        (NETWORKS, {"kind": "another", "depth": 2, "mode": "c"}, "mode: Input should be 'a' or 'b', received 'c'"),
        (NETWORKS, {"kind": "another", "deph": 2}, "unknown key 'deph'; did you mean 'depth'?"),
        (
            NETWORKS,
            {"kind": "another", "depth": 2, "dropout": 0.1},
            "dropout: another does not take it, only a_network",
        ),
        (NETWORKS, {"kind": "another", "depth": 2, "num_classes": 3}, "unknown key 'num_classes'"),
        (
            BODIES,
            {"kind": "body", "name": "x", "shapes": [{"kind": "ball", "side": 1}]},
            "shapes.0.side: ball does not take",
        ),
        (
            BODIES,
            {"kind": "body", "name": "x", "shapes": [{}]},
            "the key 'shapes.0.kind' is missing; wanted one of: ball, cube",
        ),
        (BODIES, {"kind": "body", "name": "x", "lid": {"sid": 1}}, "unknown key 'lid.sid'; did you mean 'side'?"),
        (BODIES, {"kind": "body", "name": "x", "lid": 3}, "lid: Input should be"),
        (BODIES, 3, "Input should be"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_key(kinds: Kinds, plain: Any, line: str) -> None:
    with pytest.raises(InputError) as caught:
        kinds.read(plain, "here")
    assert str(caught.value).startswith(f"here: {line}")
    assert "\n" not in str(caught.value)


def test_what_a_builder_refuses_is_told_with_its_source() -> None:
    with pytest.raises(InputError, match=r"here: a_network does not accept its arguments \(dropout"):
        NETWORKS.build({"kind": "a_network", "dropout": 7.0}, "here", num_classes=2, in_channels=1)


def test_the_docstring_and_the_bounds_are_told() -> None:
    schema = NETWORKS.models["another"].model_json_schema()
    assert schema["description"] == "Another network."
    assert schema["properties"]["depth"]["maximum"] == 9
    assert schema["required"] == ["depth"]
