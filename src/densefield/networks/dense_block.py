"""Dense blocks that keep one copy of every feature, forward and backward.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017. A layer here is batch
normalisation, ReLU, convolution, dropout, as in table 1 of Jégou et al. 2017.

Written out, a block of L layers concatenates, normalises and stores its growing stack of features L times. But within a
batch a channel has the same mean and variance in every layer that reads it: so the stack can be one buffer, its
statistics can be taken once a channel, and its gradient can be gathered in one buffer too (`_Stack`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import check
from densefield.derivatives import differentiable_once


class Layer(nn.Module):
    """Batch normalisation, ReLU, convolution that keeps the size, dropout."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        return self.dropout(self.conv(functional.relu(self.norm(features))))


class DenseBlock(nn.Module):
    """Every layer reads the block's input and all earlier layers' outputs: (B, C, H, W) → (B, [C +] L × growth, H, W).

    The input may come in pieces, read as if concatenated. `keep_input` returns it too, before what the layers made.
    """

    def __init__(
        self,
        channels: int,
        count: int,
        growth_rate: int,
        dropout: float,
        *,
        keep_input: bool,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.keep_input = keep_input
        self.checkpointing = checkpointing
        self.layers = nn.ModuleList(
            Layer(channels + index * growth_rate, growth_rate, 3, dropout) for index in range(count)
        )

    def forward(self, *pieces: Tensor) -> Tensor:
        layers: list[Any] = list(self.layers)
        return dense_layers(layers, pieces, keep_input=self.keep_input, checkpointing=self.checkpointing)


def dense_layers(
    layers: Sequence[Any],  # of Layer
    pieces: Sequence[Tensor],  # (B, C_i, H, W) each
    *,
    keep_input: bool,
    checkpointing: bool = False,
) -> Tensor:  # (B, [ΣC_i +] what the layers made, H, W)
    """Apply densely connected layers to the concatenation of `pieces`, keeping each feature once.

    `checkpointing` computes the normalised features again in the backward pass instead of storing them. Layers that are
    changed (another normalisation, hooks, compilation) run through `dense_layers_plain`, to the same values.
    """
    batch, _, height, width = pieces[0].shape
    check(
        batch * height * width > 1 or not any(layer.norm.training for layer in layers),
        "image: batch normalisation cannot train on a single value per channel; use larger images or a larger batch",
    )
    # On a CPU torch normalises bfloat16 features several times faster than the mixed arithmetic of `_Stack` does.
    mixed = pieces[0].device.type == "cpu" and torch.is_autocast_enabled("cpu")
    # Without values, as where a receptive field is computed, there is nothing to share, and no autocast to ask.
    if pieces[0].is_meta or not _can_share(layers) or (mixed and not checkpointing):
        return dense_layers_plain(layers, pieces, keep_input=keep_input)
    parameters = [
        p for layer in layers for p in (layer.norm.weight, layer.norm.bias, layer.conv.weight, layer.conv.bias)
    ]
    differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*pieces, *parameters))
    store = differentiable and not checkpointing
    output: Tensor = _Stack.apply(layers, len(pieces), keep_input, store, *pieces, *parameters)
    return output


def dense_layers_plain(layers: Sequence[Any], pieces: Sequence[Tensor], *, keep_input: bool) -> Tensor:
    """The definition: concatenate, apply the next layer, repeat."""
    # channels last as in `_Stack`, so that dropout draws the same values
    stack = torch.cat(list(pieces), dim=1).contiguous(memory_format=torch.channels_last)
    channels = stack.shape[1]
    for layer in layers:
        stack = torch.cat([stack, layer(stack)], dim=1)
    return stack if keep_input else stack[:, channels:]


