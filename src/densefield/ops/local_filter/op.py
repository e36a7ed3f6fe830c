"""Local filtering: what is called, checked and registered, with gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from densefield.checks import InputError, check, check_finite, check_map, finite_number, shown
from densefield.derivatives import refuse_tangents
from densefield.ops.local_filter import native, plain
from densefield.ops.local_filter.filter import Filter, Options
from densefield.ops.local_filter.window import Border, Distance, Window, check_embeddings, check_window
from densefield.ops.native import serves
from densefield.ops.operator import Operator, operator, schema_of


def affinity_filter(
    scores: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    scale: Tensor | float,  # () lambda
    *,
    window: int = 9,
    rate: int = 1,
    iterations: int = 1,
    distance: Distance = "l1",
    normalize: bool = True,
    eps: float = 0.0,
    include_center: bool = True,
    border: Border = "valid",
) -> Tensor:  # (B, C, H, W)
    """Average scores by masks: out_i = sum_j m_ij s_j / (sum_j m_ij + eps), m_ij = exp(-scale d(e_i, e_j)).

    Harley, Derpanis, Kokkinos, "Segmentation-Aware Convolutional Networks Using Local Attention Masks", ICCV 2017.
    d is `l1` |e_i - e_j|, `l2` ½|e_i - e_j|² or `dot` -e_i·e_j. The masks are computed once and applied `iterations`
    times; without `normalize` nothing is divided. Outside the image lies, by `border`: nothing (`valid`); embedding and
    score 0 (`zero`); mask 1 and score 0 (`published`). Where all masks underflow the result is 0. Differentiable once.
    Raises `InputError` for shapes, types or devices that do not fit, NaN, an even window or a negative scale.
    """
    options = Options(window, rate, iterations, distance, normalize, eps, include_center, border).checked()
    check_embeddings(embeddings)
    _check_scores(scores, embeddings)
    if isinstance(scale, Tensor):
        if scale.numel() != 1:
            raise InputError(f"scale: wanted one number, received shape {tuple(scale.shape)}")
        if scale.is_complex():
            raise InputError(f"scale: wanted a real number, received {scale.dtype}")
    else:
        scale = finite_number("scale", scale)
    kind = torch.promote_types(torch.promote_types(scores.dtype, embeddings.dtype), torch.float32)
    where = scale.device if isinstance(scale, Tensor) else scores.device
    factor = torch.as_tensor(scale, dtype=kind, device=where)
    factor = factor.reshape(()) if factor.dim() > 0 else factor
    keep = torch.is_grad_enabled() and (scores.requires_grad or embeddings.requires_grad or factor.requires_grad)
    tensors = scores.to(kind).contiguous(), embeddings.to(kind).contiguous(), factor
    result: Tensor = _filter(*tensors, keep, *options)[0]
    return result.to(scores.dtype)


def _check_scores(scores: Tensor, embeddings: Tensor) -> None:
    if not isinstance(scores, Tensor) or scores.dim() != 4 or not scores.is_floating_point() or scores.numel() == 0:
        received = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else shown(scores)
        raise InputError(f"scores: wanted a floating-point tensor (B, C, H, W) with no size 0, received {received}")
    size, wanted = scores.shape, embeddings.shape
    if size[0] != wanted[0] or size[2:] != wanted[2:]:
        fits = f"({wanted[0]}, C, {wanted[2]}, {wanted[3]}) to fit embeddings {tuple(wanted)}"
        raise InputError(f"scores: wanted shape {fits}, received {tuple(size)}")
    if scores.device != embeddings.device:
        devices = f"{scores.device}, received {embeddings.device}"
        raise InputError(f"embeddings: wanted on the device of scores, {devices}")


def _filtered(
    scores: Tensor, embeddings: Tensor, scale: Tensor, keep: bool, *options: Any
) -> tuple[Tensor, list[Tensor]]:
    """Give the result and, where `keep`, masks, factors and maps between the iterations."""
    chosen = Options(*options)
    by = Filter.by(embeddings, _value_of(scale, embeddings, chosen.distance), chosen)
    forward = native.forward if serves(scores) else plain.forward
    if forward is plain.forward:
        check_finite("scores", scores)
        check_finite("embeddings", embeddings)
    try:
        return forward(by, scores.contiguous(), embeddings.contiguous(), keep)
    except ValueError:  # the kernels saw NaN or Inf on their way
        check_finite("scores", scores)
        check_finite("embeddings", embeddings)
        raise


def _value_of(scale: Tensor, embeddings: Tensor, distance: str) -> float:
    value = float(scale)
    if not 0 <= value < math.inf:
        raise InputError(f"scale: wanted a number of at least 0, received {value}")
    if distance == "dot":
        highest = value * float(embeddings.square().sum(1).max())
        limit = 0.9 * math.log(torch.finfo(embeddings.dtype).max)
        check(
            not highest > limit,
            f"embeddings: scale |e|² reaches {highest:.0f} and its exp overflows; wanted below {limit:.0f}: "
            "normalise the embeddings or lower the scale",
        )
    return value


_filter = Operator(
    "affinity_filter",
    _filtered,
    f"(Tensor scores, Tensor embeddings, Tensor scale, bool keep, {schema_of(Options)}) -> (Tensor, Tensor[])",
)


@_filter.fake
def _(scores: Tensor, embeddings: Tensor, scale: Tensor, keep: bool, *options: Any) -> tuple[Tensor, list[Tensor]]:
    result, chosen = torch.empty_like(scores, memory_format=torch.contiguous_format), Options(*options)
    if not keep:
        return result, []
    window = Window.over(scores, chosen.window, chosen.rate)
    batch, channels, height, width = scores.shape
    factor = scores.new_empty((batch, height, width) if chosen.normalize else 0)
    masks: Any = (batch, window.pairs, height, width)
    maps: Any = scores.shape
    if serves(scores):
        masks, maps = window.elements(window.pairs), window.map_elements(channels)
    return result, [scores.new_empty(masks), factor, *(scores.new_empty(maps) for _ in range(chosen.iterations - 1))]


def _gradients(
    gradient: Tensor,
    scores: Tensor,
    embeddings: Tensor,
    scale: Tensor,
    kept: Sequence[Tensor],
    wanted: Sequence[bool],
    *options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients by scores, embeddings and scale; those not wanted are empty."""
    by = Filter.by(embeddings, float(scale), Options(*options))
    backward = native.backward if serves(scores) else plain.backward
    of_scores, of_embeddings, of_centre, of_floor, of_scale = backward(
        by, gradient.contiguous(), scores.contiguous(), embeddings.contiguous(), kept, wanted
    )
    none = scores.new_empty(0)
    of_embeddings = of_embeddings if wanted[1] else None
    of_rest = by.add_gradients(embeddings, of_centre, of_floor, of_embeddings)
    return (
        none if of_scores is None else of_scores,
        none if of_embeddings is None else of_embeddings,
        (of_rest + of_scale).to(scale) if wanted[2] else none,
    )


