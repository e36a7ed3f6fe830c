"""Mean field over kernels: scores or energies, image and features become terms, and the op runs the iterations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.utils.checkpoint import checkpoint

from densefield.checks import InputError, check, check_finite, shown, whole_number
from densefield.ops.mean_field import GridTerm, LatticeTerm
from densefield.ops.mean_field import mean_field as infer
from densefield.ops.mean_field.filters import lattices_of
from densefield.ops.mean_field.op import each_item
from densefield.ops.mean_field.reference import dense_mean_field
from densefield.ops.mean_field.scores import check_scores, levelled
from densefield.ops.memory import check_memory
from densefield.refine.compatibility import Compatibility, Potts, as_tensor, check_compatibility
from densefield.refine.kernels import BilateralKernel, FeatureKernel, Field, Kernel, check_kernels

Normalization: TypeAlias = Literal["symmetric", "before", "after", "none"]
Term: TypeAlias = GridTerm | LatticeTerm

MANY_SHIFTS = 6  # errors fall to 0.6 to 0.7 of one filled lattice's on real crops
MANY_ROWS = 1 << 16  # a lattice of so many points costs next to nothing
SMALL_IMAGE = 1 << 11  # pixels; six lattices of so few take milliseconds, as on score maps of stride 8


@_disable_dynamo  # looks at numbers: compiled models call it as it is, and its gradient; imports nothing yet
def mean_field(
    unary: Tensor,  # (B, K, *size), energies -log p
    kernels: Sequence[Kernel],
    compatibility: Compatibility | Sequence[Compatibility] | None = None,
    iterations: int = 10,
    *,
    image: Tensor | None = None,  # (B, channels, *size), uint8 or in [0, 1]
    features: Tensor | Sequence[Tensor] = (),  # (B, d, *size) for each FeatureKernel
    normalization: Normalization = "symmetric",
    initial: Tensor | None = None,  # (B, K, *size), log-marginals
    prune: float = 0.0,
    accurate: bool = False,
    dense: bool = False,
    recompute: bool = False,
    scores: bool = False,
) -> Tensor:  # (B, K, *size), log-marginals
    """Mean-field inference of a fully connected CRF (Krähenbühl and Koltun 2011, algorithm 1).

    Q ← softmax(-unary - Σ_m w_m μ_m K̃_m Q), from softmax(-unary) or `initial`; K̃ is normalised D^-½KD^-½ ("symmetric"),
    KD^-1 ("before"), D^-1K ("after") or has the kernel's true mass ("none"). μ is `compatibility` (`Potts()`), one for
    all kernels or one each. Any number of axes: images, volumes, video, point sets. Differentiable by all tensors.
    `prune`: labels whose first marginal is below it everywhere send no messages. `accurate` averages shifted lattices,
    `dense` sums over all pairs of pixels, exact, O(N²), on the CPU. `recompute` keeps only every √iterations-th state
    for the backward pass. `scores`: `unary` holds scores, that is negative energies, which spares a copy. Raises
    `InputError` for what does not fit.
    """
    _check_map("unary", unary)
    iterations = whole_number("iterations", iterations, 0)
    if unary.numel() == 0:
        return torch.log_softmax(unary if scores else -unary, 1)
    if scores and recompute:
        check_scores("scores", unary)
        unary, scores = -unary, False
    terms = pairwise_terms(unary, kernels, compatibility, image=image, features=features, accurate=accurate)
    if not recompute or iterations < 2 or not torch.is_grad_enabled():
        return run(unary, terms, iterations, normalization, initial, prune, not accurate, dense, scores)
    terms = terms if dense else with_lattices(terms)
    stride = math.isqrt(iterations - 1) + 1
    kind, unary = unary.dtype, unary.to(_wide(unary))  # what goes from stretch to stretch keeps its digits
    log_q = torch.log_softmax(-unary if initial is None else initial.to(unary), 1)
    for begin in range(0, iterations, stride):
        count = min(stride, iterations - begin)
        log_q = checkpoint(
            run, unary, terms, count, normalization, log_q, prune, not accurate, dense, use_reentrant=False
        )
    return log_q.to(kind)


def run(
    unary: Tensor,
    terms: Sequence[Term],
    iterations: int,
    normalization: Normalization,
    initial: Tensor | None = None,
    prune: float = 0.0,
    half: bool = True,
    dense: bool = False,
    scores: bool = False,
) -> Tensor:
    """The op on terms that are bound to an image already: for callers that change weights or go step by step."""
    if dense:

        def densely(energies: Tensor, mine: Sequence[Term], start: Tensor | None) -> Tensor:
            return _densely(energies, mine, iterations, normalization, start)

        return each_item(densely, -levelled(unary, scores), terms, initial).to(unary.dtype)
    return infer(
        unary,
        terms,
        iterations=iterations,
        normalization=normalization,
        initial=initial,
        prune=prune,
        half=half,
        scores=scores,
    )


def _densely(
    unary: Tensor, terms: Sequence[Term], iterations: int, normalization: Normalization, initial: Tensor | None
) -> Tensor:
    check(unary.device.type == "cpu", f"dense: wanted tensors on the CPU, received {unary.device}")
    like, points = _wide(unary), math.prod(unary.shape[2:])
    matrices = 3 * len(terms)  # a kernel, its exponent and its normalised copy
    check_memory(matrices * points**2 * like.element_size(), f"dense: kernels of {points} x {points} pixels")
    return dense_mean_field(
        unary,
        terms,
        iterations=iterations,
        normalization=normalization,
        initial=None if initial is None else initial.to(like),
    )


def pairwise_terms(
    unary: Tensor,  # (B, K, *size)
    kernels: Sequence[Kernel],
    compatibility: Compatibility | Sequence[Compatibility] | None = None,
    *,
    image: Tensor | None = None,
    features: Tensor | Sequence[Tensor] = (),
    accurate: bool = False,
) -> list[Term]:
    """Bind kernels to an image and free features; `mean_field` explains the arguments."""
    size, like = tuple(unary.shape[2:]), _wide(unary)
    check_kernels(kernels)
    free = iter(_features(features, kernels, unary))
    pixels = None
    if any(isinstance(kernel, BilateralKernel) for kernel in kernels):
        pixels = None if image is None else _pixels(image, unary)
    terms: list[Term] = []
    for kernel, chosen in zip(kernels, _each(compatibility, len(kernels)), strict=True):
        mine = next(free) if isinstance(kernel, FeatureKernel) else None
        energies = chosen.energies().to(like)
        check(
            energies.dim() == 0 or energies.shape[0] == unary.shape[1],
            f"compatibility: wanted energies for {unary.shape[1]} labels, received {energies.shape[:1].numel()}",
        )
        energies = as_tensor(kernel.weight).to(like) * energies
        term = kernel.term(Field(size, pixels, mine, like), energies)
        terms.append(_filled(term, accurate) if isinstance(term, LatticeTerm) else term)
    return terms


def _filled(term: LatticeTerm, accurate: bool) -> LatticeTerm:
    """Fill the lattice where blurring it stays cheap beside the pixels' own work; when accurate, nearly always.

    Several shifted lattices are averaged when accurate, and for images so small that they cost next to nothing.
    """
    pixels = term.features.shape[2]
    shifts = min(MANY_SHIFTS, max(1, MANY_SHIFTS * SMALL_IMAGE // max(pixels, 1)))
    if accurate:
        shifts, fill_rows = max(MANY_SHIFTS, 2 * shifts), max(8 * pixels, MANY_ROWS)
    else:
        fill_rows = max(pixels // 2, MANY_ROWS)
    return dataclasses.replace(term, shifts=shifts, fill_rows=fill_rows)


def with_lattices(terms: Sequence[Term]) -> list[Term]:
    """The terms with their lattices built, to be used any number of times with the same widths."""
    return [
        dataclasses.replace(term, lattice=lattices_of(term)) if isinstance(term, LatticeTerm) else term
        for term in terms
    ]


def _each(compatibility: Compatibility | Sequence[Compatibility] | None, count: int) -> Sequence[Compatibility]:
    if compatibility is None:
        return [Potts()] * count
    each = check_compatibility(compatibility, count)
    return list(each) * count if len(each) == 1 else each


def _wide(tensor: Tensor) -> Tensor:
    """Give a tensor's device and type with one element, at least float32."""
    return tensor.new_zeros((), dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32)


