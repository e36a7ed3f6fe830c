"""Gradients of a mean field by its kernels' widths and features, from the errors of all iterations.

With a = dL/dmessage and b = Q of each iteration, dL = sum a d(after K before) b. The kernel's part comes from moments,
d/dtheta_k a'Kb = [(a f_k²)'Kb - 2 (a f_k)'K(f_k b) + a'K(f_k² b)] / theta_k for features f_k = x_k / theta_k; the
normaliser's part is one more pair, a = dL/dmass and b = 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from densefield.ops.gaussian import gaussian_filter
from densefield.ops.mean_field.normalizers import Normalizer
from densefield.ops.permutohedral import Lattice, lattice_filter


def lattice_gradients(
    saved: Tensor,  # (T, G, N, W) the marginals before each iteration
    errors: Tensor,  # (T, G, N, W) dL/dlogits after each
    energies: Tensor,  # (), (C,) or (C, C)
    widths: Tensor,  # (d,)
    features: Tensor,  # (1, d, N)
    lattices: Sequence[Lattice],
    normalizer: Normalizer,
    by_features: bool,
) -> tuple[Tensor, Tensor | None]:  # (d,), (1, d, N)
    """Give dL/dwidths and, where wanted, dL/dfeatures."""
    scaled = features / widths[:, None]
    centred = scaled - scaled.mean(-1, keepdim=True)  # only differences count, and small numbers keep their digits
    by_widths = widths.new_zeros(len(widths), dtype=torch.float64)
    by_points = centred.new_zeros(centred.shape[1:])

    def forth(values: Tensor, reverse: bool = False) -> Tensor:
        parts = [lattice_filter(values, lattice, reverse=reverse) for lattice in lattices]
        return sum(parts[1:], parts[0]) * (normalizer.factor / len(lattices))

    def add_moments(a: Tensor, b: Tensor, kb: Tensor, ka: Tensor) -> None:
        own = (a * kb).add_(b * ka).sum((0, 1))
        for k, f in enumerate(centred[0]):
            cross = forth(f * b)
            if by_features:
                back = forth(f * a, reverse=True)
                by_points[k] -= (a * (f * kb - cross) + b * (f * ka - back)).sum((0, 1))
            else:
                by_widths[k] += (f * f * own).sum() - 2 * (f * cross.mul_(a).sum((0, 1))).sum()

    by_mass = torch.zeros_like(normalizer.mass)
    for a, b in _pairs(saved, errors, energies):
        scaled_a, scaled_b = normalizer.after * a, normalizer.before * b
        kb, ka = forth(scaled_b), forth(scaled_a, reverse=True)
        add_moments(scaled_a, scaled_b, kb, ka)
        by_mass += _by_mass(normalizer, a, b, kb, ka)
    if any(normalizer.powers):
        pair = by_mass[None, None], torch.ones_like(by_mass)[None, None]
        add_moments(*pair, normalizer.mass[None, None], forth(pair[0], reverse=True))
    if by_features:
        return -(by_points * centred[0]).sum(-1) / widths, (by_points / widths[:, None])[None]
    return (by_widths / widths).to(widths.dtype), None


def grid_gradients(
    saved: Tensor,  # (T, G, N, W)
    errors: Tensor,  # (T, G, N, W)
    energies: Tensor,  # (), (C,) or (C, C)
    widths: Tensor,  # (number of axes,)
    size: Sequence[int],
    normalizer: Normalizer,
) -> Tensor:  # (number of axes,)
    """Give dL/dwidths of a grid kernel, exactly: its filter is differentiable by its widths."""
    with torch.enable_grad():
        theta = widths.detach().requires_grad_()
        total = theta.new_zeros(())
        by_mass = torch.zeros_like(normalizer.mass)
        for a, b in _pairs(saved, errors, energies):
            scaled_a, scaled_b = normalizer.after * a, normalizer.before * b
            kb = gaussian_filter(scaled_b.reshape(1, -1, *size), theta).flatten(2)
            total = total + (scaled_a * kb).sum()
            if any(normalizer.powers):
                ka = gaussian_filter(scaled_a.reshape(1, -1, *size), theta.detach()).flatten(2)
                by_mass = by_mass + _by_mass(normalizer, a, b, kb.detach(), ka)
        mass = gaussian_filter(torch.ones(1, 1, *size), theta).flatten()
        (by_widths,) = torch.autograd.grad(total + (mass * by_mass).sum(), theta)
    return by_widths


def _by_mass(normalizer: Normalizer, a: Tensor, b: Tensor, kb: Tensor, ka: Tensor) -> Tensor:  # (N,)
    ahead, behind = normalizer.powers[1], normalizer.powers[0]
    product = ahead * normalizer.after * (a * kb).sum((0, 1)) + behind * normalizer.before * (b * ka).sum((0, 1))
    return product / (normalizer.mass + 1e-20)


def _pairs(saved: Tensor, errors: Tensor, energies: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Give each iteration's a and b as (1, C, N) in channel order."""
    for q, error in zip(saved, errors, strict=True):
        b, e = (rows.permute(0, 2, 1).flatten(0, 1)[None].float().contiguous() for rows in (q, error))
        if energies.dim() == 0:
            yield -energies * e, b
            continue
        labels = energies.shape[0]
        b, e = b[:, :labels], e[:, :labels]
        yield -(energies.T @ e if energies.dim() == 2 else energies[:, None] * e), b
