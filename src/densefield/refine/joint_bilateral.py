"""The joint bilateral filter: scores smoothed where the image is smooth, as a case of the affinity filter."""

from __future__ import annotations

import torch
from torch import Tensor

from densefield.checks import check, check_map, finite_number
from densefield.ops.local_filter import affinity_filter


def joint_bilateral_filter(
    scores: Tensor,  # (B, C, H, W)
    image: Tensor,  # (B, 3, H, W) in [0, 1], or any guide
    *,
    sigma_space: float = 3.0,
    sigma_range: float = 0.1,
    window: int = 9,
    iterations: int = 1,
) -> Tensor:  # (B, C, H, W)
    """Average by exp(-|p_i - p_j|² / 2 sigma_space² - |I_i - I_j|² / 2 sigma_range²), normalised, within the window.

    Petschnigg et al., "Digital photography with flash and no-flash image pairs", SIGGRAPH 2004; Tomasi and
    Manduchi's filter where `scores` is `image`. Positions and image, divided by their widths, are the embeddings, with
    half the squared distance. Raises `InputError` for widths that are not positive and shapes that do not fit.
    """
    sigma_space, sigma_range = finite_number("sigma_space", sigma_space), finite_number("sigma_range", sigma_range)
    for name, width in (("sigma_space", sigma_space), ("sigma_range", sigma_range)):
        check(width > 0, f"{name}: wanted a positive number, received {width}")
    check_map("image", image)
    batch, _, height, width = image.shape
    guide = image.to(torch.promote_types(image.dtype, torch.float32))  # half types count no pixels beyond a few hundred
    rows = torch.arange(height, device=image.device, dtype=guide.dtype).view(1, 1, -1, 1)
    columns = torch.arange(width, device=image.device, dtype=guide.dtype).view(1, 1, 1, -1)
    places = [(axis / sigma_space).expand(batch, 1, height, width) for axis in (rows, columns)]
    embeddings = torch.cat([guide / sigma_range, *places], dim=1)
    return affinity_filter(scores, embeddings, 1.0, window=window, iterations=iterations, distance="l2")