def _check_map(name: str, tensor: Tensor) -> None:
    check(
        isinstance(tensor, Tensor) and tensor.dim() >= 3 and tensor.shape[1] > 0,
        f"{name}: wanted a tensor (B, K, *size) with at least one label, such as (B, K, H, W), received "
        f"{tuple(tensor.shape) if isinstance(tensor, Tensor) else shown(tensor)}",
    )
    check(tensor.is_floating_point(), f"{name}: wanted a floating-point tensor, received {tensor.dtype}")


def _pixels(image: Tensor, unary: Tensor) -> Tensor:  # (B, channels, N) in 8-bit units, uint8 or floating-point
    shape = tuple(image.shape) if isinstance(image, Tensor) else shown(image)
    wanted = f"({unary.shape[0]}, channels, {', '.join(str(length) for length in unary.shape[2:])})"
    fits = isinstance(image, Tensor) and image.dim() == unary.dim() and image.shape[0] == unary.shape[0]
    check(
        fits and image.shape[1] > 0 and image.shape[2:] == unary.shape[2:],
        f"image: wanted shape {wanted} to fit scores {tuple(unary.shape)}, received {shape}",
    )
    like = _wide(unary)
    if image.dtype == torch.uint8:
        return image.flatten(2)
    if not image.is_floating_point():
        raise InputError(f"image: wanted uint8, or floating-point values in [0, 1], received {image.dtype}")
    check_finite("image", image)
    low, high = (float(bound) for bound in torch.aminmax(image.detach()))
    # Resampling may overshoot a little; 0 … 255 and normalised images are the mistakes to catch.
    check(
        low >= -0.5 and high <= 1.5,
        f"image: wanted uint8, or floating-point values in [0, 1], received {low:g} to {high:g}; "
        "give the picture as it was before normalisation, or other channels as features to a FeatureKernel",
    )
    return image.flatten(2).to(like) * 255


