"""Segmentation-aware convolution: each patch is masked by how alike the embeddings are to that of its centre.

Harley, Derpanis, Kokkinos, "Segmentation-Aware Convolutional Networks Using Local Attention Masks", ICCV 2017.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from densefield.checks import check, check_map, check_tensor, finite_number, shown, whole_number
from densefield.ops.local_filter import Window, pair_distances
from densefield.ops.precision import matmul


def segmentation_aware_conv2d(
    values: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    weight: Tensor,  # (O, C, k, k)
    bias: Tensor | None,  # (O,)
    scale: Tensor,  # ()
    *,
    rate: int = 1,
) -> Tensor:  # (B, O, H, W)
    """Convolve the masked patches: y_i = sum_j W_{j-i} exp(-scale |e_i - e_j|) x_j + bias, not normalised.

    Stride 1, values 0 outside the image; differentiable by all tensors. With equal embeddings it is `conv2d`.
    Half types are computed in float32, under autocast too. Raises `InputError` for shapes that do not fit and an even
    kernel.
    """
    check_map("values", values)
    check_tensor("weight", weight, f"a tensor (O, {values.shape[1]}, k, k)")
    one = isinstance(scale, Tensor) and scale.numel() == 1 and scale.is_floating_point()
    check(one, f"scale: wanted a floating-point tensor of one number, received {shown(scale)}")
    if bias is not None:
        fits = isinstance(bias, Tensor) and tuple(bias.shape) == tuple(weight.shape[:1])
        check(fits, f"bias: wanted shape ({weight.shape[0]},), received {shown(bias)}")
    check(
        weight.dim() == 4 and weight.shape[2] == weight.shape[3] and weight.shape[1] == values.shape[1],
        f"weight: wanted shape (O, {values.shape[1]}, k, k) to fit values {tuple(values.shape)}, "
        f"received {tuple(weight.shape)}",
    )
    check_map("embeddings", embeddings)
    check(
        embeddings.shape[0] == values.shape[0] and embeddings.shape[2:] == values.shape[2:],
        f"embeddings: wanted batch and size of values {tuple(values.shape)}, received {tuple(embeddings.shape)}",
    )
    size = weight.shape[-1]
    kind = torch.promote_types(torch.promote_types(values.dtype, weight.dtype), torch.float32)
    masks = torch.exp(-scale.reshape(()) * pair_distances(embeddings, window=size, rate=rate)).to(kind)
    window, middle = Window.over(values, size, rate), size // 2
    wide, taps = values.to(kind), weight.to(kind)

    def mixed(dy: int, dx: int, given: Tensor) -> Tensor:  # (B, C, h, w) -> (B, O, h, w)
        return matmul(taps[:, :, middle + dy, middle + dx], given.flatten(2)).unflatten(2, given.shape[2:])

    result = mixed(0, 0, wide)
    for k, (p, q) in enumerate(window.slices()):
        dy, dx = window.half_offset(k)
        mask = masks[:, k : k + 1][p]
        result[p].add_(mixed(dy, dx, wide[q] * mask))
        result[q].add_(mixed(-dy, -dx, wide[p] * mask))
    return (result if bias is None else result + bias.to(kind)[:, None, None]).to(values.dtype)


class SegmentationAwareConv2d(nn.Module):
    """`segmentation_aware_conv2d` with its weights and one lambda, kept by its logarithm; 0.05 at first (published)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        rate: int = 1,
        bias: bool = True,
        *,
        initial_lambda: float = 0.05,
    ) -> None:
        super().__init__()
        in_channels = whole_number("in_channels", in_channels, 1)
        out_channels = whole_number("out_channels", out_channels, 1)
        kernel_size = whole_number("kernel_size", kernel_size, 1)
        check(kernel_size % 2 == 1, f"kernel_size: wanted an odd number, received {kernel_size}")
        rate = whole_number("rate", rate, 1)
        positive = finite_number("initial_lambda", initial_lambda) > 0
        check(positive, f"initial_lambda: wanted a positive number, received {initial_lambda}")
        like = nn.Conv2d(in_channels, out_channels, kernel_size, bias=bias)  # for its initial weights
        self.weight = like.weight
        self.bias = like.bias
        self.rate = rate
        self.log_lambda = nn.Parameter(torch.tensor(math.log(initial_lambda), dtype=torch.float32))

    def forward(
        self,
        values: Tensor,  # (B, C, H, W)
        embeddings: Tensor,  # (B, D, H, W)
    ) -> Tensor:  # (B, O, H, W)
        return segmentation_aware_conv2d(
            values, embeddings, self.weight, self.bias, self.log_lambda.exp(), rate=self.rate
        )
