"""DeepLab's scales, with layers that are easy to restate: a blur at stride 8."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks.scales import Scales
from geometry import between

SIZES = [(1, 1), (33, 47), (64, 96)]


def coarse(image: Tensor) -> Tensor:  # feature i lies at pixel 8 i
    return functional.conv2d(image, torch.ones(2, 1, 17, 17).to(image), stride=8, padding=8)


def image_of(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 1, *size, dtype=torch.float64)


def test_sizes_are_those_of_the_definition() -> None:
    received: list[tuple[int, ...]] = []

    def counted(image: Tensor) -> Tensor:
        received.append(tuple(image.shape[2:]))
        return coarse(image)

    image = image_of((321, 321))
    made = Scales((0.5, 0.75, 1.0), align_corners=True).all_scores(image, counted)
    assert received == [(321, 321), (241, 241), (161, 161)]
    assert [scores.shape[2] for scores in made] == [321, 41, 41, 21]
    received.clear()
    Scales((0.5, 0.75, 1.0), align_corners=False).all_scores(image, counted)
    assert received == [(321, 321), (240, 240), (160, 160)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_scores_and_each_scales_are_those_of_a_plain_restatement(size: tuple[int, int], offset: float) -> None:
    image = image_of(size)
    made = Scales((0.5, 0.75, 1.0), align_corners=True, offset=offset).all_scores(image, coarse)
    sides = [32 * -(-(length - 1) // 32) + 1 for length in size]
    whole = functional.pad(image, (0, sides[1] - size[1], 0, sides[0] - size[0]))

    def at(scale: float, *pixels: np.ndarray) -> Tensor:
        """The scores of one scale at pixels of the image."""
        smaller = [round((side - 1) * scale) + 1 for side in sides]
        resized = between(whole, *(np.linspace(0, side - 1, n) for side, n in zip(sides, smaller, strict=True)))
        return between(coarse(resized), *((pixel * scale - offset) / 8 for pixel in pixels))

    grid = [np.arange(0, side, 8) + offset for side in sides]
    largest = torch.stack([at(scale, *grid) for scale in (0.5, 0.75, 1.0)]).amax(0)
    fused = between(largest, *((np.arange(length) - offset) / 8 for length in size))
    wanted = [fused]
    for scale, stride in ((1.0, 8), (0.75, 8), (0.5, 16)):
        wanted.append(at(scale, *(np.arange(0, length, stride) for length in size)))
    for found, expected in zip(made, wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert torch.equal(Scales((0.5, 0.75, 1.0), align_corners=True, offset=offset).scores(image, coarse), made[0])


@pytest.mark.parametrize("size", SIZES)
def test_without_aligned_corners_scales_are_torchs_plain_halves(size: tuple[int, int]) -> None:
    """kazuto1011/deeplab-pytorch: `interpolate` by 0.5 and 0.75, back to the scores of 1, maximum, to the image."""
    image = image_of(size)
    made = Scales((0.5, 0.75, 1.0), align_corners=False).all_scores(image, coarse)
    padded = functional.pad(image, (0, 1, 0, 1)) if size == (1, 1) else image  # of which a half would leave nothing
    scaled = [functional.interpolate(padded, scale_factor=s, mode="bilinear") for s in (0.75, 0.5)]
    full = coarse(padded)
    back = [functional.interpolate(coarse(each), size=full.shape[2:], mode="bilinear") for each in scaled]
    largest = torch.stack([full, *back]).amax(0)
    fused = functional.interpolate(largest, size=padded.shape[2:], mode="bilinear")[:, :, : size[0], : size[1]]
    torch.testing.assert_close(made[0], fused, rtol=0, atol=1e-10)
    rows, columns = (-(-length // 8) for length in size)
    for found, expected in zip(made[1:3], (full, back[0]), strict=True):
        torch.testing.assert_close(found, expected[:, :, :rows, :columns], rtol=0, atol=1e-10)
    own = coarse(scaled[1])[:, :, : -(-size[0] // 16), : -(-size[1] // 16)]
    torch.testing.assert_close(made[3], own, rtol=0, atol=1e-10)


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize(("favoured", "loose"), [(1.0, 1), (0.75, 3), (0.5, 3), (1.5, 3)])
def test_reach_is_how_far_each_scale_sees(favoured: float, loose: int, offset: float) -> None:
    scales = Scales((0.5, 0.75, 1.0, 1.5), align_corners=True, offset=offset)
    alone = Scales((1.0, favoured) if favoured != 1 else (1.0,), align_corners=True, offset=offset)
    image = torch.rand(1, 1, 193, 1, dtype=torch.float64, requires_grad=True)
    bonus = {193: 0, round(192 * favoured) + 1: 1e3}
    scores = scales.scores(image, lambda image: coarse(image) + bonus.get(image.shape[2], 0))
    furthest = 0
    for row in range(80, 113):
        (gradient,) = torch.autograd.grad(scores[0, 0, row, 0], image, retain_graph=True)
        touched = gradient[0, 0, :, 0].nonzero().flatten()
        furthest = max(furthest, row - int(touched.min()), int(touched.max()) - row)
    assert alone.reach(8) - loose - 1 <= furthest <= alone.reach(8) <= scales.reach(8)


@pytest.mark.parametrize(("factors", "stride"), [((1.0,), 8), ((0.5, 1.0), 16), ((0.5, 0.75, 1), 32), ((1, 1.5), 16)])
def test_stride_is_that_of_all_scales_together(factors: tuple[float, ...], stride: int) -> None:
    assert Scales(factors, align_corners=True).stride == stride


@pytest.mark.parametrize("factors", [(0.5,), (1.0, 1.0), (1.0, 0.0), (1.0, 0.333), ()])
def test_scales_that_cannot_be_are_explained(factors: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"scales: wanted .*received"):
        Scales(factors, align_corners=True)
    with pytest.raises(InputError, match=r"scales: wanted a list of numbers, received 1\.0"):
        Scales(1.0, align_corners=True)  # type: ignore[arg-type]


def test_a_third_is_a_third() -> None:
    scales = Scales((1.0, 1 / 3), align_corners=True)
    made = scales.all_scores(image_of((49, 49)), coarse)
    assert [scores.shape[2] for scores in made] == [49, 7, 3]
    assert scales.strides == (1, 8, 24)


@pytest.mark.parametrize("factors", [(1.0,), (0.5, 1.0), (0.5, 0.75, 1.0), (1.0, 1 / 3), (1.0, 1.5)])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_strides_tell_all_scores_sizes(factors: Sequence[float], align_corners: bool, size: tuple[int, int]) -> None:
    def rounding_up(image: Tensor) -> Tensor:  # as VGG's poolings
        return coarse(functional.pad(image, (0, -(image.shape[3] - 1) % 8, 0, -(image.shape[2] - 1) % 8)))

    scales = Scales(factors, align_corners=align_corners)
    made = scales.all_scores(image_of(size), rounding_up)
    sides = [tuple((length - 1) // stride + 1 for length in size) for stride in scales.strides]
    assert [tuple(scores.shape[2:]) for scores in made] == sides


@pytest.mark.parametrize("factors", [(1.0,), (0.5, 0.75, 1.0)])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_own_scores_are_the_answer_at_every_eighth_pixel(factors: Sequence[float], offset: float) -> None:
    """With corners aligned, enlarging leaves a score what it was at its own pixel; the rest are `all_scores`'."""
    scales, image = Scales(factors, align_corners=True, offset=offset), image_of((49, 65))
    answer, *others = scales.all_scores(image, coarse)
    own, *same = scales.own_scores(image, coarse)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # by the border, scores half a pixel inside end
    torch.testing.assert_close(own[inner], answer[:, :, ::8, ::8][inner], rtol=0, atol=1e-4)
    assert own.shape == answer[:, :, ::8, ::8].shape
    assert all(torch.equal(one, other) for one, other in zip(same, others, strict=True))
