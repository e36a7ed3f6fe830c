"""`cross_entropy` against the sum written out in NumPy float64, torch's own, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from densefield.checks import InputError
from densefield.losses import CrossEntropy, cross_entropy
from drawing import seeded


def written_out(scores, target, class_weights, pixel_weights, ignore_index=255):
    """Loop over pixels: the sum of weighted losses, the sum of weights and the map."""
    scores, target = scores.double().numpy(), target.numpy()
    losses = np.zeros(target.shape)
    weights = np.zeros(target.shape)
    for place in np.ndindex(target.shape):
        b, i, j = place
        k = target[place]
        if k == ignore_index:
            continue
        s = scores[b, :, i, j]
        weights[place] = class_weights[k] * pixel_weights[place]
        losses[place] = weights[place] * (np.log(np.exp(s - s.max()).sum()) + s.max() - s[k])
    return losses, weights


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(seeded(3))
    scores = 4 * torch.randn(2, 5, 7, 13, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 5, (2, 7, 13), generator=generator)
    target[torch.rand(2, 7, 13, generator=generator) < 0.2] = 255
    class_weights = torch.rand(5, generator=generator, dtype=torch.float64) + 0.1
    pixel_weights = torch.rand(2, 7, 13, generator=generator, dtype=torch.float64) * 10
    return scores, target, class_weights, pixel_weights


@pytest.mark.parametrize("with_class", [False, True])
@pytest.mark.parametrize("with_pixel", [False, True])
def test_equals_the_sum_written_out(case, with_class, with_pixel):
    scores, target, class_weights, pixel_weights = case
    losses, weights = written_out(
        scores,
        target,
        class_weights.numpy() if with_class else np.ones(5),
        pixel_weights.numpy() if with_pixel else np.ones(target.shape),
    )
    arguments = {
        "class_weights": class_weights if with_class else None,
        "pixel_weights": pixel_weights if with_pixel else None,
    }
    # Up to 30 in size times a weight of 11, some ten roundings each: 4e-13, of a loss that may be as good as 0.
    found = cross_entropy(scores, target, **arguments, reduction="none")
    np.testing.assert_allclose(found, losses, rtol=0, atol=1e-12)
    assert cross_entropy(scores, target, **arguments, reduction="sum").item() == pytest.approx(losses.sum(), rel=1e-12)
    mean = cross_entropy(scores, target, **arguments).item()
    assert mean == pytest.approx(losses.sum() / weights.sum(), rel=1e-12)


def test_mean_equals_torch(case):
    scores, target, class_weights, _ = case
    wanted = F.cross_entropy(scores, target, class_weights, ignore_index=255)
    torch.testing.assert_close(cross_entropy(scores, target, class_weights=class_weights), wanted)


def test_gradient(case):
    scores, target, class_weights, pixel_weights = case
    scores = scores[:1, :, :2, :3].clone().requires_grad_()

    def loss(s):
        return cross_entropy(
            s, target[:1, :2, :3], class_weights=class_weights, pixel_weights=pixel_weights[:1, :2, :3]
        )

    assert torch.autograd.gradcheck(loss, (scores,))


def test_ignored_pixels_give_no_gradient_even_under_nan_weights(case):
    scores, target, _, pixel_weights = case
    scores.requires_grad_()
    pixel_weights[target == 255] = float("nan")
    cross_entropy(scores, target, pixel_weights=pixel_weights).backward()
    ignored = (target == 255)[:, None].expand_as(scores)
    assert scores.grad[ignored].abs().max() == 0
    assert scores.grad[~ignored].abs().min() > 0


@pytest.mark.parametrize("held", [float("nan"), float("-inf"), float("inf")])
def test_what_ignored_pixels_hold_never_counts(case, held):
    scores, target, *_ = case
    ignored = (target == 255)[:, None].expand_as(scores)
    given = scores.masked_fill(ignored, held).requires_grad_()
    loss = cross_entropy(given, target)
    loss.backward()
    assert torch.equal(loss.detach(), cross_entropy(scores, target))
    assert given.grad[ignored].abs().max() == 0
    assert given.grad.isfinite().all()


def test_all_ignored_is_zero_with_zero_gradient():
    scores = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = cross_entropy(scores, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.abs().max() == 0


def test_half_precision_is_widened(case):
    scores, target, *_ = case
    loss = cross_entropy(scores.half(), target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cross_entropy(scores.half().float(), target))


def test_narrow_target_and_non_contiguous_scores(case):
    scores, target, *_ = case
    turned = scores.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    torch.testing.assert_close(cross_entropy(turned, target.to(torch.uint8)), cross_entropy(scores, target))


def test_module_forwards_what_it_remembers(case):
    scores, target, class_weights, pixel_weights = case
    module = CrossEntropy(class_weights=class_weights, reduction="sum")
    wanted = cross_entropy(scores, target, class_weights=class_weights, pixel_weights=pixel_weights, reduction="sum")
    torch.testing.assert_close(module(scores, target, pixel_weights), wanted)
    assert "class_weights" in module.state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": torch.zeros(1, 4, 5, dtype=torch.long)}, r"target: wanted shape \(1, 4, 4\)"),
        ({"target": torch.full((1, 4, 4), 3)}, "holds class 3, wanted 0 to 2"),
        ({"target": torch.zeros(1, 4, 4)}, "wanted an integer tensor"),
        ({"class_weights": torch.ones(4)}, r"class_weights: wanted shape \(3,\), received \(4,\)"),
        ({"pixel_weights": torch.ones(4, 4)}, r"pixel_weights: wanted shape \(1, 4, 4\), received \(4, 4\)"),
        ({"reduction": "median"}, "reduction: wanted"),
    ],
)
def test_bad_input(change, message):
    arguments = {"scores": torch.zeros(1, 3, 4, 4), "target": torch.zeros(1, 4, 4, dtype=torch.long)} | change
    with pytest.raises(InputError, match=message):
        cross_entropy(arguments.pop("scores"), arguments.pop("target"), **arguments)
