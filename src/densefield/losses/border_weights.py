"""U-Net's weight map, which makes the narrow gaps between touching objects count."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from densefield.checks import check

# Weights below this are not worth the distance transforms that would find them.
SMALLEST_WEIGHT = 1e-7


def border_weights(
    instances: ArrayLike,  # (H, W), 0 = background, 1, 2, … = objects; or bool, True = some object
    *,
    class_weights: ArrayLike | None = None,  # (2,): background, object
    w0: float = 10.0,
    sigma: float = 5.0,
) -> NDArray[np.float32]:
    """w = w_c + w0 exp(-(d1 + d2)² / 2σ²), (H, W) float32 (U-Net, Ronneberger et al. 2015, eq. 2).

    d1 and d2 are the distances in pixels to the nearest and the second nearest object; inside an object its own
    distance is 0, so that objects touching without a gap weigh too. w_c is `class_weights` of background or object,
    1 by default. Boolean maps are split into 4-connected components, since a gap one pixel wide may run diagonally.

    The exponential is exact to 1e-7. Volumes (D, H, W) work alike. Raises `InputError` for negative or non-integer
    instances, sigma ≤ 0 and other than two class weights.
    """
    objects = np.asarray(instances)
    check(objects.dtype.kind in "iub", f"instances: wanted integers or booleans, received {objects.dtype}")
    check(objects.ndim >= 2, f"instances: wanted shape (H, W), received {objects.shape}")
    check(math.isfinite(sigma) and sigma > 0, f"sigma: wanted a positive number of pixels, received {sigma}")
    check(math.isfinite(w0) and w0 >= 0, f"w0: wanted 0 or more, received {w0}")
    balance = np.ones(2) if class_weights is None else np.asarray(class_weights, np.float64)
    check(balance.shape == (2,), f"class_weights: wanted shape (2,), background and object, received {balance.shape}")
    if objects.dtype.kind == "b":
        objects = ndimage.label(objects)[0]
    elif objects.size:
        check(int(objects.min()) >= 0, f"instances: wanted 0 or more everywhere, received {int(objects.min())}")
        # Numbers may have gaps or be huge; find_objects wants them dense. The 0 put in front stays 0.
        values = np.concatenate([np.zeros(1, objects.dtype), objects.ravel()])
        objects = np.unique(values, return_inverse=True)[1][1:].reshape(objects.shape)

    weights = balance[(objects > 0).astype(np.intp)]
    if w0 > SMALLEST_WEIGHT:
        # Each object can matter only within reach of its bounding box, whence many small distance transforms.
        reach = math.ceil(sigma * math.sqrt(2 * math.log(w0 / SMALLEST_WEIGHT)))
        nearest = np.full(objects.shape, np.inf)
        second = np.full(objects.shape, np.inf)
        for number, box in enumerate(ndimage.find_objects(objects), start=1):
            window = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
            distance = ndimage.distance_transform_edt(objects[window] != number)
            second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
            nearest[window] = np.minimum(nearest[window], distance)
        weights += w0 * np.exp(-np.square(nearest + second) / (2 * sigma**2))
    return weights.astype(np.float32)
