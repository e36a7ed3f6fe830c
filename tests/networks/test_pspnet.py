import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import ResNet, pspnet101
from densefield.networks.pspnet import PSPNet
from densefield.protocols import geometry
from densefield.segmenter.description import build_network, network_words
from drawing import seeded
from geometry import positive


def narrow(num_classes: int = 3, *, auxiliary: bool = True) -> PSPNet:
    """The same head on fewer blocks, with statistics that are not all 0 and 1."""
    network = PSPNet(num_classes, ResNet(50, "caffe", width=4, stem="3x3"), 8, auxiliary=auxiliary).double().eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.1, 0.1)
            norm.running_var.uniform_(0.8, 1.2)
    return network


def test_parameters_are_the_published_definitions() -> None:
    with torch.device("meta"):
        network = pspnet101(21)
        alone = pspnet101(21, auxiliary=False)
    stem = 27 * 64 + 64 * 9 * 64 + 64 * 9 * 128 + 2 * (64 + 64 + 128)
    wider = 64 * (64 + 256)  # res2's first block reads 128 channels in place of 64
    trunk = 42_500_160 - (3 * 49 * 64 + 128) + stem + wider
    head = 4 * (2048 * 512 + 1024) + 4096 * 9 * 512 + 1024 + (512 + 1) * 21
    auxiliary = 1024 * 9 * 256 + 512 + (256 + 1) * 21
    assert sum(p.numel() for p in alone.parameters()) == trunk + head == 65_708_501
    assert sum(p.numel() for p in network.parameters()) - trunk - head == auxiliary == 2_365_205


def restated(network: PSPNet, image: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and the auxiliary head's by torch's own poolings; the trunk is restated in its own tests."""
    weights = network.state_dict()

    def layer(name: str, x: Tensor) -> Tensor:
        weight = weights[f"{name}.weight"]
        norm = [weights[f"{name}_bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.relu(
            functional.batch_norm(functional.conv2d(x, weight, None, 1, weight.shape[2] // 2), *norm)
        )

    height, width = image.shape[2:]
    larger = functional.pad(image, (0, (1 - width) % 8, 0, (1 - height) % 8))
    stages = dict(network.trunk.layers(larger))
    features = stages["layer4"]
    joined = [features]
    for bins in (6, 3, 2, 1):
        part = layer(f"conv5_3_pool{bins}_conv", functional.adaptive_avg_pool2d(features, bins))
        joined.append(functional.interpolate(part, size=features.shape[2:], mode="bilinear", align_corners=True))
    x = functional.conv2d(layer("conv5_4", torch.cat(joined, dim=1)), weights["conv6.weight"], weights["conv6.bias"])
    scores = functional.interpolate(x, size=larger.shape[2:], mode="bilinear", align_corners=True)
    beside = layer("conv4_24", stages["layer3"])
    beside = functional.conv2d(beside, weights["conv6_1.weight"], weights["conv6_1.bias"])
    return scores[:, :, :height, :width], beside[:, :, : -(-height // 8), : -(-width // 8)]


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_scores_are_those_of_a_plain_restatement(size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    network, image = narrow(), torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        for found, wanted in zip(network.all_scores(image), restated(network, image), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
        assert torch.equal(network(image), network.all_scores(image)[0])
    assert network.all_strides == (1, 8)


def test_without_its_auxiliary_head_the_scores_are_the_same() -> None:
    torch.manual_seed(seeded())
    network, alone = narrow(), narrow(auxiliary=False)
    left = network.load_state_dict(alone.state_dict(), strict=False)
    assert {name.split(".")[0] for name in left.missing_keys} == {"conv4_24", "conv4_24_bn", "conv6_1"}
    image = torch.rand(1, 3, 17, 20, dtype=torch.float64)
    (scores,) = alone.all_scores(image)
    assert torch.equal(scores, network(image))
    assert alone.all_strides == (1,)


def test_scores_lie_where_their_pixels_are() -> None:
    """Features lie at pixel 8 i and parts at their middles: mirroring 8 q + 1 rows mirrors the scores."""
    torch.manual_seed(seeded())
    network = narrow()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight += layer.weight.flip(2)
        image = torch.rand(1, 3, 8 * 11 + 1, 17, dtype=torch.float64)
        torch.testing.assert_close(network(image.flip(2)), network(image).flip(2), rtol=1e-10, atol=1e-10)


def test_every_score_sees_the_whole_image() -> None:
    torch.manual_seed(seeded())
    network = positive(narrow())  # units that rest would hide it
    assert geometry(network) == (0, 8, None, 1)
    image = torch.rand(1, 3, 1601, 1, dtype=torch.float64, requires_grad=True)
    network(image)[0, :, 0].sum().backward()
    assert image.grad is not None
    assert image.grad[0, :, -16:].abs().sum() > 0  # of a maximum's pixels, the largest alone


def test_a_network_is_built_again_from_its_words() -> None:
    network = pspnet101(3, width=1, auxiliary=False)
    words = network_words(network)
    again = build_network(words.pop("kind"), words)
    assert [p.shape for p in again.parameters()] == [p.shape for p in network.parameters()]
    assert again.eval()(torch.rand(1, 3, 9, 10)).shape == (1, 3, 9, 10)


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(InputError, match="num_classes: wanted at least 1, received 0"):
        pspnet101(0, width=1)
    with pytest.raises(InputError, match="image"):
        pspnet101(2, width=1)(torch.zeros(1, 4, 8, 8))
