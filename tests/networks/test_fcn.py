from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import fcn8s, fcn8s_at_once, fcn16s, fcn32s, fcn32s_alexnet, fcn32s_googlenet
from densefield.networks.receptive_field import receptive_field, sight
from geometry import assert_tiles_equal_the_whole, awake, farthest_seen, open_to_gradients

VGG = {"fcn32s": fcn32s, "fcn16s": fcn16s, "fcn8s": fcn8s, "fcn8s_at_once": fcn8s_at_once}
COARSE = {"fcn32s_alexnet": fcn32s_alexnet, "fcn32s_googlenet": fcn32s_googlenet}
BOTH = VGG | COARSE
SIZES = [(1, 1), (33, 47), (64, 96)]


def drawn(network: nn.Module) -> nn.Module:
    """Score layers begin at zero; here they say something."""
    for name, parameter in network.named_parameters():
        if name.startswith("score"):
            nn.init.normal_(parameter)
    return network.double().eval()


def counted(builder: Callable[..., nn.Module]) -> tuple[int, int]:
    """All that a file holds for 21 classes, and of it the deconvolutions."""
    with torch.device("meta"):
        state = builder(21).state_dict()
    enlarging = [tensor.numel() for name, tensor in state.items() if name.startswith("upscore")]
    return sum(tensor.numel() for tensor in state.values()), sum(enlarging)


@pytest.mark.parametrize(
    ("kind", "scored", "kernels"),
    [
        ("fcn32s", (4096,), (64,)),
        ("fcn16s", (4096, 512), (4, 32)),
        ("fcn8s", (4096, 512, 256), (4, 4, 16)),
        ("fcn8s_at_once", (4096, 512, 256), (4, 4, 16)),
    ],
)
def test_parameters_of_the_released_definitions(kind: str, scored: tuple[int, ...], kernels: tuple[int, ...]) -> None:
    classifier = 14_714_688 + (512 * 49 + 1) * 4096 + (4096 + 1) * 4096
    scores = sum((channels + 1) * 21 for channels in scored)
    deconvolutions = 21 * 21 * sum(side * side for side in kernels)
    published = {"fcn32s": 136_152_917, "fcn16s": 134_815_994}.get(kind, 134_489_759)
    assert counted(VGG[kind]) == (classifier + scores + deconvolutions, deconvolutions)
    assert classifier + scores + deconvolutions == published
    if kind == "fcn32s":
        assert classifier + scores == 134_346_581  # the paper's 134 M


@pytest.mark.parametrize(
    ("kind", "encoder", "channels", "paper", "total"),
    [
        ("fcn32s_alexnet", 60_965_224 - 4_097_000, 4096, 56_954_261, 58_704_590),
        ("fcn32s_googlenet", 5_973_552, 1024, 5_995_077, 7_745_406),
    ],
)
def test_parameters_of_the_others(kind: str, encoder: int, channels: int, paper: int, total: int) -> None:
    assert encoder + (channels + 1) * 21 == paper  # 57 M and 6 M: without the deconvolution
    assert counted(COARSE[kind]) == (paper + 21 * 21 * 63 * 63, 21 * 21 * 63 * 63) == (total, 1_750_329)


def bilinear(scores: Tensor, stride: int, side: int) -> Tensor:
    """Class by class: the sum of a tent around each score."""
    tent = [1 - abs(place - (side - 1) / 2) / stride for place in range(side)]
    kernel = torch.tensor(tent, dtype=scores.dtype)[:, None] * torch.tensor(tent, dtype=scores.dtype)
    classes = scores.shape[1]
    return functional.conv_transpose2d(scores, kernel.expand(classes, 1, side, side), stride=stride, groups=classes)


def plain_vgg(network: nn.Module, image: Tensor, scale4: float, scale3: float) -> Tensor:
    """The released prototxt, read from top to bottom."""
    tensors = network.state_dict()

    def convolution(name: str, values: Tensor, padding: int = 0) -> Tensor:
        return functional.conv2d(values, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=padding)

    values, pools = image, {}
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, count + 1):
            padding = 100 if (block, index) == (1, 1) else 1
            values = functional.relu(convolution(f"trunk.conv{block}_{index}.convolution", values, padding))
        values = pools[block] = functional.max_pool2d(values, 2, 2, ceil_mode=True)
    for name in ("fc6", "fc7"):
        values = functional.relu(convolution(f"{name}.0", values))
    values, stride, offset = convolution("score_fr", values), 32, 19
    if "score_pool4.weight" in tensors:
        values, stride, offset = bilinear(values, 2, 4), 16, 27
        finer = convolution("score_pool4", scale4 * pools[4])[:, :, 5:, 5:]
        values = values + finer[:, :, : values.shape[2], : values.shape[3]]
    if "score_pool3.weight" in tensors:
        values, stride, offset = bilinear(values, 2, 4), 8, 31
        finer = convolution("score_pool3", scale3 * pools[3])[:, :, 9:, 9:]
        values = values + finer[:, :, : values.shape[2], : values.shape[3]]
    height, width = image.shape[2:]
    return bilinear(values, stride, 2 * stride)[:, :, offset : offset + height, offset : offset + width]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", VGG)
