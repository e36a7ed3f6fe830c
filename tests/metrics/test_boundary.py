"""Trimap curves and Boundary IoU against dilations, erosions and loops over pairs of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from densefield.checks import InputError
from densefield.metrics import (
    BoundaryIoU,
    ConfusionMatrix,
    TrimapCurve,
    boundary_band,
    boundary_iou,
    class_distance,
    void_distance,
)
from drawing import seeded


def regions(seed, size=(23, 31), num_classes=4):
    """Nearest-seed regions."""
    rng = np.random.default_rng(seeded(seed))
    seeds = rng.random((9, 2)) * size
    grid = np.moveaxis(np.indices(size), 0, -1)
    nearest = np.linalg.norm(grid[:, :, None] - seeds, axis=-1).argmin(-1)
    return rng.integers(0, num_classes, 9)[nearest]


@pytest.fixture
def case():
    """Labels and a target with a void band, as Pascal VOC draws it."""
    target = regions(1)
    void = np.zeros(target.shape, bool)
    void[:, :-1] |= target[:, :-1] != target[:, 1:]
    target = np.where(void, 255, target)
    labels = regions(1)
    wrong = np.random.default_rng(seeded(2)).random(labels.shape) < 0.3
    return np.where(wrong, regions(3), labels), target


@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_void_band_is_the_dilation_by_a_square(case, width):
    labels, target = case
    square = np.ones((2 * width + 1, 2 * width + 1), bool)
    band = ndimage.binary_dilation(target == 255, structure=square)
    wanted = ConfusionMatrix(4)
    wanted.update(labels, np.where(band, target, 255))
    curve = TrimapCurve(4, widths=(width,))
    curve.update(labels, target)
    assert torch.equal(curve.bands()[0].counts, wanted.counts)
    assert 0 < wanted.counts.sum() < (target != 255).sum()


def test_class_distance_by_loop_over_pairs():
    target = regions(5, (11, 14))
    target[3:5, 2:9] = 255
    distance = class_distance(target)
    places = list(np.ndindex(target.shape))
    for i, j in places:
        others = [max(abs(i - k), abs(j - m)) for k, m in places if target[k, m] not in (255, target[i, j])]
        if target[i, j] == 255:
            assert distance[i, j] > 1000
        else:
            assert distance[i, j] == min(others)


def test_bands_grow_and_the_widest_is_everything(case):
    labels, target = case
    curve = TrimapCurve(4, widths=(1, 2, 5, 50), distance=class_distance)
    curve.update(torch.from_numpy(labels)[None], torch.from_numpy(target)[None])
    sizes = [int(band.counts.sum()) for band in curve.bands()]
    assert sizes == sorted(set(sizes))
    whole = ConfusionMatrix(4)
    whole.update(labels, target)
    assert torch.equal(curve.bands()[-1].counts, whole.counts)
    assert curve.points()[-1] == (50.0, whole.mean_iou())
    assert curve.points(ConfusionMatrix.pixel_accuracy)[-1] == (50.0, whole.pixel_accuracy())


def test_curve_is_pooled_and_merges(case):
    labels, target = case
    both, first, second = (TrimapCurve(4, widths=(1, 3)) for _ in range(3))
    both.update(np.stack([labels, target % 4]), np.stack([target, target]))
    first.update(labels, target)
    second.update(target % 4, target)
    first.merge(second)
    assert first.points() == both.points()


def test_image_without_void_adds_nothing():
    curve = TrimapCurve(4)
    curve.update(regions(1), regions(1))
    assert all(math.isnan(value) for _, value in curve.points())
    assert (void_distance(regions(1)) > 1000).all()
    # A single class everywhere has no boundary either.
    assert (class_distance(np.zeros((3, 3), int)) > 1000).all()


@pytest.mark.parametrize("width", [1, 2, 4, 40])
def test_boundary_band_is_the_mask_less_its_erosion(width):
    mask = regions(7) < 2
    mask[0, :] = True
    # As the paper's authors do it: erode by 3×3 squares `width` times, outside counting as background.
    eroded = ndimage.binary_erosion(mask, structure=np.ones((3, 3)), iterations=width, border_value=0)
    np.testing.assert_array_equal(boundary_band(mask, width), mask & ~eroded)


def test_boundary_iou_by_hand():
    # 10 × 10 squares, one moved by a pixel; the diagonal of 40 × 30 is 50, so that 2 % is 1 pixel.
    one, true = np.zeros((40, 30), bool), np.zeros((40, 30), bool)
    one[5:15, 5:15] = True
    true[5:15, 6:16] = True
    # Rings of 36 pixels each share 9 pixels above, 9 below: 18 of 54.
    assert boundary_iou(one, true) == pytest.approx(18 / 54)
    assert boundary_iou(true, true) == 1
    assert boundary_iou(one, np.zeros_like(one)) == 0
    assert math.isnan(boundary_iou(np.zeros_like(one), np.zeros_like(one)))


def test_boundary_iou_of_thick_bands_is_iou():
    one, true = regions(1) == 1, regions(3) == 1
    assert boundary_iou(one, true, ratio=1.0) == pytest.approx((one & true).sum() / (one | true).sum())


def test_pooled_boundary_iou_sums_over_images():
    labels = [regions(seed) for seed in (1, 2)]
    target = [regions(seed) for seed in (3, 4)]
    pooled, other = BoundaryIoU(6), BoundaryIoU(6)
    pooled.update(labels[0], target[0])
    other.update(torch.from_numpy(labels[1])[None], torch.from_numpy(target[1])[None])
    pooled.merge(other)
    for number in range(6):
        hits = unions = 0
        for one, true in zip(labels, target, strict=True):
            found, wanted = boundary_band(one == number, 1), boundary_band(true == number, 1)
            hits += (found & wanted).sum()
            unions += (found | wanted).sum()
        figure = pooled.iou_per_class()[number].item()
        assert math.isnan(figure) if not unions else figure == pytest.approx(hits / unions)
    assert pooled.mean_iou() == pytest.approx(np.nanmean(pooled.iou_per_class()))


def test_what_is_predicted_on_ignored_pixels_does_not_matter(case):
    labels, target = case
    changed = np.where(target == 255, 3 - labels, labels)
    for make in (lambda: BoundaryIoU(4), lambda: TrimapCurve(4, widths=(2,))):
        first, second = make(), make()
        first.update(labels, target)
        second.update(changed, target)
        if isinstance(first, BoundaryIoU):
            assert torch.equal(first.hits, second.hits)
            assert torch.equal(first.unions, second.unions)
        else:
            assert first.points() == second.points()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TrimapCurve(3, widths=(3, 2)), "widths: wanted whole numbers"),
        (lambda: TrimapCurve(3, widths=()), "widths: wanted"),
        (lambda: TrimapCurve(3).update(np.zeros((2, 3), int), np.zeros((3, 2), int)), "labels: wanted the target's"),
        (lambda: TrimapCurve(3).update(np.zeros((2, 3)), np.zeros((2, 3), int)), "labels: wanted class indices"),
        (lambda: TrimapCurve(3, (1,)).merge(TrimapCurve(3, (2,))), r"other: has widths \(2,\), wanted \(1,\)"),
        (lambda: BoundaryIoU(3).update(np.full((2, 2), 3), np.zeros((2, 2), int)), "holds class 3, wanted 0 to 2"),
        (lambda: BoundaryIoU(3).merge(BoundaryIoU(2)), "other: counts 2 classes"),
        (lambda: boundary_iou(np.ones((2, 2)), np.ones((3, 3))), "mask: wanted the target's size"),
        (lambda: boundary_band(np.ones((2, 2)), 0), "width: wanted at least 1"),
        (lambda: boundary_iou(np.ones((2, 2)), np.ones((2, 2)), ratio=0), "ratio: wanted a positive"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
