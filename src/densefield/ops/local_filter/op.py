"""`affinity_filter`: scores averaged over a window by learned affinities; the op behind it and its gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from densefield.checks import check, check_finite, check_tensor, finite_number, whole_number
from densefield.derivatives import differentiable_once, refuse_tangents
from densefield.ops import native
from densefield.ops.local_filter import kernels, shifts
from densefield.ops.local_filter.edges import add_edge_gradients, edges
from densefield.ops.local_filter.window import Border, Distance, Window, check_embeddings, check_window
from densefield.ops.operator import Operator


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
    check_window(window, rate, distance, border)
    check_embeddings(embeddings)
    batch, _, height, width = embeddings.shape
    wanted = f"({batch}, C, {height}, {width})"
    check_tensor("scores", scores, "a floating-point tensor (B, C, H, W)")
    check(
        scores.dim() == 4 and scores.is_floating_point() and scores.numel() > 0,
        "scores: wanted a floating-point tensor (B, C, H, W) with no size 0, "
        f"received {scores.dtype} {tuple(scores.shape)}",
    )
    check(
        scores.shape[0] == embeddings.shape[0] and scores.shape[2:] == embeddings.shape[2:],
        f"scores: wanted shape {wanted} to fit embeddings {tuple(embeddings.shape)}, received {tuple(scores.shape)}",
    )
    check(
        scores.device == embeddings.device,
        f"embeddings: wanted on the device of scores, {scores.device}, received {embeddings.device}",
    )
    iterations = whole_number("iterations", iterations, 1, 256)
    check(finite_number("eps", eps) >= 0, f"eps: wanted a number of at least 0, received {eps}")
    if isinstance(scale, Tensor):
        check(scale.numel() == 1, f"scale: wanted one number, received shape {tuple(scale.shape)}")
        check(not scale.is_complex(), f"scale: wanted a real number, received {scale.dtype}")
    else:
        scale = finite_number("scale", scale)
    kind = torch.promote_types(torch.promote_types(scores.dtype, embeddings.dtype), torch.float32)
    where = scale.device if isinstance(scale, Tensor) else scores.device
    factor = torch.as_tensor(scale, dtype=kind, device=where).reshape(())
    keep = torch.is_grad_enabled() and (scores.requires_grad or embeddings.requires_grad or factor.requires_grad)
    tensors = scores.to(kind).contiguous(), embeddings.to(kind).contiguous(), factor
    refuse_tangents("affinity_filter", tensors)
    options = (window, rate, iterations, distance, normalize, float(eps), include_center, border, keep)
    op: Callable[..., Any] = _filter if not _is_plain(*tensors) else _FilterFunction.apply if keep else _filtered
    result: Tensor = op(*tensors, *options)[0]
    return result.to(scores.dtype)


def _is_plain(*tensors: Tensor) -> bool:
    """Say whether autograd alone looks on: ops are then called without the dispatcher, which takes 0.2 ms."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._are_functorch_transforms_active()
        and all(type(tensor) in (Tensor, Parameter) for tensor in tensors)
    )


def _scale_of(scale: Tensor, embeddings: Tensor, distance: str) -> float:
    value = float(scale)
    check(value >= 0 and math.isfinite(value), f"scale: wanted a number of at least 0, received {value}")
    if distance == "dot":
        highest = value * float(embeddings.square().sum(1).max())
        limit = 0.9 * math.log(torch.finfo(embeddings.dtype).max)
        check(
            not highest > limit,
            f"embeddings: scale |e|² reaches {highest:.0f} and its exp overflows; wanted below {limit:.0f}: "
            "normalise the embeddings or lower the scale",
        )
    return value


