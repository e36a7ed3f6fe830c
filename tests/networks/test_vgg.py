import pytest
import torch
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks.vgg import VGG
from drawing import seeded

BLOCKS = list(enumerate((2, 2, 3, 3, 3), start=1))


def test_vgg16_has_the_published_convolutions() -> None:
    trunk = VGG()
    names = [name for name, _ in trunk.layers(torch.zeros(1, 3, 9, 9), poolings=True)]
    assert [name for name in names if "conv" in name] == [f"conv{b}_{i}" for b, n in BLOCKS for i in range(1, n + 1)]
    assert [names[names.index(f"pool{b}") + 1] for b in range(1, 5)] == [f"conv{b}_1" for b in range(2, 6)]
    assert sum(p.numel() for p in trunk.parameters()) == 14_714_688  # VGG-16 without its fully connected layers


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_convolutions_are_dilated_where_poolings_keep_the_size(stride: int) -> None:
    trunk = VGG(width=2, output_stride=stride).eval()
    assert _rates(trunk) == _expected_rates(stride)
    assert trunk(torch.rand(1, 3, 65, 82)).shape == (1, 16, 64 // stride + 1, 81 // stride + 1 + (81 % stride > 0))


def _rates(trunk: VGG) -> list[int]:
    return [m.dilation[0] for m in trunk.modules() if isinstance(m, torch.nn.Conv2d)]


def _expected_rates(stride: int) -> list[int]:
    return [max(1, 2**block // stride) for block, n in enumerate((2, 2, 3, 3, 3)) for _ in range(n)]


def test_first_block_is_plain_convolution() -> None:
    torch.manual_seed(seeded())
    trunk = VGG(width=4).double()
    image = torch.rand(2, 3, 7, 6, dtype=torch.float64)
    first = trunk.get_submodule("conv1_1.convolution")
    expected = functional.relu(functional.conv2d(image, first.weight, first.bias, padding=1))
    name, features = next(trunk.layers(image))
    assert name == "conv1_1"
    torch.testing.assert_close(features, expected)


def test_reach_bounds_what_a_feature_sees() -> None:
    torch.manual_seed(seeded())
    trunk = VGG(width=2, blocks=(1, 1, 2), output_stride=2).double()
    with torch.no_grad():
        for weights in trunk.parameters():
            weights.abs_()  # else all units of a layer so narrow may be at rest
    image = torch.rand(1, 3, 61, 61, dtype=torch.float64, requires_grad=True)
    trunk(image)[0, :, 15, 15].sum().backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int((rows - 30).abs().max()) <= trunk.reach
    assert int((rows - 30).abs().max()) >= trunk.reach - 2


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(InputError, match="blocks: wanted 1 to 5 counts"):
        VGG(blocks=())
    with pytest.raises(InputError, match="output_stride: wanted 1, 2, 4, 8 or 16, received 3"):
        VGG(output_stride=3)
    with pytest.raises(InputError, match="image"):
        VGG(width=2)(torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize(("padding", "before", "after"), [(0, 0, 15), (1, 7, 8)])
def test_maxima_of_two_see_this_far_on_either_side(padding: int, before: int, after: int) -> None:
    """At stride 8 and without convolutions that see further; the fourth maximum has stride 1 and is not padded."""
    torch.manual_seed(seeded())
    trunk = VGG(1, width=1, blocks=(1,) * 5, pool=2, pool_padding=padding).double()
    assert trunk.offset == (after - before) / 2
    assert trunk.reach == max(before, after) + 1 + 2 + 4 + 8 + 2 * 8
    for layer in trunk.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data = torch.zeros_like(layer.weight)
            layer.weight.data[:, :, 1, 1] = 1
    for rows in (torch.arange(128.0), torch.arange(128.0, 0, -1)):
        image = rows.double()[None, None, :, None].repeat(1, 1, 1, 9).requires_grad_()
        trunk(image)[0, 0, 8, 0].backward()
        row = int(image.grad.abs().sum((0, 1, 3)).argmax()) - 64
        assert row == (after if rows[0] == 0 else -before)


def test_poolings_can_be_had_between_their_blocks() -> None:
    trunk = VGG(width=2).eval()
    image = torch.rand(1, 3, 33, 17)
    made = dict(trunk.layers(image, poolings=True))
    assert [name for name in made if name.startswith("pool")] == ["pool1", "pool2", "pool3", "pool4"]
    pooled = functional.max_pool2d(made["conv2_2"], 3, stride=2, padding=1, ceil_mode=True)
    assert torch.equal(made["pool2"], pooled)
    plain = dict(trunk.layers(image))
    assert torch.equal(plain["conv5_3"], made["conv5_3"])


@pytest.mark.parametrize("stride", [1, 4, 16])
def test_layout_says_where_every_layer_lies(stride: int) -> None:
    trunk = VGG(width=2, output_stride=stride).eval()
    sizes = {name: features.shape for name, features in trunk.layers(torch.rand(1, 3, 65, 65))}
    assert list(trunk.layout) == list(sizes)
    for name, layer in trunk.layout.items():
        assert sizes[name] == (1, layer.channels, 64 // layer.stride + 1, 64 // layer.stride + 1)
    assert trunk.layout["conv5_3"] == (trunk.channels, trunk.stride, trunk.reach)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_the_classifiers_poolings_are_twos_that_round_up(size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    trunk = VGG(width=2, output_stride=16, pool=2).double()
    image = features = torch.rand(2, 3, *size, dtype=torch.float64)
    for block, count in BLOCKS:
        if block > 1:
            features = functional.max_pool2d(features, 2, 2, ceil_mode=True)
        for index in range(1, count + 1):
            layer = trunk.get_submodule(f"conv{block}_{index}.convolution")
            features = functional.relu(functional.conv2d(features, layer.weight, layer.bias, padding=1))
    assert torch.equal(trunk(image), features)
    # Before pool5 a feature of 2×2 poolings sees 196 pixels, those of 3×3 poolings 15 more to the left of the first.
    assert trunk.reach == VGG(width=2, output_stride=16).reach == 105
