"""PAMR: pixel-adaptive mask refinement by the colors of a few near and far neighbors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from densefield.checks import check, check_map, shown, whole_number

DILATIONS = (1, 2, 4, 8, 12, 24)
MOST_PIXELS = 1 << 14  # of a dilation: the image is padded by it
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def pamr(
    masks: Tensor,  # (B, K, H, W): probabilities or scores
    image: Tensor,  # (B, C, H, W)
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
) -> Tensor:  # (B, K, H, W)
    """Replace mask values by means of their 3 x 3 neighbors at all dilations, weighed by alpha, `iterations` times.

    alpha_ij = softmax over j of the mean over channels of -|x_i - x_j| / (0.1 sigma_i), sigma_i the standard deviation
    among i and its neighbors: Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020.
    Outside the image lies its nearest pixel. The weights carry no gradient, as published; masks do.
    Half types are computed in float32. Raises `InputError` for shapes that do not fit.
    """
    check_map("masks", masks)
    check_map("image", image)
    check(masks.numel() > 0 and image.numel() > 0, f"masks: wanted nothing empty, received {tuple(masks.shape)}")
    check(
        masks.shape[0] == image.shape[0] and masks.shape[2:] == image.shape[2:],
        f"image: wanted batch and size of masks {tuple(masks.shape)}, received {tuple(image.shape)}",
    )
    iterations = whole_number("iterations", iterations, 1)
    listed = isinstance(dilations, Sequence) and not isinstance(dilations, str) and len(dilations) > 0
    check(listed, f"dilations: wanted numbers of 1 or more, received {shown(dilations)}")
    dilations = [whole_number("dilations", dilation, 1, MOST_PIXELS) for dilation in dilations]
    wide = masks.to(torch.promote_types(masks.dtype, torch.float32))
    guide = image.detach().to(torch.promote_types(image.dtype, torch.float32))
    # One by one: threads round the deviations of a batch by its size.
    weights = torch.cat([_weights(one, dilations) for one in guide.split(1)]).to(wide.dtype)
    for _ in range(iterations):
        neighbors = _neighbors(wide, dilations)
        wide = sum((weights[:, j : j + 1] * x for j, x in enumerate(neighbors)), torch.zeros_like(wide))
    return wide.to(masks.dtype)


def _weights(image: Tensor, dilations: Sequence[int]) -> Tensor:  # (B, J, H, W)
    neighbors = _neighbors(image, dilations)
    centers = [image] * len(dilations)  # published: the center stands once for each dilation
    deviation = torch.stack([*neighbors, *centers]).std(dim=0)
    difference = torch.stack([(image - x).abs() for x in neighbors], dim=1)  # (B, J, C, H, W)
    return (-difference / (1e-8 + 0.1 * deviation[:, None])).mean(2).softmax(dim=1)


def _neighbors(values: Tensor, dilations: Sequence[int]) -> list[Tensor]:
    height, width = values.shape[2:]
    result = []
    for d in dilations:
        padded = functional.pad(values, (d, d, d, d), mode="replicate")
        for dy, dx in _AROUND:
            y, x = d + dy * d, d + dx * d
            result.append(padded[:, :, y : y + height, x : x + width])
    return result
