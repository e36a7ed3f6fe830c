"""Gradients of a mean field by its kernels' widths and features, from the errors of all iterations.

With a = dL/dmessage and b = Q of each iteration, dL = sum a d(after K before) b. A lattice kernel's part comes from
moments, d/dtheta_k a'Kb = [(a f_k²)'Kb - 2 (a f_k)'K(f_k b) + a'K(f_k² b)] / theta_k for features f_k = x_k / theta_k;
the normaliser's part is one more pair, a = dL/dmass and b = 1. A grid kernel is a product of one factor an axis, each
differentiated exactly with its normaliser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from densefield.ops.mean_field.filters import GridKernel, LatticeKernel
from densefield.ops.mean_field.native import Sides, lattice_moments, line_pairs
from densefield.ops.permutohedral import lattice_filter


def lattice_gradients(
    saved: Tensor,  # (T, G, N, W) the marginals before each iteration
    errors: Tensor,  # (T, G, N, W) dL/dlogits after each
    energies: Tensor,  # (), (C,) or (C, C)
    widths: Tensor,  # (d,)
    features: Tensor,  # (1, d, N)
    kernel: LatticeKernel,
    by_features: bool,
) -> tuple[Tensor, Tensor | None]:  # (d,), (1, d, N)
    """Give dL/dwidths and, where wanted, dL/dfeatures."""
    scaled = (features / widths[:, None])[0]
    centred = scaled - scaled.mean(-1, keepdim=True)  # only differences count, and small numbers keep their digits
    if by_features:
        by_points = _by_points(saved, errors, energies, centred, kernel)
        return -(by_points * centred).sum(-1) / widths, (by_points / widths[:, None])[None]
    d, points = centred.shape
    cross, ahead, behind = sums = Sides(
        widths.new_zeros(d, dtype=torch.float64), centred.new_zeros(points), centred.new_zeros(points)
    )
    scale = kernel.factor / len(kernel.lattices) / (1 + 2.0**-d)
    for q, error in zip(saved, errors, strict=True):
        a, factor = _by_message(error, energies)
        for lattice in kernel.lattices:
            of_a = factor * scale * kernel.after
            lattice_moments(a, q, lattice, centred, of_a, kernel.before, sums)
    by_widths = (centred.square() * (ahead + behind)).sum(-1, dtype=torch.float64) - 2 * cross
    if any(kernel.powers):
        by_mass = _by_mass(kernel, ahead, behind)
        forth = _forth(kernel)
        own = by_mass * kernel.mass + forth(by_mass, True)
        for k, f in enumerate(centred):
            by_widths[k] += (f * f * own).sum() - 2 * (f * by_mass * forth(f, False)).sum()
    return (by_widths / widths).to(widths.dtype), None


def grid_gradients(
    saved: Tensor,  # (T, G, N, W)
    errors: Tensor,  # (T, G, N, W)
    energies: Tensor,  # (), (C,) or (C, C)
    widths: Tensor,  # (number of axes,)
    kernel: GridKernel,
) -> Tensor:  # (number of axes,)
    """Give dL/dwidths of a grid kernel: along each axis, from how its lines match when filtered along the other."""
    height, width = len(kernel.axes[0]), len(kernel.axes[2])
    layouts = [(height, width, width, 1), (width, height, 1, width)][-len(widths) :]
    sides = [(kernel.axes[2:], -1), (kernel.axes[:2], 0)][-len(widths) :]
    found = []
    for theta, layout, ((before, after), other) in zip(widths.detach().double(), layouts, sides, strict=True):
        across = widths[other].double() if len(widths) == 2 else theta  # a single axis has lines of one point
        taps = torch.exp(-0.5 * (_places(_reach(across, layout[1]) + 1) / across).square()).float()
        pairs = theta.new_zeros(layout[0], 2 * _reach(theta, layout[0]) + 1)
        for q, error in zip(saved, errors, strict=True):
            a, factor = _by_message(error, energies)
            line_pairs(a, q, layout, factor * taps, before, after, pairs)
        found.append(_by_axis(pairs, theta, kernel.powers))
    return torch.stack(found).to(widths.dtype)


def _places(count: int) -> Tensor:  # (count,)
    return torch.arange(count, dtype=torch.int64, device="cpu")


def _reach(theta: Tensor, length: int) -> int:
    """Give how far apart two places of a line count: a weight of 1e-7."""
    return min(length - 1, math.ceil(float(theta) * math.sqrt(2 * math.log(1e7))))


def _by_axis(pairs: Tensor, theta: Tensor, powers: tuple[float, float]) -> Tensor:
    """Differentiate sum over y, r of pairs[y, r] after_y k_r before_(y + r), k the Gaussian of an axis."""
    count, reach = len(pairs), pairs.shape[1] // 2
    steps = _places(2 * reach + 1) - reach
    others = _places(count)[:, None] + steps
    inside = (others >= 0) & (others < count)
    with torch.enable_grad():
        theta = theta.clone().requires_grad_()
        weights = torch.exp(-0.5 * (steps / theta).square())
        mass = (weights * inside).sum(1)
        after, before = mass ** powers[1], mass ** powers[0]
        total = (pairs * inside * weights * after[:, None] * before[others.clamp(0, count - 1)]).sum()
        (by_theta,) = torch.autograd.grad(total, theta)
    return by_theta


def _by_message(error: Tensor, energies: Tensor) -> tuple[Tensor, float]:  # (G, N, W)
    """Give dL/dmessage as rows and what they are to be multiplied by."""
    if energies.dim() == 0:
        return error, -float(energies)
    groups, points, width = error.shape
    labels = energies.shape[0]
    rows = error.permute(1, 0, 2).reshape(points, groups * width)
    matrix = torch.diag(energies) if energies.dim() == 1 else energies
    padded = torch.nn.functional.pad(matrix.float(), (0, groups * width - labels) * 2)
    return (rows @ padded).view(points, groups, width).permute(1, 0, 2).contiguous(), -1.0


def _by_mass(kernel: LatticeKernel, ahead: Tensor, behind: Tensor) -> Tensor:  # (N,)
    """Give dL/dmass from sums of after a·Kb and before b·K'a."""
    return (kernel.powers[1] * ahead + kernel.powers[0] * behind) / (kernel.mass + 1e-20)


