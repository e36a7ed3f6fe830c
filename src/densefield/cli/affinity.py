"""`densefield affinity`: a picture of which neighbours a pixel takes for its like, by embeddings and by colors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densefield.checks import InputError, check

_AROUND = 256  # pixels beyond the window: what lies further away changes no mask, and would only cost memory
_GRID = 32  # a multiple of any trunk's stride: cut here, features stay in their places


def affinity(
    model: Path,
    image: Path,
    /,
    *,
    pixel: Annotated[tuple[int, int], Parameter(negative=())],
    out: Path,
    window: int | None = None,
    sigma_range: float = 0.1,
    bands: str | None = None,
    range: str | None = None,
    device: str = "auto",
) -> int:
    """Draw a pixel's patch, its embeddings, its mask in the embedding filter, and the mask of its colors alone.

    Args:
        model: A training run's folder, or a .safetensors file, whose refinement is an embedding filter.
        image: The image.
        pixel: Row and column, counted from 0.
        out: The PNG to write.
        window: How many pixels wide the patch is; odd; by default as wide as the filter's window.
        sigma_range: The width of the mask of colors, for colors in [0, 1].
        bands: Which bands of the image are red, green and blue, such as 4,3,2; by default those of the training.
        range: Which values of the image are black and white, such as 0,4095; by default as in the training.
        device: Where to compute: cpu, cuda, cuda:1, mps, or auto for the best there is.
    """
    import torch

    from densefield.devices import device_named
    from densefield.draw import draw_affinity
    from densefield.images import read_image, write_image
    from densefield.images.bands import Reading
    from densefield.refine import EmbeddingRefinement
    from densefield.segmenter import Segmenter

    segmenter = Segmenter.load(model)
    pixels = read_image(image, Reading.of_words(bands, range).over(segmenter.reading))
    row, column = pixel
    height, width = pixels.shape[:2]
    check(0 <= row < height, f"--pixel: wanted a row of 0 to {height - 1} in {image}, received {row}")
    check(0 <= column < width, f"--pixel: wanted a column of 0 to {width - 1} in {image}, received {column}")
    refinement = segmenter.to(device_named(device)).refinement
    if not isinstance(refinement, EmbeddingRefinement):
        kind = "none" if refinement is None else type(refinement).__name__
        raise InputError(f"{model}: wanted a segmenter whose refinement is an embedding filter, received {kind}")
    check(out.resolve() != image.resolve(), f"--out: wanted another file than the image {image}")
    window = refinement.filter.window if window is None else window
    around = _AROUND + window * refinement.filter.rate
    top, left = (max(0, place - around) // _GRID * _GRID for place in pixel)
    pixels = pixels[top : row + around, left : column + around]
    with torch.no_grad():
        scale = refinement.filter.scale
        values = torch.from_numpy(pixels).to(scale.device).permute(2, 0, 1)[None] / 255
        embeddings = refinement.embeddings(values)[0]
    sheet = draw_affinity(
        pixels,
        embeddings,
        row - top,
        column - left,
        window=window,
        rate=refinement.filter.rate,
        scale=scale,
        distance=refinement.filter.distance,
        sigma_range=sigma_range,
    )
    write_image(out, sheet)
    print(f"{out}: row {row}, column {column} of {image}")
    return 0
