"""`densefield affinity`: a picture of which neighbours a pixel takes for its like, by embeddings and by colors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densefield.checks import InputError, check
from densefield.cli.flags import Device, Pixels, Trust, trusted

_AROUND = 256  # pixels beyond the window: what lies further away changes no mask, and would only cost memory
_GRID = 32  # a multiple of any trunk's stride: cut here, features stay in their places


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Patch:
    """What is drawn.

    Args:
        pixel: Row and column, counted from 0.
        window: How many pixels wide the patch is; odd; by default as wide as the filter's window.
        sigma_range: The width of the mask of colors, for colors in [0, 1].
    """

    pixel: Annotated[tuple[int, int], Parameter(negative=())]
    window: int | None = None
    sigma_range: float = 0.1


def affinity(
    model: Path,
    image: Path,
    /,
    *,
    patch: Patch,
    out: Path,
    pixels: Pixels = Pixels(),
    device: Device = "auto",
    trust: Trust = None,
) -> int:
    """Draw a pixel's patch, its embeddings, its mask in the embedding filter, and the mask of its colors alone.

    Args:
        model: A training run's folder, or a .safetensors file, whose refinement is an embedding filter.
        image: The image.
        out: The PNG to write.
    """
    import torch

    from densefield.devices import device_named
    from densefield.draw import draw_affinity
    from densefield.images import read_image, write_image
    from densefield.refine import EmbeddingRefinement
    from densefield.segmenter import Segmenter

    check(out.suffix.lower() in ("", ".png"), f"--out: wanted a .png file, received {out}")
    segmenter = Segmenter.load(model, trust=trusted(trust))
    colors = read_image(image, pixels.reading.over(segmenter.reading))
    row, column = patch.pixel
    height, width = colors.shape[:2]
    check(0 <= row < height, f"--pixel: wanted a row of 0 to {height - 1} in {image}, received {row}")
    check(0 <= column < width, f"--pixel: wanted a column of 0 to {width - 1} in {image}, received {column}")
    refinement = segmenter.to(device_named(device)).refinement
    if not isinstance(refinement, EmbeddingRefinement):
        kind = "none" if refinement is None else type(refinement).__name__
        raise InputError(f"{model}: wanted a segmenter whose refinement is an embedding filter, received {kind}")
    check(out.resolve() != image.resolve(), f"--out: wanted another file than the image {image}")
    learned = refinement.filter
    window = learned.window if patch.window is None else patch.window
    around = _AROUND + window * learned.rate
    top, left = (max(0, place - around) // _GRID * _GRID for place in patch.pixel)
    colors = colors[top : row + around, left : column + around]
    with torch.no_grad():
        scale = learned.scale
        values = torch.from_numpy(colors).to(scale.device).permute(2, 0, 1)[None] / 255
        embeddings = refinement.embeddings(values)[0]
    sheet = draw_affinity(
        colors,
        embeddings,
        row - top,
        column - left,
        window=window,
        rate=learned.rate,
        scale=scale,
        distance=learned.distance,
        sigma_range=patch.sigma_range,
    )
    write_image(out, sheet)
    print(f"{out}: row {row}, column {column} of {image}")
    return 0
