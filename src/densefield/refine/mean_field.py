"""Mean field over kernels: an image and features become terms, and the op runs the iterations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.utils.checkpoint import checkpoint

from densefield.checks import InputError, check, check_finite, check_in_unit, shown, whole_number
from densefield.ops.mean_field import LatticeTerm, Term
from densefield.ops.mean_field import mean_field as infer
from densefield.ops.mean_field.dense import dense_filter
from densefield.ops.mean_field.plain import mean_field_by_ops
from densefield.ops.mean_field.scores import check_scores, levelled
from densefield.ops.mean_field.terms import each_item, lattices_of
from densefield.ops.memory import check_memory
from densefield.refine.compatibility import Compatibility, Potts, as_tensor, check_compatibility
from densefield.refine.kernels import BilateralKernel, FeatureKernel, Field, Kernel, check_kernels

Normalization: TypeAlias = Literal["symmetric", "before", "after", "none"]

MANY_SHIFTS = 6  # errors fall to 0.6 to 0.7 of one filled lattice's on real crops
MANY_ROWS = 1 << 16  # a lattice of so many points costs next to nothing
SMALL_IMAGE = 1 << 11  # pixels; six lattices of so few take milliseconds, as on score maps of stride 8


class Inference(NamedTuple):
    """How a mean field runs on terms that are bound to an image; `mean_field` explains it."""

    iterations: int
    normalization: Normalization = "symmetric"
    prune: float = 0.0
    half: bool = True  # marginals may be stored in half precision
    dense: bool = False


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
) -> Tensor:  # (B, K, *size), log-marginals
    """Mean-field inference of a fully connected CRF (Krähenbühl and Koltun 2011, algorithm 1).

    Q ← softmax(-unary - Σ_m w_m μ_m K̃_m Q), from softmax(-unary) or `initial`; K̃ is normalised D^-½KD^-½ ("symmetric"),
    KD^-1 ("before"), D^-1K ("after") or has the kernel's true mass ("none"). μ is `compatibility` (`Potts()`), one for
    all kernels or one each. Any number of axes: images, volumes, video, point sets. Differentiable by all tensors.
    `prune`: labels whose first marginal is below it everywhere send no messages. `accurate` averages shifted lattices,
    `dense` sums over all pairs of pixels, exact, O(N²), on the CPU. `recompute` keeps only every √iterations-th state
    for the backward pass. Raises `InputError` for what does not fit.
    """
    _check_map("unary", unary)
    iterations = whole_number("iterations", iterations, 0)
    if unary.numel() == 0:
        return torch.log_softmax(-unary, 1)
    check_scores("unary", unary, energies=True)
    terms = pairwise_terms(unary, kernels, compatibility, image=image, features=features, accurate=accurate)
    how = Inference(iterations, normalization, prune, not accurate, dense)
    return (run_recomputed if recompute else run)(-unary, terms, how, initial)


def run(
    scores: Tensor,  # (B, K, *size), negative energies
    terms: Sequence[Term],
    how: Inference,
    initial: Tensor | None = None,
) -> Tensor:  # (B, K, *size), log-marginals
    """The op on terms that are bound to an image already: for callers that change weights or go step by step."""
    if how.dense:

        def densely(item: Tensor, mine: Sequence[Term], start: Tensor | None) -> Tensor:
            return _densely(item, mine, how, start)

        return each_item(densely, levelled(scores), terms, initial).to(scores.dtype)
    return infer(
        scores,
        terms,
        iterations=how.iterations,
        normalization=how.normalization,
        initial=initial,
        prune=how.prune,
        half=how.half,
    )


def run_recomputed(
    scores: Tensor, terms: Sequence[Term], how: Inference, initial: Tensor | None = None
) -> Tensor:  # (B, K, *size), log-marginals
    """`run`, which keeps only every √iterations-th state for the backward pass."""
    if how.iterations < 2 or not torch.is_grad_enabled():
        return run(scores, terms, how, initial)
    check_scores("scores", scores)
    terms = terms if how.dense else with_lattices(terms)
    stride = math.isqrt(how.iterations - 1) + 1
    kind, scores = scores.dtype, scores.to(_wide(scores))  # what goes from stretch to stretch keeps its digits
    log_q = torch.log_softmax(scores if initial is None else initial.to(scores), 1)
    for begin in range(0, how.iterations, stride):
        stretch = how._replace(iterations=min(stride, how.iterations - begin))
        log_q = checkpoint(run, scores, terms, stretch, log_q, use_reentrant=False)
    return log_q.to(kind)


def _densely(scores: Tensor, terms: Sequence[Term], how: Inference, initial: Tensor | None) -> Tensor:
    check(scores.device.type == "cpu", f"dense: wanted tensors on the CPU, received {scores.device}")
    like, points = _wide(scores), math.prod(scores.shape[2:])
    matrices = 3 * len(terms)  # a kernel, its exponent and its normalised copy
    check_memory(matrices * points**2 * like.element_size(), f"dense: kernels of {points} x {points} pixels")
    return mean_field_by_ops(
        scores,
        terms,
        iterations=how.iterations,
        normalization=how.normalization,
        initial=None if initial is None else initial.to(like),
        kernel_filter=dense_filter,
    )


def pairwise_terms(
    scores: Tensor,  # (B, K, *size)
    kernels: Sequence[Kernel],
    compatibility: Compatibility | Sequence[Compatibility] | None = None,
    *,
    image: Tensor | None = None,
    features: Tensor | Sequence[Tensor] = (),
    accurate: bool = False,
) -> list[Term]:
    """Bind kernels to an image and free features; `mean_field` explains the arguments."""
    size, like = tuple(scores.shape[2:]), _wide(scores)
    check_kernels(kernels)
    free = iter(_features(features, kernels, scores))
    pixels = None
    if any(isinstance(kernel, BilateralKernel) for kernel in kernels):
        pixels = None if image is None else _pixels(image, scores)
    terms: list[Term] = []
    for kernel, chosen in zip(kernels, _each(compatibility, len(kernels)), strict=True):
        mine = next(free) if isinstance(kernel, FeatureKernel) else None
        energies = chosen.energies().to(like)
        check(
            energies.dim() == 0 or energies.shape[0] == scores.shape[1],
            f"compatibility: wanted energies for {scores.shape[1]} labels, received {energies.shape[:1].numel()}",
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


def _pixels(image: Tensor, scores: Tensor) -> Tensor:  # (B, channels, N) in 8-bit units, uint8 or floating-point
    shape = tuple(image.shape) if isinstance(image, Tensor) else shown(image)
    wanted = f"({scores.shape[0]}, channels, {', '.join(str(length) for length in scores.shape[2:])})"
    fits = isinstance(image, Tensor) and image.dim() == scores.dim() and image.shape[0] == scores.shape[0]
    check(
        fits and image.shape[1] > 0 and image.shape[2:] == scores.shape[2:],
        f"image: wanted shape {wanted} to fit scores {tuple(scores.shape)}, received {shape}",
    )
    like = _wide(scores)
    if image.dtype == torch.uint8:
        return image.flatten(2)
    if not image.is_floating_point():
        raise InputError(f"image: wanted uint8, or floating-point values in [0, 1], received {image.dtype}")
    check_finite("image", image)
    wanted = "uint8, or floating-point values in [0, 1]"
    hint = "; give the picture as it was before normalization, or other channels as features to a FeatureKernel"
    check_in_unit("image", image, wanted, hint)
    return image.flatten(2).to(like) * 255


def _features(features: Tensor | Sequence[Tensor], kernels: Sequence[Kernel], scores: Tensor) -> list[Tensor]:
    listed = isinstance(features, Tensor | list | tuple)
    check(listed, f"features: wanted a tensor (B, d, *size), or one for each FeatureKernel, received {shown(features)}")
    given = [features] if isinstance(features, Tensor) else list(features)
    count = sum(isinstance(kernel, FeatureKernel) for kernel in kernels)
    check(len(given) == count, f"features: wanted {count}, one for each FeatureKernel, received {len(given)}")
    size, points = tuple(scores.shape[2:]), math.prod(scores.shape[2:])
    bound = []
    for index, tensor in enumerate(given):
        name = "features" if len(given) == 1 else f"features[{index}]"
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else shown(tensor)
        fits = isinstance(tensor, Tensor) and tensor.dim() >= 3 and tensor.shape[0] == scores.shape[0]
        check(
            fits and tuple(tensor.shape[2:]) in (size, (points,)),
            f"{name}: wanted shape {(len(scores), 'd', *size)} to fit scores {tuple(scores.shape)}, received {shape}",
        )
        check(1 <= tensor.shape[1] <= 16, f"{name}: wanted 1 to 16 dimensions, received {tensor.shape[1]}")
        check(not tensor.is_complex(), f"{name}: wanted real numbers, received {tensor.dtype}")
        check_finite(name, tensor)
        bound.append(tensor.flatten(2).to(_wide(scores)))
    return bound
