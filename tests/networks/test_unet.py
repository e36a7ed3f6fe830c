import math

import pytest
import torch

from densefield.checks import InputError
from densefield.networks import unet
from drawing import seeded


def test_parameters_and_sizes_of_figure_1() -> None:
    network = unet(2)
    assert sum(p.numel() for p in network.parameters()) == 31_030_658
    assert (network.in_channels, network.num_classes, network.margin, network.stride) == (1, 2, 92, 16)
    thin = unet(2, width=2).eval()
    with torch.no_grad():
        assert thin(torch.rand(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        assert thin(torch.rand(1, 1, 188, 204)).shape == (1, 2, 4, 20)


@pytest.mark.parametrize("side", [187, 189, 512, 20])
def test_sizes_that_do_not_fit_are_explained(side: int) -> None:
    network = unet(2, width=2)
    with pytest.raises(InputError, match=rf"image: width {side} .* wanted 188 \+ 16 k"):
        network(torch.rand(1, 1, 188, side))


def test_named_sizes_do_fit() -> None:
    network = unet(2, width=2)
    with pytest.raises(InputError, match="nearest: 508 or 524"):
        network(torch.rand(1, 1, 512, 188))
    assert network(torch.rand(1, 1, 508, 188)).shape[2] == 508 - 184


def test_padding_must_be_known() -> None:
    with pytest.raises(InputError, match="padding: wanted 'valid' or 'same', received 'mirror'"):
        unet(2, padding="mirror")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 47), (17, 160)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_same_padding_takes_any_size(size: tuple[int, int], batch_norm: bool) -> None:
    network = unet(3, 3, padding="same", width=2, batch_norm=batch_norm)
    assert network.margin == 0
    assert network(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_weights_are_gaussian() -> None:
    torch.manual_seed(seeded())
    network = unet(2, width=32)
    for weight, incoming in [
        (network.down[4][0].weight, 256 * 9),
        (network.up[0][0].weight, 512 * 9),
        (network.up_convolutions[0].weight, 512),
    ]:
        assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / incoming), rel=0.02)
    image = torch.randn(1, 1, 252, 252)
    features = network.eval().down[0](image).detach()
    assert 0.2 < float(features.square().mean()) < 5  # √(2/N) neither blows up nor dies out


def test_dropout_ends_the_contracting_path() -> None:
    network = unet(2, width=2, dropout=0.5)
    image = torch.rand(1, 1, 188, 188)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_reach_is_how_far_a_score_sees(padding) -> None:
    torch.manual_seed(seeded())
    network = unet(1, padding=padding, width=1).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()  # nothing negative, so that no ReLU hides a path
    height = 188 if padding == "valid" else 16
    ramp = torch.linspace(0, 1, 188 + 16 * 6, dtype=torch.float64).expand(1, 1, height, -1)
    furthest = 0
    for image in (ramp, ramp.flip(3)):  # pooling passes only its largest
        image = image.clone().requires_grad_()
        scores = network(image)
        for column in range(scores.shape[3] // 2 - 8, scores.shape[3] // 2 + 8):
            (grad,) = torch.autograd.grad(scores[0, 0, 1, column], image, retain_graph=True)
            columns = grad[0, 0].abs().sum(0).nonzero().flatten()
            here = column + network.margin
            furthest = max(furthest, here - int(columns.min()), int(columns.max()) - here)
    assert furthest == network.reach


def test_valid_tiles_equal_the_whole() -> None:
    torch.manual_seed(seeded())
    network = unet(2, width=2).double().eval()
    image = torch.rand(1, 1, 188, 188 + 16 * 8, dtype=torch.float64)
    with torch.no_grad():
        whole = network(image)
        tile = network(image[..., 32 : 32 + 188 + 16])
    torch.testing.assert_close(tile, whole[..., 32 : 32 + 20], rtol=1e-8, atol=1e-8)  # float64, of scores near 1