def _can_share(layers: Sequence[Any]) -> bool:
    """Whether `_Stack` computes what the layers' own forward methods would."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    first = layers[0].norm
    for layer in layers:
        norm, conv = layer.norm, layer.conv
        # exact types: synchronised normalisation, parametrised or quantised convolutions compute something else
        if (type(norm), type(conv), type(layer.dropout)) != (nn.BatchNorm2d, nn.Conv2d, nn.Dropout):
            return False
        if norm.momentum is None or not norm.track_running_stats or conv.bias is None:
            return False
        if norm.training != first.training or norm.eps != first.eps:
            return False
        if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in layer.modules()):
            return False
    return True


class _Stack(torch.autograd.Function):
    """`dense_layers_plain` over one buffer of features and one of gradients.

    Layer l reads a channel as y_l = γ_l x̂ + β_l, where x̂ = (x − mean) / std is the same for all layers. With dy_l the
    gradient of y_l, the channel's gradient is that of a single batch normalisation, D − mean(D) − x̂ mean(D x̂) with
    D = Σ_l γ_l dy_l / std. The two means follow from dβ_l = Σ dy_l and dγ_l = Σ dy_l x̂, which are wanted anyway. So the
    layers only add to D, and a channel is corrected once, just before the layer that made it is differentiated.
    """

    @staticmethod
    def forward(ctx: Any, layers: Sequence[Any], count: int, keep_input: bool, store: bool, *tensors: Tensor) -> Tensor:
        pieces, parameters = tensors[:count], tensors[count:]
        device, dtype = pieces[0].device, pieces[0].dtype
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        batch, _, height, width = pieces[0].shape
        pixels = batch * height * width
        first = sum(piece.shape[1] for piece in pieces)
        widest = first + sum(layer.conv.out_channels for layer in layers[:-1])
        training = layers[0].norm.training

        def room(channels: int) -> Tensor:
            # channels last: convolutions then need no reordering
            return torch.empty(
                (batch, channels, height, width), dtype=dtype, device=device, memory_format=torch.channels_last
            )

        stack = room(widest + layers[-1].conv.out_channels)
        mean, var = torch.zeros(2, stack.shape[1], dtype=parameters[0].dtype, device=device)
        stop = 0

        def put(features: Tensor) -> None:
            nonlocal stop
            start, stop = stop, stop + features.shape[1]
            stack[:, start:stop] = features
            if training:
                exact = features.to(mean.dtype)
                mean[start:stop] = exact.mean((0, 2, 3))
                var[start:stop] = (exact - _wide(mean[start:stop])).square_().mean((0, 2, 3))

        for piece in pieces:
            put(piece)
        scratch = room(widest)
        saved: list[Tensor] = []
        with torch.autocast(device.type, enabled=False):
            for layer, (gamma, beta, weight, bias) in zip(layers, _fours(parameters), strict=True):
                norm, channels = layer.norm, weight.shape[1]
                if training:
                    center, spread = mean[:channels], var[:channels]
                    norm.running_mean.lerp_(center, norm.momentum)
                    norm.running_var.lerp_(spread * (pixels / (pixels - 1)), norm.momentum)
                    norm.num_batches_tracked.add_(1)
                else:
                    center, spread = norm.running_mean.clone(), norm.running_var
                inverse = (spread + norm.eps).rsqrt()
                active = room(channels) if store else _first_channels(scratch, channels)
                _activate(stack, center, inverse, gamma, beta, out=active)
                made = functional.conv2d(active, weight.to(dtype), bias.to(dtype), padding=layer.conv.padding)
                mask = made.new_empty(0)
                if layer.dropout.training and layer.dropout.p > 0:
                    made, mask = torch.native_dropout(made, layer.dropout.p, True)
                put(made)
                saved += [center, inverse, mask, active if store else made.new_empty(0)]
        ctx.save_for_backward(stack, *parameters, *saved)
        ctx.count = len(layers)
        ctx.sizes = [piece.shape[1] for piece in pieces]
        ctx.keep_input, ctx.training = keep_input, training
        ctx.padding = [layer.conv.padding for layer in layers]
        ctx.dropout = [layer.dropout.p for layer in layers]
        return stack if keep_input else stack[:, first:]

    @staticmethod
    def _gradients(ctx: Any, kept: Sequence[Tensor], grad: Tensor) -> tuple[Tensor | None, ...]:
        stack, *rest = kept
        parameters, saved = _fours(rest[: 4 * ctx.count]), _fours(rest[4 * ctx.count :])
        first = sum(ctx.sizes)
        skipped = 0 if ctx.keep_input else first  # channels of the stack that the output left out
        pixels = stack.numel() // stack.shape[1]
        widest = parameters[-1][2].shape[1]
        gathered = torch.empty_like(stack[:, :widest], memory_format=torch.channels_last)
        scratch = torch.empty_like(gathered)
        total, along = torch.zeros(2, widest, dtype=parameters[0][0].dtype, device=stack.device)  # Σ D, Σ D x̂

        def complete(start: int, stop: int, center: Tensor, inverse: Tensor) -> Tensor:
            part = gathered[:, start:stop]
            if ctx.training:
                slope = along[start:stop] * inverse[start:stop] / pixels
                part.addcmul_(stack[:, start:stop], _wide(-slope))
                part.add_(_wide(slope * center[start:stop] - total[start:stop] / pixels))
            return part

        gradients: list[Tensor] = []
        for index in reversed(range(ctx.count)):
            gamma, beta, weight, _ = parameters[index]
            center, inverse, mask, active = saved[index]
            channels, growth = weight.shape[1], weight.shape[0]
            made = grad[:, channels - skipped : channels - skipped + growth]
            if index + 1 < ctx.count:
                made = made + complete(channels, channels + growth, *saved[index + 1][:2])
            if mask.numel():
                made = torch.ops.aten.native_dropout_backward(made, mask, _dropout_scale(ctx.dropout[index]))
            room = _first_channels(scratch, channels)
            if not active.numel():
                active = _activate(stack, center, inverse, gamma, beta, out=room)
            below, d_weight, d_bias = torch.ops.aten.convolution_backward(
                made.contiguous(memory_format=torch.channels_last),
                active,
                weight.to(stack.dtype),
                [growth],
                [1, 1],
                ctx.padding[index],
                [1, 1],
                False,
                [0, 0],
                1,
                [True, True, True],
            )
            torch.ops.aten.threshold_backward.grad_input(below, active, 0, grad_input=below)
            d_beta = below.sum((0, 2, 3), dtype=total.dtype)
            torch.sub(stack[:, :channels], _wide(center), out=room).mul_(below)
            d_gamma = room.sum((0, 2, 3), dtype=total.dtype).mul_(inverse)
            scale = gamma * inverse
            if index + 1 == ctx.count:
                torch.mul(below, _wide(scale), out=gathered)
            else:
                gathered[:, :channels].addcmul_(below, _wide(scale))
            total[:channels].addcmul_(d_beta, scale)
            along[:channels].addcmul_(d_gamma, scale)
            gradients = [d_gamma, d_beta, d_weight, d_bias, *gradients]
            del below  # before the next layer's is allocated
        entering = complete(0, first, *saved[0][:2])
        if ctx.keep_input:
            entering.add_(grad[:, :first])
        return (None, None, None, None, *entering[:, :first].split(ctx.sizes, dim=1), *gradients)

    backward = staticmethod(differentiable_once("DenseBlock", _gradients))


def _activate(stack: Tensor, center: Tensor, inverse: Tensor, gamma: Tensor, beta: Tensor, *, out: Tensor) -> Tensor:
    """ReLU of the batch-normalised first channels of `stack`, written to `out`."""
    scale = gamma * inverse
    return torch.addcmul(_wide(beta - center * scale), stack[:, : len(scale)], _wide(scale), out=out).relu_()


def _wide(vector: Tensor) -> Tensor:  # (C,) -> (1, C, 1, 1)
    return vector.view(1, -1, 1, 1)


def _first_channels(scratch: Tensor, channels: int) -> Tensor:
    """A dense channels-last map of `channels` channels in the memory of a wider one."""
    batch, _, height, width = scratch.shape
    flat = scratch.permute(0, 2, 3, 1).view(-1)
    return flat[: batch * height * width * channels].view(batch, height, width, channels).permute(0, 3, 1, 2)


def _dropout_scale(probability: float) -> float:
    return 0.0 if probability == 1 else 1 / (1 - probability)


def _fours(tensors: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    return [tensors[start : start + 4] for start in range(0, len(tensors), 4)]
