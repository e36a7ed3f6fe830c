"""PAMR: pixel-adaptive mask refinement by the colours of a few near and far neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from densefield.checks import check, check_map

DILATIONS = (1, 2, 4, 8, 12, 24)
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def pamr(
    masks: Tensor,  # (B, K, H, W): probabilities or scores
    image: Tensor,  # (B, C, H, W)
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
) -> Tensor:  # (B, K, H, W)
    """Replace mask values by means of their 3 x 3 neighbours at all dilations, weighed by alpha, `iterations` times.

    alpha_ij = softmax over j of the mean over channels of -|x_i - x_j| / (0.1 sigma_i), sigma_i the standard deviation
    among i and its neighbours: Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020.
    Outside the image lies its nearest pixel. The weights carry no gradient, as published; masks do.
    Half types are computed in float32. Raises `InputError` for shapes that do not fit.
    """
    check_map("masks", masks)
    check_map("image", image)
    check(
        masks.shape[0] == image.shape[0] and masks.shape[2:] == image.shape[2:],
        f"image: wanted batch and size of masks {tuple(masks.shape)}, received {tuple(image.shape)}",
    )
    check(iterations >= 1, f"iterations: wanted 1 or more, received {iterations}")
    check(len(dilations) > 0 and min(dilations) >= 1, f"dilations: wanted numbers of 1 or more, received {dilations}")
    wide = masks.to(torch.promote_types(masks.dtype, torch.float32))
    guide = image.detach().to(torch.promote_types(image.dtype, torch.float32))
    weights = _weights(guide, dilations).to(wide.dtype)
    for _ in range(iterations):
        neighbours = _neighbours(wide, dilations)
        wide = sum((weights[:, j : j + 1] * x for j, x in enumerate(neighbours)), torch.zeros_like(wide))
    return wide.to(masks.dtype)


def _weights(image: Tensor, dilations: Sequence[int]) -> Tensor:  # (B, J, H, W)
    neighbours = _neighbours(image, dilations)
    centres = [image] * len(dilations)  # published: the centre stands once for each dilation
    deviation = torch.stack([*neighbours, *centres]).std(dim=0)
    difference = torch.stack([(image - x).abs() for x in neighbours], dim=1)  # (B, J, C, H, W)
    return (-difference / (1e-8 + 0.1 * deviation[:, None])).mean(2).softmax(dim=1)


def _neighbours(values: Tensor, dilations: Sequence[int]) -> list[Tensor]:
    height, width = values.shape[2:]
    result = []
    for d in dilations:
        padded = functional.pad(values, (d, d, d, d), mode="replicate")
        for dy, dx in _AROUND:
            y, x = d + dy * d, d + dx * d
            result.append(padded[:, :, y : y + height, x : x + width])
    return result