def _filtered(
    scores: Tensor,
    embeddings: Tensor,
    scale: Tensor,
    window: int,
    rate: int,
    iterations: int,
    distance: str,
    normalize: bool,
    eps: float,
    include_center: bool,
    border: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Give the result and, where `keep`, masks, factors and maps between the iterations."""
    geometry = Window.over(scores, window, rate)
    value = _scale_of(scale, embeddings, distance)
    around = edges(
        geometry,
        embeddings,
        value,
        distance=distance,
        normalize=normalize,
        eps=eps,
        include_center=include_center,
        border=border,
    )
    if not _is_native(scores):
        check_finite("scores", scores)
        check_finite("embeddings", embeddings)
    forward = kernels.filter_forward if _is_native(scores) else shifts.filter_forward
    try:
        return forward(
            geometry,
            scores.contiguous(),
            embeddings.contiguous(),
            value,
            around,
            iterations=iterations,
            distance=distance,
            normalize=normalize,
            keep=keep,
        )
    except ValueError:  # the kernels saw NaN or Inf on their way
        check_finite("scores", scores)
        check_finite("embeddings", embeddings)
        raise


def _is_native(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and native.available()


_filter = Operator("affinity_filter", _filtered)


@_filter.fake
def _(
    scores: Tensor,
    embeddings: Tensor,
    scale: Tensor,
    window: int,
    rate: int,
    iterations: int,
    distance: str,
    normalize: bool,
    eps: float,
    include_center: bool,
    border: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    result = torch.empty_like(scores, memory_format=torch.contiguous_format)
    if not keep:
        return result, scores.new_empty(0), scores.new_empty(0), []
    geometry = Window.over(scores, window, rate)
    pixels = (scores.shape[0], *scores.shape[2:])
    factor = scores.new_empty(pixels if normalize else 0)
    if _is_native(scores):
        maps = [scores.new_empty(geometry.map_elements(scores.shape[1])) for _ in range(iterations - 1)]
        return result, scores.new_empty(geometry.elements(geometry.pairs)), factor, maps
    masks = scores.new_empty((pixels[0], geometry.pairs, *pixels[1:]))
    return result, masks, factor, [torch.empty_like(result) for _ in range(iterations - 1)]


def _gradients(
    gradient: Tensor,
    scores: Tensor,
    embeddings: Tensor,
    scale: Tensor,
    result: Tensor,
    masks: Tensor,
    factor: Tensor,
    maps: list[Tensor],
    window: int,
    rate: int,
    iterations: int,
    distance: str,
    normalize: bool,
    eps: float,
    include_center: bool,
    border: str,
    by_scores: bool,
    by_embeddings: bool,
    by_scale: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients by scores, embeddings and scale; those not wanted are empty."""
    geometry = Window.over(scores, window, rate)
    value = float(scale)
    around = edges(
        geometry,
        embeddings,
        value,
        distance=distance,
        normalize=normalize,
        eps=eps,
        include_center=include_center,
        border=border,
    )
    backward = kernels.filter_backward if _is_native(scores) else shifts.filter_backward
    of_scores, of_embeddings, of_centre, of_floor, of_scale = backward(
        geometry,
        gradient.contiguous(),
        scores.contiguous(),
        embeddings.contiguous(),
        result,
        value,
        around,
        masks,
        factor,
        maps,
        iterations=iterations,
        distance=distance,
        normalize=normalize,
        by_scores=by_scores,
        by_masks=by_embeddings or by_scale,
        by_scale=by_scale,
    )
    varies = border == "zero" and distance != "dot"  # the floor, with the embeddings
    of_edges = add_edge_gradients(
        geometry,
        embeddings,
        value,
        of_centre,
        of_floor if varies else None,
        of_embeddings if by_embeddings else None,
        distance=distance,
    )
    return (
        scores.new_empty(0) if of_scores is None else of_scores,
        of_embeddings if of_embeddings is not None and by_embeddings else scores.new_empty(0),
        (of_edges + of_scale).to(scale) if by_scale else scores.new_empty(0),
    )


_filter_backward = Operator("affinity_filter_backward", _gradients)


@_filter_backward.fake
def _(
    gradient: Tensor,
    scores: Tensor,
    embeddings: Tensor,
    scale: Tensor,
    result: Tensor,
    masks: Tensor,
    factor: Tensor,
    maps: list[Tensor],
    window: int,
    rate: int,
    iterations: int,
    distance: str,
    normalize: bool,
    eps: float,
    include_center: bool,
    border: str,
    by_scores: bool,
    by_embeddings: bool,
    by_scale: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(scores) if by_scores else scores.new_empty(0),
        torch.empty_like(embeddings) if by_embeddings else scores.new_empty(0),
        torch.empty_like(scale) if by_scale else scores.new_empty(0),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, list[Tensor]]) -> None:
    scores, embeddings, scale, *options, _ = inputs
    result, masks, factor, maps = output
    ctx.save_for_backward(scores, embeddings, scale, result, masks, factor, *maps)
    ctx.set_materialize_grads(False)
    ctx.options = options


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, list[Tensor]]) -> None:
    _, masks, factor, maps = output
    _save(ctx, inputs, output)
    ctx.mark_non_differentiable(masks, factor, *maps)


def _backward(ctx: Any, saved: Sequence[Tensor], *of_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
    gradient, none = of_outputs[0], (None,) * 12
    if gradient is None:
        return none
    wanted = ctx.needs_input_grad[:3]
    gradients: Callable[..., Any] = _gradients if _is_plain(gradient, *saved) else _filter_backward
    results = gradients(gradient, *saved[:6], list(saved[6:]), *ctx.options, *wanted)
    return (*(value if want else None for value, want in zip(results, wanted, strict=True)), *none[3:])


_filter.gradient(_backward, _setup_context, once=True)


class _FilterFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor]:
        output = _filtered(*inputs)
        _save(ctx, inputs, output)
        return output[:1]

    backward = staticmethod(differentiable_once("affinity_filter", _backward))
