from __future__ import annotations

import torch

from densefield.ops.mean_field import GridTerm, mean_field
from drawing import seeded


def scene() -> tuple[torch.Tensor, list[GridTerm]]:
    generator = torch.Generator().manual_seed(seeded())
    scores = 2 * torch.randn(1, 9, 15, 20, generator=generator)
    scores[:, 4:] -= 14  # five labels that never count
    return -torch.log_softmax(scores, 1), [GridTerm(torch.tensor([2.0, 2.0]), torch.tensor(-3.0))]


def test_leaves_out_what_cannot_matter():
    unary, terms = scene()
    whole, pruned = (mean_field(unary, terms, iterations=5, prune=bound, half=False) for bound in (0.0, 1e-3))
    assert (torch.log_softmax(-unary, 1)[:, 4:].amax((2, 3)) < -6.9).all()
    torch.testing.assert_close(pruned.exp(), whole.exp(), rtol=0, atol=2e-3)
    assert torch.equal(pruned.argmax(1), whole.argmax(1))
    torch.testing.assert_close(pruned.exp().sum(1), torch.ones(1, 15, 20))


def test_nothing_to_leave_out_changes_nothing():
    unary, terms = scene()
    unary = unary[:, :4]
    assert torch.equal(mean_field(unary, terms, prune=1e-6), mean_field(unary, terms))


def test_one_label_energies_and_a_start():
    unary, _ = scene()
    terms = [GridTerm(torch.tensor([2.0, 2.0]), -torch.linspace(1, 3, 9))]
    start = torch.log_softmax(-unary, 1)
    found = mean_field(unary, terms, iterations=3, initial=start, prune=1e-3, half=False)
    torch.testing.assert_close(found.exp(), mean_field(unary, terms, iterations=3, half=False).exp(), rtol=0, atol=2e-3)