def _features(features: Tensor | Sequence[Tensor], kernels: Sequence[Kernel], unary: Tensor) -> list[Tensor]:
    listed = isinstance(features, Tensor | list | tuple)
    check(listed, f"features: wanted a tensor (B, d, *size), or one for each FeatureKernel, received {shown(features)}")
    given = [features] if isinstance(features, Tensor) else list(features)
    count = sum(isinstance(kernel, FeatureKernel) for kernel in kernels)
    check(len(given) == count, f"features: wanted {count}, one for each FeatureKernel, received {len(given)}")
    size, points = tuple(unary.shape[2:]), math.prod(unary.shape[2:])
    bound = []
    for index, tensor in enumerate(given):
        name = "features" if len(given) == 1 else f"features[{index}]"
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else shown(tensor)
        fits = isinstance(tensor, Tensor) and tensor.dim() >= 3 and tensor.shape[0] == unary.shape[0]
        check(
            fits and tuple(tensor.shape[2:]) in (size, (points,)),
            f"{name}: wanted shape {(unary.shape[0], 'd', *size)} to fit scores {tuple(unary.shape)}, received {shape}",
        )
        check(1 <= tensor.shape[1] <= 16, f"{name}: wanted 1 to 16 dimensions, received {tensor.shape[1]}")
        check(not tensor.is_complex(), f"{name}: wanted real numbers, received {tensor.dtype}")
        check_finite(name, tensor)
        bound.append(tensor.flatten(2).to(_wide(unary)))
    return bound
