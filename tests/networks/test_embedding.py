from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from densefield.built import built_by
from densefield.checks import InputError
from densefield.networks import VGG, EmbeddingNetwork, deeplab_largefov, embedding_network
from densefield.networks.embedding import ALONE, IN_VGG
from drawing import seeded

SIZES = [(1, 1), (2, 9), (13, 8), (17, 33)]


def concatenated(network: EmbeddingNetwork, image: torch.Tensor) -> torch.Tensor:
    """As the paper has it: every tap enlarged to the image, all concatenated, one 1×1 convolution."""
    height, width = image.shape[2:]
    layers = {"image": image} | dict(network.trunk.layers(image))
    enlarged = []
    for tap in network.taps:
        stride = 1 if tap == "image" else network.trunk.layout[tap].stride
        size = [(length - 1) * stride + 1 for length in layers[tap].shape[2:]]
        large = functional.interpolate(layers[tap], size=size, mode="bilinear", align_corners=True)
        enlarged.append(large[:, :, :height, :width])
    return network.mix(torch.cat(enlarged, dim=1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("taps", [ALONE, IN_VGG, ("image",), ("conv3_1", "conv1_1"), ("conv5_3",)])
def test_equals_concatenating_enlarged_taps(taps: tuple[str, ...], size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    network = embedding_network(dimension=5, taps=taps, width=4, batch_norm=True).double()
    nn.init.normal_(network.mix.bias)
    image = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    if size == (1, 1):
        network.eval()
    wanted = concatenated(network, image)
    embeddings = network(image)
    assert embeddings.shape == (2, 5, *size)
    torch.testing.assert_close(embeddings, wanted)
    weight = torch.rand_like(wanted)
    variables = (image, network.mix.weight, network.mix.bias)
    received = torch.autograd.grad((embeddings * weight).sum(), variables)
    torch.testing.assert_close(received, torch.autograd.grad((wanted * weight).sum(), variables))


def test_parameters_of_the_published_definition() -> None:
    """Counted by hand: five 3×3 convolutions, then 1×1 from 3 + 64 + 64 + 128 + 128 + 256 channels to 64."""
    channels = (3, 64, 64, 128, 128, 256)
    trunk = sum((9 * before + 1) * after for before, after in itertools.pairwise(channels))
    network = embedding_network()
    assert sum(p.numel() for p in network.parameters()) == trunk + (643 + 1) * 64 == 596_544
    assert tuple(name for name in network.trunk.layout if "conv" in name) == ALONE[1:]
    assert tuple(embedding_network(taps=IN_VGG, width=2).trunk.layout)[-1] == "conv3_3"


@pytest.mark.parametrize("taps", [ALONE, IN_VGG, ("image",)])
def test_reach_bounds_what_an_embedding_sees(taps: tuple[str, ...]) -> None:
    torch.manual_seed(seeded())
    network = embedding_network(dimension=4, taps=taps, width=2).double()
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_()  # else all units of a layer so narrow may be at rest
    image = torch.rand(1, 3, 81, 81, dtype=torch.float64, requires_grad=True)
    seen = 0
    for row in range(40, 40 + network.stride):
        (gradient,) = torch.autograd.grad(network(image)[0, :, row, 40].sum(), image)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        seen = max(seen, int((rows - row).abs().max()))
    assert network.reach - network.stride <= seen <= network.reach


def test_tiles_at_multiples_of_the_stride_agree_with_the_whole() -> None:
    torch.manual_seed(seeded())
    network = embedding_network(dimension=4, width=2).double()
    image = torch.rand(1, 3, 96, 8, dtype=torch.float64)
    part = network(image[:, :, 2 * network.stride :])
    torch.testing.assert_close(part[:, :, network.reach :], network(image)[:, :, 8 + network.reach :])


def test_a_trunk_may_be_shared_with_a_segmentation_network() -> None:
    torch.manual_seed(seeded())
    coarse = deeplab_largefov(3, width=2).double()
    network = EmbeddingNetwork(coarse.trunk, dimension=4, taps=IN_VGG).double()
    assert network.trunk is coarse.trunk
    image = torch.rand(1, 3, 21, 30, dtype=torch.float64)
    torch.testing.assert_close(network(image), concatenated(network, image))
    network(image).sum().backward()
    touched = {name for name, parameter in coarse.named_parameters() if parameter.grad is not None}
    assert touched == {
        n for n, _ in coarse.named_parameters() if n.startswith(("trunk.conv1", "trunk.conv2", "trunk.conv3"))
    }


def test_dilated_trunks_are_tapped_where_their_features_lie() -> None:
    torch.manual_seed(seeded())
    network = EmbeddingNetwork(VGG(width=2, output_stride=2), taps=("conv4_1", "conv1_1"), dimension=3).double()
    assert network.stride == 2
    image = torch.rand(1, 3, 12, 19, dtype=torch.float64)
    torch.testing.assert_close(network(image), concatenated(network, image))


def test_it_is_built_again_from_json() -> None:
    built = built_by(embedding_network(1, dimension=7, taps=("image", "conv1_2"), width=2))
    assert built is not None
    again = embedding_network(**json.loads(json.dumps(built.arguments)))
    assert again(torch.rand(1, 1, 5, 6)).shape == (1, 7, 5, 6)
    assert again.taps == ("image", "conv1_2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"taps": ("conv3_4",)}, "taps: wanted image or convolutions of VGG-16.*'conv3_4'"),
        ({"taps": ("pool1",)}, "taps: .*'pool1'"),
        ({"taps": ()}, "taps: wanted names, each once"),
        ({"taps": ("image", "image")}, "taps: wanted names, each once"),
        ({"dimension": 0}, "dimension: wanted at least 1, received 0"),
    ],
)
def test_wrong_arguments_are_explained(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        embedding_network(**{"width": 2} | arguments)


def test_taps_a_shared_trunk_does_not_have() -> None:
    with pytest.raises(InputError, match=r"taps: wanted some of image, conv1_1, received 'conv3_1'"):
        EmbeddingNetwork(VGG(width=2, blocks=(1,)), taps=("conv3_1",))
    with pytest.raises(InputError, match=r"trunk: wanted one whose features lie at pixels"):
        EmbeddingNetwork(VGG(width=2, pool=2))


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"image: wanted shape \(B, 3, H, W\), received \(1, 1, 8, 8\)"):
        embedding_network(width=2)(torch.zeros(1, 1, 8, 8))
