"""`dice_loss` against loops in NumPy, scikit-learn's F1 on hard scores, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from densefield.checks import InputError
from densefield.losses import DiceLoss, dice_loss
from drawing import seeded


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(seeded(5))
    scores = 3 * torch.randn(2, 4, 5, 9, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 5, 9), generator=generator)  # class 3 never occurs
    target[torch.rand(2, 5, 9, generator=generator) < 0.25] = 255
    return scores, target


def written_out(scores, target, squared, eps):
    scores, target = scores.numpy(), target.numpy()
    values = []
    for k in range(scores.shape[1]):
        above = below = pixels = 0.0
        for b, i, j in np.ndindex(target.shape):
            if target[b, i, j] == 255:
                continue
            p = np.exp(scores[b, k, i, j]) / np.exp(scores[b, :, i, j]).sum()
            g = float(target[b, i, j] == k)
            above += 2 * p * g
            below += p * p + g * g if squared else p + g
            pixels += g
        if pixels:
            values.append(1 - (above + eps) / (below + eps))
    return np.mean(values)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("eps", [1e-6, 1.0])
def test_equals_the_sum_written_out(case, squared, eps):
    loss = dice_loss(*case, squared=squared, eps=eps)
    assert loss.item() == pytest.approx(written_out(*case, squared, eps), rel=1e-10)


@pytest.mark.parametrize("squared", [True, False])
def test_hard_scores_give_the_f1_of_scikit_learn(case, squared):
    scores, target = case
    labels = scores.argmax(1)
    hard = 1000.0 * torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).double()
    counted = target != 255
    f1 = f1_score(target[counted], labels[counted], labels=[0, 1, 2], average="macro")
    assert dice_loss(hard, target, squared=squared).item() == pytest.approx(1 - f1, abs=1e-6)


@pytest.mark.parametrize("squared", [True, False])
def test_gradient(case, squared):
    scores, target = case
    scores = scores[:, :, :2, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: dice_loss(s, target[:, :2, :3], squared=squared), (scores,))


def test_perfect_is_zero_and_ignored_does_not_matter(case):
    _, target = case
    perfect = 1000.0 * torch.nn.functional.one_hot(target.clamp(max=3), 4).movedim(-1, 1).float()
    changed = perfect.clone()
    changed[(target == 255)[:, None].expand_as(changed)] = 7.0
    assert dice_loss(perfect, target).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(changed, target).item() == dice_loss(perfect, target).item()


@pytest.mark.parametrize("held", [float("nan"), float("-inf"), float("inf")])
def test_what_ignored_pixels_hold_never_counts(case, held):
    scores, target = case
    ignored = (target == 255)[:, None].expand_as(scores)
    given = scores.masked_fill(ignored, held).requires_grad_()
    loss = dice_loss(given, target)
    loss.backward()
    assert torch.equal(loss.detach(), dice_loss(scores, target))
    assert given.grad[ignored].abs().max() == 0
    assert given.grad.isfinite().all()


def test_all_ignored_is_zero_with_zero_gradient():
    scores = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = dice_loss(scores, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.abs().max() == 0


def test_module_forwards_what_it_remembers(case):
    module = DiceLoss(squared=False, eps=0.5)
    torch.testing.assert_close(module(*case), dice_loss(*case, squared=False, eps=0.5))
    assert dice_loss(case[0].half(), case[1]).dtype == torch.float32


def test_bad_input():
    with pytest.raises(InputError, match="holds class 4, wanted 0 to 2"):
        dice_loss(torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), 4))
    with pytest.raises(InputError, match="eps: wanted a positive"):
        dice_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long), eps=0.0)
