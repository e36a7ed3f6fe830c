from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import receptive_field, segnet, segnet_basic
from drawing import seeded
from geometry import assert_tiles_equal_the_whole, awake, seen_by_changes, unsettled


def conv_norm_relu(before: int, after: int, kernel: int = 3) -> int:
    return (before * kernel**2 + 1) * after + 2 * after


def test_parameters_by_hand() -> None:
    with torch.device("meta"):
        full = sum(p.numel() for p in segnet(11).parameters())
        basic = sum(p.numel() for p in segnet_basic(11).parameters())
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    pairs = list(itertools.pairwise(channels))
    up = sum(conv_norm_relu(after, before) for before, after in pairs[1:])
    assert full == sum(conv_norm_relu(*pair) for pair in pairs) + up + (64 * 9 + 1) * 11 == 29_449_355
    assert basic == conv_norm_relu(3, 64, 7) + 7 * conv_norm_relu(64, 64, 7) + (64 + 1) * 11 == 1_416_587


def plainly(network: nn.Module, image: Tensor) -> Tensor:
    """The layers of the published definition in its order, by their names."""
    state = network.state_dict()

    def convolution(name: str, features: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(features, weight, state[f"{name}.bias"], padding=weight.shape[2] // 2)

    def layer(name: str, features: Tensor) -> Tensor:
        arrays = [state[f"{name}_bn.{array}"] for array in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(convolution(name, features), *arrays)

    basic = "conv_classifier.weight" in state
    poolings = []
    features = image
    if basic:
        # Caffe's formula, α divided by the window's five channels
        squares = functional.pad(image**2, (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
        features = image / (1 + 1e-4 / 5 * squares) ** 0.75
    for block, count in enumerate([1, 1, 1, 1] if basic else [2, 2, 3, 3, 3], start=1):
        for index in range(1, count + 1):
            features = functional.relu(layer(f"conv{block}" if basic else f"conv{block}_{index}", features))
        poolings.append((block, count, features.shape[2:]))
        features, places = functional.max_pool2d(features, 2, 2, ceil_mode=True, return_indices=True)
        poolings[-1] += (places,)
    for block, count, size, places in reversed(poolings):
        features = functional.max_unpool2d(features, places, 2, 2, output_size=size)
        if basic:
            features = layer(f"conv_decode{block}", features)
        for index in range(count, 0, -1) if not basic else ():
            if block == index == 1:
                return convolution("conv1_1_D", features)
            features = functional.relu(layer(f"conv{block}_{index}_D", features))
    return convolution("conv_classifier", features)


@pytest.mark.parametrize("build", [segnet, segnet_basic])
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_scores_are_those_of_the_layers_written_out(build, size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    network = unsettled(build(5, width=4))
    image = 50 * torch.rand(2, 3, *size, dtype=torch.float64)
    scores = network(image)
    assert scores.shape == (2, 5, *size)
    torch.testing.assert_close(scores, plainly(network, image), rtol=1e-10, atol=1e-10)


def test_convolutions_have_their_published_names() -> None:
    names = {name.rsplit(".", 1)[0] for name in segnet(2, width=1).state_dict()}
    assert {"conv1_1", "conv1_1_bn", "conv5_3_D", "conv5_3_D_bn", "conv1_2_D_bn", "conv1_1_D"} <= names
    assert len(names) == 2 * 25 + 1
    names = {name.rsplit(".", 1)[0] for name in segnet_basic(2, width=1).state_dict()}
    layers = [f"{kind}{block}" for kind in ("conv", "conv_decode") for block in (1, 2, 3, 4)]
    assert names == {*layers, *(f"{layer}_bn" for layer in layers), "conv_classifier"}


@pytest.mark.parametrize(("build", "reach", "length"), [(segnet, 211, 500), (segnet_basic, 105, 260)])
def test_reach_is_how_far_a_score_sees(build, reach: int, length: int) -> None:
    torch.manual_seed(seeded())
    network = build(2, width=2).double().eval()
    assert network.reach == reach
    # The last of it is seen only where a maximum moves within its cell.
    assert reach - network.stride <= seen_by_changes(network, length, 24) <= reach


@pytest.mark.parametrize(
    ("build", "field", "coder", "poolings"),
    [(segnet, 392, 2 * (2 * 1 + 2 * 2 + 3 * 4 + 3 * 8 + 3 * 16), 31), (segnet_basic, 196, 6 * (1 + 2 + 4 + 8), 15)],
)
def test_a_score_sees_these_many_pixels(build, field: int, coder: int, poolings: int) -> None:
    """Either coder's convolutions at their spacings; unpooled features are read from each place of their cells."""
    network = build(2, width=1)
    assert receptive_field(network) == field == 1 + 2 * coder + poolings
    assert 2 * network.reach + 1 == field + poolings


@pytest.mark.parametrize(("build", "tile"), [(segnet, 485), (segnet_basic, 250)])
def test_tiles_equal_the_whole(build, tile: int) -> None:
    torch.manual_seed(seeded())
    assert_tiles_equal_the_whole(awake(build(3, width=2)), torch.rand(3, tile + 90, 39, dtype=torch.float64), tile)


@pytest.mark.parametrize(
    ("build", "dropped"),
    [
        (segnet, ["conv4_1", "conv5_1", "conv5_3_D", "conv4_3_D", "conv3_3_D", "conv2_2_D"]),
        (segnet_basic, ["conv4", "conv_decode4", "conv_decode3", "conv_decode2"]),
    ],
)
def test_a_bayesian_network_drops_before_these_layers(build, dropped: list[str]) -> None:
    """pool3, pool4, pool5 and the decoders of 5, 4, 3 are dropped from: seen in what the next convolutions read."""
    torch.manual_seed(seeded())
    network = build(2, bayesian=True, width=8)
    inputs: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(lambda _, read, name=name: inputs.__setitem__(name, read[0].detach()))
    network.dropout.register_forward_hook(lambda _module, _read, features: torch.full_like(features, 7))
    network(torch.rand(2, 3, 64, 64))
    marked = [name for name, read in inputs.items() if bool(((read == 7) | (read == 0)).all()) and read.any()]
    assert marked == dropped


def test_samples_mean_and_variance_are_those_of_draws_one_by_one() -> None:
    torch.manual_seed(seeded())
    network = unsettled(segnet(3, bayesian=True, width=4))
    image = torch.rand(2, 3, 33, 47, dtype=torch.float64)
    state = torch.get_rng_state()
    mean, variance = network.sample(image, 5)
    torch.set_rng_state(state)
    network.dropout.train()
    with torch.no_grad():
        draws = torch.stack([network(image).softmax(1) for _ in range(5)])
    network.eval()
    torch.testing.assert_close(mean, draws.mean(0), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(variance, draws.var(0, correction=0), rtol=1e-10, atol=1e-12)
    assert (variance > 0).all()
    torch.testing.assert_close(mean.sum(1), torch.ones(2, 33, 47, dtype=torch.float64))


def test_sampling_leaves_modes_and_statistics_as_they_were() -> None:
    torch.manual_seed(seeded())
    network = segnet_basic(3, bayesian=True, width=2)
    network.conv1_bn.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    mean, variance = network.sample(torch.rand(1, 3, 20, 20, requires_grad=True), 1)
    assert not mean.requires_grad
    assert float(variance.max()) == 0
    assert network.training
    assert not network.conv1_bn.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_what_cannot_be_sampled_is_named() -> None:
    with pytest.raises(InputError, match="sample: wanted a network built with bayesian=True"):
        segnet(2, width=1).sample(torch.rand(1, 3, 8, 8), 2)
    with pytest.raises(InputError, match="count: wanted 1 or more, received 0"):
        segnet(2, width=1, bayesian=True).sample(torch.rand(1, 3, 8, 8), 0)


@pytest.mark.parametrize("build", [segnet, segnet_basic])
def test_every_weight_learns(build) -> None:
    torch.manual_seed(seeded())
    network = build(3, bayesian=True, width=8)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.any() for name, p in network.named_parameters() if name.endswith("weight"))
