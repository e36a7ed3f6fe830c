"""The pair loss: what `losses.embedding_loss` calls, checked and registered, with its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densefield.checks import check, check_tensor
from densefield.derivatives import differentiable_once
from densefield.ops.local_filter import Window, check_embeddings
from densefield.ops.native import serves
from densefield.ops.operator import Operator, schema_of
from densefield.ops.pair_loss import native, plain
from densefield.ops.pair_loss.options import LEFT_OUT, Options


def pair_loss(
    embeddings: Tensor,  # (B, D, H, W)
    target: Tensor,  # (B, H, W) integers
    options: Options,
) -> Tensor:  # ()
    """Give the loss over ordered pairs, as `losses.embedding_loss` defines it; half types give float32."""
    options = options.checked()
    check_embeddings(embeddings)
    wanted = (embeddings.shape[0], *embeddings.shape[2:])
    check_tensor("target", target, f"an integer tensor {wanted}")
    check(
        tuple(target.shape) == wanted,
        f"target: wanted shape {wanted} to fit embeddings {tuple(embeddings.shape)}, received {tuple(target.shape)}",
    )
    check(
        not target.is_floating_point() and not target.is_complex(),
        f"target: wanted an integer tensor of labels, received {target.dtype}",
    )
    check(
        target.device == embeddings.device,
        f"target: wanted on the device of embeddings, {embeddings.device}, received {target.device}",
    )
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    loss: Tensor = _pair_loss(wide, target, torch.is_grad_enabled() and embeddings.requires_grad, *options)[0]
    return loss


def _losses(embeddings: Tensor, target: Tensor, with_gradient: bool, *words: Any) -> tuple[Tensor, Tensor]:
    """Give the loss and, in the same call, its gradient by the embeddings (empty if not wanted)."""
    options = Options(*words)
    labels = _labels(target, options.ignore_index)
    window = Window.over(embeddings, options.window, options.rate)
    embeddings = embeddings.contiguous()
    outside, edge_slopes, places = 0.0, None, 0.0
    if options.border != "valid":
        outside, edge_slopes = plain.pairs_outside(window, embeddings, labels, options)
        places = float(((labels != LEFT_OUT) * window.outside(embeddings.device, torch.float64)).sum())
    weight = None if options.reduction == "mean" else 1.0
    if weight is None and options.border == "published":
        # Divides by all places: centres, which lose nothing, and what is left out.
        weight = 1.0 / (window.batch * window.size * window.size * window.height * window.width)
    pairs_inside = native.pairs_inside if serves(embeddings) else plain.pairs_inside
    total, weight, gradient = pairs_inside(window, embeddings, labels, options, weight, places, with_gradient)
    loss = torch.as_tensor((2 * total + outside) * weight, dtype=embeddings.dtype, device=embeddings.device)
    if gradient is None:
        return loss, embeddings.new_empty(0)
    if edge_slopes is not None:
        direction = embeddings.sign() if options.distance == "l1" else embeddings
        gradient.addcmul_(direction, edge_slopes[:, None], value=weight)
    return loss, gradient


def _labels(target: Tensor, ignore_index: int) -> Tensor:  # (B, H, W) int32, LEFT_OUT where ignored
    if target.device.type != "cpu":
        return torch.where(target == ignore_index, LEFT_OUT, target).to(torch.int32).contiguous()
    # Not by torch: its threads would go on spinning beside the kernel's.
    given = target.numpy()
    labels = given.astype(np.int32, order="C")
    labels[given == ignore_index] = LEFT_OUT
    return torch.from_numpy(labels)


_pair_loss = Operator(
    "pair_loss",
    _losses,
    f"(Tensor embeddings, Tensor target, bool with_gradient, {schema_of(Options)}) -> (Tensor, Tensor)",
)


@_pair_loss.fake
def _(embeddings: Tensor, target: Tensor, with_gradient: bool, *options: Any) -> tuple[Tensor, Tensor]:
    gradient = torch.empty_like(embeddings, memory_format=torch.contiguous_format)
    return embeddings.new_empty(()), gradient if with_gradient else embeddings.new_empty(0)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    embeddings, _, _, *words = inputs
    options = Options(*words)
    # Then the gradient's own derivative is 0 almost everywhere.
    ctx.straight = options.distance == "l1" and not options.squared
    ctx.save_for_backward(output[1], *([] if ctx.straight else [embeddings]))
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, by_loss: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return _scaled(ctx, ctx.saved_tensors, by_loss) if ctx.straight else _scaled_once(ctx, by_loss)


def _scaled(ctx: Any, saved: Sequence[Tensor], by_loss: Tensor | None) -> tuple[Tensor | None, ...]:
    gradient = saved[0]
    if by_loss is None:
        return ()
    if type(by_loss) is Tensor and by_loss.device.type == "cpu" and not by_loss.requires_grad and by_loss.item() == 1:
        return (gradient,)  # as after loss.backward(): saves a pass over the embeddings
    return (gradient * by_loss,)


_scaled_once = differentiable_once("pair_loss", _scaled)
_pair_loss.gradient(_backward, _setup_context)
