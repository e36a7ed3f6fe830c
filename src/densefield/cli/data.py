"""`densefield data check`: is a folder fit for training?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.progress import track

from densefield.cli.terminal import plain_console


def check(
    directory: Path,
    *,
    images: str = "images",
    masks: str = "masks",
    classes: Path | None = None,
    suffix: str = "",
    bands: str | None = None,
    range: str | None = None,
) -> int:
    """Check a folder of images and masks before training; ends with 0 when all is well, with 2 when it is not.

    Parameters
    ----------
    directory
        The folder that holds both others.
    images
        Its folder of images.
    masks
        Its folder of masks, which have the images' names.
    suffix
        What stands behind the image's name in its mask's: _mask for NAME_mask.png.
    bands
        Which bands of the images are red, green and blue, such as 4,3,2, where files do not say it; one is grey.
    range
        Which values of the images are black and white, such as 0,4095, where files do not say it.
    classes
        The class list (YAML); without it classes.yaml in the directory, if there is one.
    """
    from densefield.classes import ClassList
    from densefield.data.audit import audit
    from densefield.images.bands import Reading

    if classes is None and (directory / "classes.yaml").exists():
        classes = directory / "classes.yaml"
    listed = None if classes is None else ClassList.read(classes)

    reading = Reading.of_words(bands, range)

    def shown(names: list[str]) -> Iterable[str]:
        return track(names, "Reading", console=plain_console(stderr=True), transient=True)

    found = audit(directory / images, directory / masks, listed, suffix=suffix, reading=reading, progress=shown)
    found.show(plain_console(soft_wrap=False))
    return found.exit_code
