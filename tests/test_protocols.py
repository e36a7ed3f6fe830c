"""What networks state of themselves, and what is taken of others."""

from __future__ import annotations

import inspect
import typing

import pytest
import torch
from torch import Tensor, nn

from densefield.checks import InputError
from densefield.optional import declare_torchvision
from densefield.protocols import Geometry, Network, all_scores, geometry
from densefield.segmenter.description import NETWORKS

LIBRARIES = {
    "smp": "segmentation_models_pytorch",
    "timm": "timm",
    "torchvision": "torchvision",
    "transformers": "transformers",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [kind for kind in NETWORKS.builders if kind not in ("embedding_network", "python")])
def test_every_network_states_what_the_protocol_wants(kind: str) -> None:
    builder = NETWORKS.builders[kind]
    if kind in LIBRARIES:
        declare_torchvision()
        pytest.importorskip(LIBRARIES[kind])
    small = {"width": 1} if "width" in inspect.signature(builder).parameters else {}
    network = builder(2, 3, **small)
    for name in typing.get_type_hints(Network):
        whole_image = name == "reach" and kind in (*LIBRARIES, "pspnet101")
        assert isinstance(getattr(network, name), type(None) if whole_image else int), name
    assert (network.num_classes, network.in_channels) == (2, 3)
    assert geometry(network)[:3] == (network.margin, network.stride, network.reach)


def test_of_other_networks_nothing_is_taken_that_is_no_number() -> None:
    network = nn.Conv2d(3, 2, 1)  # whose stride is a pair
    assert geometry(network) == Geometry(margin=0, stride=32, reach=None, smallest=1)


class Twice(nn.Module):
    """Says its scores twice, the second time in part."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def all_scores(self, image: Tensor) -> tuple[Tensor, ...]:
        return image, image[:, :, : self.rows]


def test_scores_of_the_images_size_lie_at_its_pixels_and_others_say_where() -> None:
    image = torch.zeros(1, 3, 4, 5)
    assert [stride for _, stride in all_scores(Twice(4), image)] == [1, 1]
    with pytest.raises(InputError, match="all_strides: wanted the strides of the 2 scores"):
        all_scores(Twice(2), image)