_filter_backward = Operator(
    "affinity_filter_backward",
    _gradients,
    "(Tensor gradient, Tensor scores, Tensor embeddings, Tensor scale, Tensor[] kept, bool[] wanted, "
    f"{schema_of(Options)}) -> (Tensor, Tensor, Tensor)",
)


@_filter_backward.fake
def _(gradient: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
    wanted = tensors[4]
    return tuple(
        torch.empty_like(tensor, memory_format=torch.contiguous_format) if want else gradient.new_empty(0)
        for tensor, want in zip(tensors, wanted, strict=False)
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    scores, embeddings, scale, _, *options = inputs
    result, kept = output
    ctx.save_for_backward(scores, embeddings, scale, result, *kept)
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)
    ctx.options = options


def _backward(
    ctx: Any, saved: Sequence[Tensor], gradient: Tensor | None, _: list[Tensor | None]
) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return ()
    wanted = list(ctx.needs_input_grad[:3])
    results = _filter_backward(gradient, *saved[:3], list(saved[3:]), wanted, *ctx.options)
    return tuple(value if want else None for value, want in zip(results, wanted, strict=True))


_filter.gradient(_backward, _setup_context, once=True)


@torch.no_grad()
def filter_by_masks(
    scores: Tensor,  # (B, C, H, W)
    masks: Tensor,  # (B, pairs, H, W), in the order of `Window.slices`
    *,
    window: int,
    rate: int = 1,
    iterations: int = 1,
    normalize: bool = True,
    eps: float = 0.0,
    center: float = 1.0,
) -> Tensor:  # (B, C, H, W)
    """Apply out_i = sum_j m_ij s_j / (sum_j m_ij + eps) `iterations` times, with m_ii = `center`; no gradient.

    A mask stands at the pair's first pixel, and serves both directions. Raises `InputError` for shapes that do not fit.
    """
    check_window(window, rate, "l1", "valid")
    check_map("scores", scores)
    geometry = Window.over(scores, window, rate)
    check_map("masks", masks, geometry.pairs)
    check(
        masks.shape[0] == scores.shape[0] and masks.shape[2:] == scores.shape[2:] and scores.numel() > 0,
        f"masks: wanted batch and size of scores {tuple(scores.shape)}, not empty, received {tuple(masks.shape)}",
    )
    check(iterations >= 1, f"iterations: wanted 1 or more, received {iterations}")
    refuse_tangents("filter_by_masks", (scores, masks))
    check_finite("scores", scores)
    check_finite("masks", masks)
    kind = torch.promote_types(torch.promote_types(scores.dtype, masks.dtype), torch.float32)
    by = Filter(geometry, Options(window, rate, iterations, normalize=normalize), 1.0, center, eps)
    wide = scores.to(kind).contiguous()
    if serves(scores):
        result = native.apply(by, wide, native.planes_of(geometry, masks.to(kind)), keep=False)[0]
    else:
        inside = masks.to(kind, copy=True)
        plain.clear_outside(geometry, inside)
        result = plain.apply(by, wide, inside, keep=False)[0]
    return result.to(scores.dtype)


def pair_distances(
    embeddings: Tensor,  # (B, D, H, W)
    *,
    window: int = 3,
    rate: int = 1,
    distance: Distance = "l1",
) -> Tensor:  # (B, pairs, H, W)
    """Give the distance of each pair of the half window at its first pixel, in the order of `Window.slices`.

    It is 0 where the pair leaves the image. Differentiable once; no copy of the embeddings is kept for each offset.
    Half types give float32. Raises `InputError` for what is no window or no map.
    """
    check_window(window, rate, distance, "valid")
    check_embeddings(embeddings)
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    result: Tensor = _distances(wide, window, rate, distance)
    return result


@operator("pair_distances")
def _distances(embeddings: Tensor, window: int, rate: int, distance: str) -> Tensor:
    return plain.pair_distances(Window.over(embeddings, window, rate), embeddings, distance)


@_distances.fake
def _(embeddings: Tensor, window: int, rate: int, distance: str) -> Tensor:
    batch, _, height, width = embeddings.shape
    return embeddings.new_empty((batch, Window.over(embeddings, window, rate).pairs, height, width))


@operator("pair_distances_backward")
def _distances_backward(gradient: Tensor, embeddings: Tensor, window: int, rate: int, distance: str) -> Tensor:
    return plain.pair_gradient(Window.over(embeddings, window, rate), embeddings, gradient, 1.0, distance)


@_distances_backward.fake
def _(gradient: Tensor, embeddings: Tensor, window: int, rate: int, distance: str) -> Tensor:
    return torch.empty_like(embeddings)


def _remember(ctx: Any, inputs: tuple[Tensor, int, int, str], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.options = inputs[1:]


def _distances_gradient(ctx: Any, saved: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor]:
    return (_distances_backward(gradient, *saved, *ctx.options),)


_distances.gradient(_distances_gradient, _remember, once=True)
