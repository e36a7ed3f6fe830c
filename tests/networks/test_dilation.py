from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import dilation8, dilation10, receptive_field
from drawing import seeded
from geometry import assert_tiles_equal_the_whole, awake, field_by_gradient, seen_by_changes, unsettled

LAYERS = ["conv1_1", "conv1_2", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
RATES = [1, 1, 2, 4, 8, 16]


def layers_of(build) -> tuple[list[str], list[int]]:
    """The context's 3×3 convolutions and their rates, as table 1 and the appendix on Cityscapes list them."""
    more = (["conv6_1", "conv7_1"], [32, 64]) if build is dilation10 else ([], [])
    return [f"ctx_{name}" for name in [*LAYERS, *more[0], "fc1"]], [*RATES, *more[1], 1]


def random_context(network: nn.Module) -> nn.Module:
    """`network` with other weights in its context than the identity."""
    for name, layer in network.named_children():
        if name.startswith("ctx"):
            nn.init.kaiming_normal_(layer.weight)
    return network


@pytest.mark.parametrize(
    ("build", "classes", "context", "published"),
    [
        (dilation8, 11, "basic", 134_313_443),  # CamVid
        (dilation8, 21, "large", 141_149_720),  # VOC
        (dilation8, 21, "none", 134_346_581),  # its front end: VGG-16 as convolutions, DeepLab-7x7's layers
        (dilation10, 19, "basic", 134_368_179),  # Cityscapes
    ],
)
def test_parameters_by_hand(build, classes: int, context: str, published: int) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in build(classes, context=context).parameters())
    front = 14_714_688 + (512 * 49 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * classes
    if context == "none":
        assert count == front == published
        return
    wide = [1, 2, 2, 4, 8, 16, 32, 32] if context == "large" else [1] * (1 + len(layers_of(build)[0]))
    channels = [classes * times for times in wide]
    threes = sum((channels[i] * 9 + 1) * channels[i + 1] for i in range(len(channels) - 1))
    assert count == front + threes + (channels[-1] + 1) * classes == published


def plainly(build, network: nn.Module, image: Tensor, context: str) -> Tensor:
    """The published definitions' layers in their order, by their names, and how their program enlarges."""
    state = network.state_dict()

    def convolution(name: str, features: Tensor, **options: int) -> Tensor:
        return functional.conv2d(features, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    height, width = image.shape[2:]
    features = image
    for axis, side in ((2, height), (3, width)):
        pads = [(0, 0)] * 4
        count = -(-side // 8) + (build is dilation8)  # so many scores
        pads[axis] = (186, 8 * count + 186 - side)
        features = torch.from_numpy(np.pad(features.numpy(), pads, mode="reflect" if side > 1 else "edge"))
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for i in range(1, convolutions + 1):
            name, rate = f"conv{block}_{i}", 2 if block == 5 else 1
            features = functional.relu(convolution(name, features, dilation=rate))
        if block <= 3:
            features = functional.max_pool2d(features, 2)
    features = functional.relu(convolution("fc7", functional.relu(convolution("fc6", features, dilation=4))))
    scores = convolution("final", features)
    names, rates = layers_of(build) if context != "none" else ([], [])
    if context == "large":
        scores = functional.pad(scores, [sum(rates)] * 4)
    for name, rate in zip(names, rates, strict=True):
        padding = 0 if context == "large" else rate
        scores = functional.relu(convolution(name, scores, dilation=rate, padding=padding))
    scores = scores if context == "none" else convolution("ctx_final", scores)
    if build is dilation8:
        down, right = torch.arange(height), torch.arange(width)
        share = (down % 8 / 8)[:, None].double()
        rows = (1 - share) * scores[:, :, down // 8] + share * scores[:, :, down // 8 + 1]
        share = (right % 8 / 8).double()
        return (1 - share) * rows[..., right // 8] + share * rows[..., right // 8 + 1]
    line = 1 - (torch.arange(16, dtype=torch.float64) - 7.5).abs() / 8
    kernel = (line[:, None] * line).expand(scores.shape[1], 1, 16, 16)
    scores = functional.conv_transpose2d(scores, kernel, stride=8, padding=4, groups=scores.shape[1])
    return scores[:, :, :height, :width]


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
@pytest.mark.parametrize(
    ("build", "context"), [(dilation8, "basic"), (dilation8, "large"), (dilation8, "none"), (dilation10, "basic")]
)
def test_scores_are_those_of_the_layers_written_out(build, context: str, size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    network = unsettled(random_context(build(4, context=context, width=2)))
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        scores = network(image)
    assert scores.shape == (2, 4, *size)
    torch.testing.assert_close(scores, plainly(build, network, image, context), rtol=1e-10, atol=1e-10)


def test_a_fresh_context_passes_the_front_ends_positive_scores_through() -> None:
    torch.manual_seed(seeded())
    network = dilation8(5, width=2).eval().double()
    made: list[Tensor] = []
    network.final.register_forward_hook(lambda _, read, scores: made.append(scores))
    network.final.weight.data.normal_()
    with torch.no_grad():
        scores = network(torch.rand(1, 3, 40, 24, dtype=torch.float64))
    assert (made[0] < 0).any()
    torch.testing.assert_close(scores[:, :, ::8, ::8], made[0].relu()[:, :, :5, :3])


def test_a_fresh_large_context_does_so_but_for_its_noise() -> None:
    torch.manual_seed(seeded())
    network = dilation8(5, width=2, context="large").eval().double()
    front = torch.rand(1, 5, 12, 12, dtype=torch.float64)
    scores = front
    with torch.no_grad():
        for name in layers_of(dilation8)[0]:
            scores = network.get_submodule(name)(scores).relu()
        scores = network.ctx_final(scores)
    assert 0 < (scores - front).abs().max() < 0.8
    assert (scores - front).std() < 0.3 * front.std()


@pytest.mark.parametrize(("build", "field"), [(dilation8, 908), (dilation10, 2444)])
def test_a_score_sees_these_many_pixels(build, field: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(2, width=1)
    front = 1 + 2 * (2 * 1 + 2 * 2 + 3 * 4 + 3 * 8 + 3 * 16) + (1 + 2 + 4) + 6 * 4 * 8  # of poolings, of fc6
    assert receptive_field(network) == field == front + 2 * 8 * sum(layers_of(build)[1])
    assert field_by_gradient(network, network.ctx_final, field + 300, monkeypatch) == field


@pytest.mark.parametrize(("build", "reach", "step"), [(dilation8, 464, 3), (dilation10, 1229, 5)])
def test_reach_is_how_far_a_score_sees(build, reach: int, step: int) -> None:
    torch.manual_seed(seeded())
    network = random_context(build(1, width=1)).double().eval()
    assert network.reach == reach
    assert reach - network.stride <= seen_by_changes(network, 2 * reach + 20, 1, step) <= reach


@pytest.mark.parametrize(
    ("build", "context"), [(dilation8, "basic"), (dilation8, "large"), (dilation8, "none"), (dilation10, "basic")]
)
def test_tiles_equal_the_whole(build, context: str) -> None:
    torch.manual_seed(seeded())
    network = awake(build(2, context=context, width=1))
    tile = 2 * (network.reach + 8) + 8
    assert_tiles_equal_the_whole(network, torch.rand(3, tile + 13, 2, dtype=torch.float64), tile)


def test_batch_norm_and_dropout_are_options_of_the_front_end() -> None:
    torch.manual_seed(seeded())
    network = dilation8(2, width=2, dropout=0.0, batch_norm=True)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 15
    image = torch.rand(2, 3, 20, 20)
    assert torch.equal(network(image), network(image))
    network = dilation8(2, width=2).train()
    nn.init.ones_(network.final.weight)
    assert not torch.equal(network(image), network(image))


def test_another_context_is_named() -> None:
    with pytest.raises(InputError, match="context: wanted 'basic', 'large' or 'none', received 'huge'"):
        dilation8(2, context="huge", width=1)


def test_every_weight_of_the_front_end_learns() -> None:
    torch.manual_seed(seeded())
    network = dilation10(3, width=4, batch_norm=True)
    nn.init.ones_(network.final.bias)  # else the context's first ReLU may cut all scores
    network(torch.rand(2, 3, 30, 30)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    front = [p for name, p in network.named_parameters() if name.endswith("weight") and not name.startswith("ctx")]
    assert all(p.grad.any() for p in front)


@pytest.mark.parametrize("size", [(1, 1), (16, 25), (33, 40)])
def test_own_scores_are_the_answer_at_every_eighth_pixel(size: tuple[int, int]) -> None:
    network = dilation8(3, width=1).eval()
    image = torch.rand(1, 3, *size)
    (own,) = network.own_scores(image)
    torch.testing.assert_close(own, network(image)[:, :, ::8, ::8])
    assert network.own_strides == (8,)
    assert dilation10(3, width=1).own_strides == ()  # whose scores lie between pixels