def _forth(kernel: LatticeKernel) -> Callable[[Tensor, bool], Tensor]:
    """Give the bare filter, for (N,) or (1, C, N)."""

    def forth(values: Tensor, reverse: bool) -> Tensor:
        given = values.reshape(1, -1, values.shape[-1])
        parts = [lattice_filter(given, lattice, reverse=reverse) for lattice in kernel.lattices]
        return (sum(parts[1:], parts[0]) * (kernel.factor / len(parts))).reshape(values.shape)

    return forth


def _by_points(
    saved: Tensor,
    errors: Tensor,
    energies: Tensor,
    centred: Tensor,  # (d, N)
    kernel: LatticeKernel,
) -> Tensor:  # (d, N), by the scaled features
    forth = _forth(kernel)
    found = torch.zeros_like(centred)

    def add_moments(a: Tensor, b: Tensor, kb: Tensor, ka: Tensor) -> None:
        for k, f in enumerate(centred):
            cross, back = forth(f * b, False), forth(f * a, True)
            found[k] -= (a * (f * kb - cross) + b * (f * ka - back)).sum((0, 1))

    by_mass = torch.zeros_like(kernel.mass)
    for a, b in _channels(saved, errors, energies):
        a, b = kernel.after * a, kernel.before * b
        kb, ka = forth(b, False), forth(a, True)
        add_moments(a, b, kb, ka)
        by_mass += _by_mass(kernel, (a * kb).sum((0, 1)), (b * ka).sum((0, 1)))
    if any(kernel.powers):
        pair = by_mass[None, None], torch.ones_like(by_mass)[None, None]
        add_moments(*pair, kernel.mass[None, None], forth(pair[0], True))
    return found


def _channels(saved: Tensor, errors: Tensor, energies: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Give each iteration's a and b as (1, C, N) in channel order."""
    for q, error in zip(saved, errors, strict=True):
        a, factor = _by_message(error, energies)
        b, a = (rows.permute(0, 2, 1).flatten(0, 1)[None].float().contiguous() for rows in (q, a))
        yield factor * a, b
