import pytest
import torch

from densefield.networks import deeplab_largefov
from drawing import seeded


def test_parameters_of_table_2() -> None:
    """Table 2 gives 20.5 M for LargeFOV; counted by hand from its definition with 21 classes."""
    by_hand = 14_714_688 + (512 * 9 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 21
    assert sum(p.numel() for p in deeplab_largefov(21).parameters()) == by_hand == 20_505_429


@pytest.mark.parametrize("size", [(1, 1), (8, 9), (33, 40), (57, 23)])
def test_scores_have_the_image_size(size: tuple[int, int]) -> None:
    network = deeplab_largefov(4, width=2).eval()
    assert network(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_scores_lie_where_their_pixels_are() -> None:
    """Shifting the image by the stride shifts the scores by as much, away from the border; linear in between."""
    torch.manual_seed(seeded())
    network = deeplab_largefov(3, width=2, rate=2).eval().double()
    image = torch.rand(1, 3, 360, 8, dtype=torch.float64)
    whole = network(image)
    part = network(image[:, :, 8:])
    far = slice(network.reach + 8, 352 - network.reach - 8)
    torch.testing.assert_close(part[:, :, far], whole[:, :, 8:][:, :, far])
    between = (whole[:, :, 160] + whole[:, :, 168]) / 2
    torch.testing.assert_close(whole[:, :, 164], between)


def test_reach_bounds_what_a_score_sees() -> None:
    torch.manual_seed(seeded())
    network = deeplab_largefov(2, width=2, rate=2).eval().double()
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_()  # else all units of a layer so narrow may be at rest
    side = 2 * network.reach + 41
    image = torch.rand(1, 3, side, 1, dtype=torch.float64, requires_grad=True)
    middle = side // 2
    network(image)[0, :, middle].sum().backward()
    assert image.grad is not None
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert 0 < int((rows - middle).abs().max()) <= network.reach


def test_batch_norm_and_dropout_are_options() -> None:
    network = deeplab_largefov(2, width=2, dropout=0.0, batch_norm=True)
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()) == 15
    image = torch.rand(2, 3, 40, 40)
    assert torch.equal(network(image), network(image))
