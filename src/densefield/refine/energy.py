"""Energies of a dense CRF: of a labelling, and the free energy that mean field lowers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from densefield.checks import check, check_target, check_tensor
from densefield.ops.mean_field import Term
from densefield.ops.mean_field.filters import normalized_filter
from densefield.ops.mean_field.terms import compatible, each_item
from densefield.refine.mean_field import Normalization


def energy(
    labels: Tensor,  # (B, *size), integers
    unary: Tensor,  # (B, K, *size)
    terms: Sequence[Term],
    normalization: Normalization = "symmetric",
) -> Tensor:  # (B,)
    """E(x) = Σ_i U_i(x_i) + ½ Σ_m Σ_ij μ_m(x_i, x_j) k̃_m(i, j) (Krähenbühl and Koltun 2011, equation 1).

    Every pair counts once, and a pixel's pair with itself half, as messages hold the pixel itself: for Potts under the
    default normalisation that is the same for all labellings. Raises `InputError` for labels outside 0 … K-1.
    """
    check_target("labels", labels, unary, unary.shape[1], ignore_index=-1)
    check(not bool((labels == -1).any()), f"labels: holds class -1, wanted 0 to {unary.shape[1] - 1}")
    return free_energy(functional.one_hot(labels.long(), unary.shape[1]).movedim(-1, 1), unary, terms, normalization)


def free_energy(
    marginals: Tensor,  # (B, K, *size), Q
    unary: Tensor,  # (B, K, *size)
    terms: Sequence[Term],
    normalization: Normalization = "symmetric",
) -> Tensor:  # (B,)
    """F(Q) = Σ Q log Q + Σ Q U + ½ Σ_m Σ_ij Q_i · μ_m k̃_m(i, j) Q_j = KL(Q ‖ P) - log Z.

    Fixed points of the updates are its stationary points. pydensecrf's `klDivergence` does not halve the last sum.
    Summed in float64. Raises `InputError` where shapes differ and where marginals are negative.
    """
    check_tensor("marginals", marginals, f"a tensor {tuple(unary.shape)}")
    check(
        marginals.shape == unary.shape and not marginals.is_complex(),
        f"marginals: wanted the shape {tuple(unary.shape)} of the scores, received {tuple(marginals.shape)}",
    )
    # A finite difference may step a little below 0; log-marginals, which the layer returns, lie far below it.
    least = float(marginals.detach().min()) if marginals.numel() else 0.0
    check(least >= -1e-3, f"marginals: wanted probabilities, received {least:g}; of log-marginals take the exp()")

    def of_one(energies: Tensor, mine: Sequence[Term], q: Tensor | None) -> Tensor:
        assert q is not None
        return _free_energy(q.flatten(2), energies, mine, normalization)

    return each_item(of_one, unary, terms, marginals.to(unary.dtype))


def _free_energy(
    q: Tensor,  # (1, K, N)
    unary: Tensor,  # (1, K, *size)
    terms: Sequence[Term],
    normalization: Normalization,
) -> Tensor:  # (1,)
    wide, energies = q.double(), unary.flatten(2).double()
    # A label that cannot be, and is not, costs nothing.
    energies = energies.masked_fill(energies.isposinf() & (wide == 0), 0.0)
    total = torch.special.xlogy(wide, wide.clamp_min(1e-300)) + wide * energies  # whose slope at 0 is a number
    for term in terms:
        message = compatible(term.compatibility, normalized_filter(term, unary, normalization)(q))
        total = total + 0.5 * wide * message.double()
    return total.sum((1, 2))
