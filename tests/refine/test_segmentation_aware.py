from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from densefield.checks import InputError
from densefield.refine.segmentation_aware import SegmentationAwareConv2d, segmentation_aware_conv2d


def by_patches(values, embeddings, weight, bias, scale, rate):
    size = weight.shape[-1]
    options = {"kernel_size": size, "dilation": rate, "padding": size // 2 * rate}
    _, channels, height, width = values.shape
    patches = functional.unfold(values, **options).unflatten(1, (channels, size**2))
    others = functional.unfold(embeddings, **options).unflatten(1, (embeddings.shape[1], size**2))
    masks = torch.exp(-scale * (others - embeddings.flatten(2)[:, :, None]).abs().sum(1))
    result = torch.einsum("ock,bckn->bon", weight.flatten(2), patches * masks[:, None])
    return result.unflatten(2, (height, width)) + bias[:, None, None]


@pytest.mark.parametrize(("size", "rate", "height"), [(3, 1, 7), (3, 2, 6), (5, 1, 8), (3, 5, 4), (1, 1, 3)])
def test_equals_the_masked_patches(size, rate, height):
    tensors = [
        torch.randn(2, 3, height, 9, dtype=torch.float64),
        torch.randn(2, 4, height, 9, dtype=torch.float64),
        torch.randn(5, 3, size, size, dtype=torch.float64),
        torch.randn(5, dtype=torch.float64),
        torch.tensor(0.4, dtype=torch.float64),
    ]
    for tensor in tensors:
        tensor.requires_grad_()
    ours, wanted = segmentation_aware_conv2d(*tensors, rate=rate), by_patches(*tensors, rate)
    torch.testing.assert_close(ours, wanted)
    gradients = [torch.autograd.grad(x.square().sum(), tensors, allow_unused=True) for x in (ours, wanted)]
    if size > 1:
        torch.testing.assert_close(*gradients)


def test_equal_embeddings_give_the_convolution():
    layer = SegmentationAwareConv2d(3, 4, rate=2).double()
    assert layer.log_lambda.exp().item() == pytest.approx(0.05)
    values, same = torch.randn(1, 3, 9, 8, dtype=torch.float64), torch.ones(1, 2, 9, 8, dtype=torch.float64)
    wanted = functional.conv2d(values, layer.weight, layer.bias, padding=2, dilation=2)
    torch.testing.assert_close(layer(values, same), wanted)


def test_bad_input_is_named():
    layer = SegmentationAwareConv2d(3, 4)
    with pytest.raises(InputError, match=r"weight: .*\(1, 2, 5, 5\)"):
        layer(torch.zeros(1, 2, 5, 5), torch.zeros(1, 2, 5, 5))
    with pytest.raises(InputError, match=r"embeddings: .*\(1, 2, 5, 6\)"):
        layer(torch.zeros(1, 3, 5, 5), torch.zeros(1, 2, 5, 6))
    with pytest.raises(InputError, match="kernel_size"):
        SegmentationAwareConv2d(3, 4, kernel_size=2)