def test_scores_are_those_of_the_definition_written_plainly(kind: str, size: tuple[int, int]) -> None:
    network = drawn(VGG[kind](3, width=4))
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    scales = (0.01, 0.0001) if kind == "fcn8s_at_once" else (1, 1)
    scores = network(image)
    assert scores.shape == (2, 3, *size)
    torch.testing.assert_close(scores, plain_vgg(network, image, *scales), rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "padding", "offset"), [("fcn32s_alexnet", 100, 18), ("fcn32s_googlenet", 97, 98)])
def test_scores_of_the_others_are_enlarged_and_cropped(
    kind: str, padding: int, offset: int, size: tuple[int, int]
) -> None:
    network = drawn(COARSE[kind](3, width=1))
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    features = network.trunk(functional.pad(image, (padding,) * 4))
    values = functional.conv2d(features, network.score_fr.weight, network.score_fr.bias)
    wanted = bilinear(values, 32, 63)[:, :, offset : offset + size[0], offset : offset + size[1]]
    assert wanted.shape == (2, 3, *size)
    torch.testing.assert_close(network(image), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", BOTH)
def test_a_score_sees_the_published_field_around_its_own_pixel(kind: str) -> None:
    network = BOTH[kind](2, width=1)
    assert receptive_field(network) == {"fcn32s_alexnet": 355, "fcn32s_googlenet": 715}.get(kind, 404)
    assert sight(network).center == sight(network, axis=3).center == 0
    assert sight(network).spacing == 1


@pytest.mark.parametrize("kind", BOTH)
def test_reach_is_what_scores_see_to_both_sides(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = open_to_gradients(BOTH[kind](2, width=1), monkeypatch)
    before, after = farthest_seen(network, every=2 if kind == "fcn32s_googlenet" else 1)
    assert before == after  # scores lie where their pixels are
    assert before == network.reach


@pytest.mark.parametrize("kind", BOTH)
def test_tiles_give_the_whole_images_scores(kind: str) -> None:
    network = awake(BOTH[kind](3, width=1))
    tile = 2 * network.reach + 128
    assert_tiles_equal_the_whole(network, torch.rand(3, tile + 101, 20, dtype=torch.float64), tile)


def test_before_it_learns_it_says_nothing() -> None:
    assert not fcn8s(3, width=1)(torch.rand(1, 3, 9, 8)).any()


def test_fixed_deconvolutions_are_no_parameters_and_learned_ones_begin_the_same() -> None:
    fixed, learned = fcn8s(3, width=1), fcn8s(3, width=1, deconvolution="learned")
    assert not [name for name, _ in fixed.named_parameters() if name.startswith("upscore")]
    assert [name for name, _ in learned.named_parameters() if name.startswith("upscore")] == [
        "upscore2.weight",
        "upscore_pool4.weight",
        "upscore8.weight",
    ]
    assert fixed.state_dict().keys() == learned.state_dict().keys()
    learned.load_state_dict(fixed.state_dict())
    image = torch.rand(1, 3, 20, 9)
    assert torch.equal(fixed.eval()(image), learned.eval()(image))
    for name, tensor in fcn8s(3, width=1, deconvolution="learned").state_dict().items():
        if name.startswith("upscore"):
            assert torch.equal(tensor, fixed.state_dict()[name])


def test_batch_norm_and_dropout_are_options() -> None:
    network = fcn16s(2, 1, width=1, dropout=0.0, batch_norm=True)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 15
    image = torch.rand(2, 1, 40, 40)
    assert torch.equal(network(image), network(image))


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(InputError, match="deconvolution: wanted 'fixed' or 'learned', received 'none'"):
        fcn32s(2, width=1, deconvolution="none")
    with pytest.raises(InputError, match="num_classes: wanted at least 1, received 0"):
        fcn32s(0, width=1)
    with pytest.raises(InputError, match=r"image: wanted shape \(B, 3, H, W\)"):
        fcn32s(2, width=1)(torch.zeros(1, 4, 8, 8))
    with pytest.raises(InputError, match="num_classes: wanted at least 1, received 0"):
        fcn32s_alexnet(0, width=1)
