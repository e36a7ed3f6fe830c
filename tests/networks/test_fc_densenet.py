import math

import pytest
import torch
from torch import Tensor, nn

from densefield.checks import InputError
from densefield.networks import classic_upsampling, fc_densenet56, fc_densenet67, fc_densenet103
from densefield.networks.fc_densenet import ClassicUpsampling, FCDenseNet
from drawing import seeded


def count(network: nn.Module) -> int:
    """Weights, biases and batch normalisation's four arrays, as the published code counts."""
    statistics = (b for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var")))
    return sum(p.numel() for p in network.parameters()) + sum(b.numel() for b in statistics)


@pytest.mark.parametrize(
    ("build", "millions", "exact"),
    [
        (fc_densenet56, 1.4, 1_397_963),
        (fc_densenet67, 3.5, 3_502_923),
        (fc_densenet103, 9.4, 9_425_163),
        (classic_upsampling, 20, 20_278_619),
    ],
)
def test_parameters_of_table_3(build, millions: float, exact: int) -> None:
    network = build(11)
    assert count(network) == exact
    assert round(exact / 1e6, 0 if millions == 20 else 1) == millions
    assert (network.in_channels, network.num_classes, network.margin, network.stride) == (3, 11, 0, 32)


def test_names_of_the_weights_stay() -> None:
    """Published checkpoints name them so."""
    names = {name.rsplit(".", 1)[0] for name in FCDenseNet(2, layers=(1, 1, 1)).state_dict()}
    layers = ["down_blocks.0.layers.0", "down_transitions.0.layer", "bottleneck.layers.0", "up_blocks.0.layers.0"]
    inside = {f"{layer}.{part}" for layer in layers for part in ("norm", "conv")}
    assert names == {"first", "up_transitions.0.conv", "classifier"} | inside


@pytest.mark.parametrize("size", [(33, 47), (32, 32), (63, 64), (1, 1), (5, 70)])
@pytest.mark.parametrize("kind", [FCDenseNet, ClassicUpsampling])
def test_any_size(kind, size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    options = {"layers": (1,) * 11} if kind is FCDenseNet else {"layers": (1,) * 6, "filters": (4, 4, 3, 3, 2)}
    network = kind(3, in_channels=2, growth_rate=2, first_channels=4, **options)
    for training in (True, False):
        scores = network.train(training)(torch.rand(2, 2, *size))
        assert scores.shape == (2, 3, *size)
        assert scores.isfinite().all()


def test_wrong_channels_are_named() -> None:
    with pytest.raises(InputError, match=r"image: wanted shape \(B, 3, H, W\), received \(1, 1, 32, 32\)"):
        fc_densenet56(2)(torch.rand(1, 1, 32, 32))


def test_weights_are_he_uniform_and_biases_zero() -> None:
    torch.manual_seed(seeded())
    network = fc_densenet56(11)
    weight = network.bottleneck.layers[0].conv.weight
    bound = math.sqrt(6 / (weight.shape[1] * 9))
    assert 0.99 * bound < float(weight.detach().abs().max()) <= bound
    assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert all((m.bias == 0).all() for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))


def small(kind) -> nn.Module:
    """Two poolings; nothing negative, so that no ReLU hides a path."""
    torch.manual_seed(seeded())
    if kind is FCDenseNet:
        network = FCDenseNet(1, 1, layers=(1, 2, 1, 1, 2), growth_rate=2, first_channels=2)
    else:
        network = ClassicUpsampling(1, 1, layers=(1, 2, 1), growth_rate=2, first_channels=2, filters=(2, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    return network.double().eval()


def seen(network: nn.Module, image: Tensor) -> int:
    """The furthest pixel, left or right, on which a middle score depends, over all positions within a stride."""
    furthest = 0
    middle = image.shape[3] // 2
    for column in range(middle, middle + network.stride):
        image = image.detach().requires_grad_()
        network(image)[0, 0, 2, column].backward()
        columns = image.grad[0, 0].abs().sum(0).nonzero().flatten()
        furthest = max(furthest, column - int(columns.min()), int(columns.max()) - column)
    return furthest


@pytest.mark.parametrize("kind", [FCDenseNet, ClassicUpsampling])
def test_reach_is_how_far_a_score_sees(kind) -> None:
    network = small(kind)
    ramp = torch.linspace(0, 1, 32 * network.stride, dtype=torch.float64).expand(1, 1, 4, -1)
    # pooling passes only its largest: rising and falling images show the one and the other side
    assert max(seen(network, ramp), seen(network, ramp.flip(3))) == network.reach


@pytest.mark.parametrize("kind", [FCDenseNet, ClassicUpsampling])
def test_tiles_equal_the_whole_within_reach(kind) -> None:
    network = small(kind)
    image = torch.rand(1, 1, 8, 40 * network.stride, dtype=torch.float64)
    start, stop = 7 * network.stride, 33 * network.stride + 3
    with torch.no_grad():
        whole, tile = network(image), network(image[..., start:stop])
    inside = slice(network.reach, stop - start - network.reach)
    # Nothing negative: the roundings, 6 sqrt(n) for each of some 20 sums of up to 100 products, are relative.
    torch.testing.assert_close(tile[..., inside], whole[..., start:stop][..., inside], rtol=1e-11, atol=0)


@pytest.mark.parametrize("kind", [FCDenseNet, ClassicUpsampling])
def test_shared_buffers_change_nothing(kind) -> None:
    """One training step and one evaluation: stored, recomputed, and layer by layer (as hooks ask for)."""
    image = torch.rand(2, 3, 33, 47, dtype=torch.float64)
    options = {"layers": (2,) * 5} if kind is FCDenseNet else {"layers": (2,) * 3, "filters": (6, 4)}
    results = []
    for checkpointing, hooked in ((False, False), (True, False), (False, True)):
        torch.manual_seed(seeded())
        network = kind(5, growth_rate=3, first_channels=8, checkpointing=checkpointing, **options).double()
        if hooked:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.register_forward_hook(lambda module, inputs, output: None)
        scores = network(image)
        scores.square().mean().backward()
        gradients = [p.grad for p in network.parameters()]
        with torch.no_grad():
            results.append([scores.detach(), *gradients, *network.buffers(), network.eval()(image)])
    for stored, recomputed, plain in zip(*results, strict=True):
        torch.testing.assert_close(stored, plain, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(recomputed, plain, rtol=1e-8, atol=1e-9)
