from __future__ import annotations

import torch

from densefield.ops.mean_field import GridTerm, mean_field
from drawing import seeded
from ops.mean_field.dense import dense_mean_field
from rounding import Rounding, sums_to_one


def scene() -> tuple[torch.Tensor, list[GridTerm]]:
    generator = torch.Generator().manual_seed(seeded())
    logits = 2 * torch.randn(1, 9, 15, 20, generator=generator)
    logits[:, 4:] -= 14  # five labels that never count
    return torch.log_softmax(logits, 1), [GridTerm(torch.tensor([2.0, 2.0]), torch.tensor(-3.0))]


def hold_to_labels_without_messages(found: torch.Tensor, scores: torch.Tensor, energies: torch.Tensor, iterations: int):
    """A label left out is one whose compatibility is 0."""
    term = GridTerm(torch.tensor([2.0, 2.0]).double(), energies.double())
    with Rounding(torch.float32) as rounding:
        wanted = dense_mean_field(scores.double(), [term], iterations=iterations)
    rounding.within([found], [wanted])


def test_leaves_out_what_cannot_matter():
    scores, terms = scene()
    whole, pruned = (mean_field(scores, terms, iterations=5, prune=bound, half=False) for bound in (0.0, 1e-3))
    assert (torch.log_softmax(scores, 1)[:, 4:].amax((2, 3)) < -6.9).all()
    hold_to_labels_without_messages(pruned, scores, -3.0 * (torch.arange(9) < 4), iterations=5)
    assert torch.equal(pruned.argmax(1), whole.argmax(1))
    sums_to_one(pruned)


def test_nothing_to_leave_out_changes_nothing():
    scores, terms = scene()
    scores = scores[:, :4]
    assert torch.equal(mean_field(scores, terms, prune=1e-6), mean_field(scores, terms))


def test_one_label_energies_and_a_start():
    scores, _ = scene()
    terms = [GridTerm(torch.tensor([2.0, 2.0]), -torch.linspace(1, 3, 9))]
    start = torch.log_softmax(scores, 1)
    found = mean_field(scores, terms, iterations=3, initial=start, prune=1e-3, half=False)
    energies = -torch.linspace(1, 3, 9) * (torch.arange(9) < 4)
    hold_to_labels_without_messages(found, scores, energies, iterations=3)
