"""`densefield data check`: is a folder fit for training?"""

from __future__ import annotations

from pathlib import Path

from densefield.cli.flags import Pixels
from densefield.cli.terminal import plain_console, tracked


def check(
    directory: Path,
    *,
    images: str = "images",
    masks: str = "masks",
    classes: Path | None = None,
    suffix: str = "",
    pixels: Pixels = Pixels(),
) -> int:
    """Check a folder of images and masks before training; ends with 0 when all is well, with 2 when it is not.

    Args:
        directory: The folder that holds both others.
        images: Its folder of images.
        masks: Its folder of masks, which have the images' names.
        classes: The class list (YAML); without it classes.yaml in the directory, if there is one.
        suffix: What stands behind the image's name in its mask's: _mask for NAME_mask.png.
    """
    from densefield.classes import ClassList
    from densefield.data.audit import audit

    if classes is None and (directory / "classes.yaml").exists():
        classes = directory / "classes.yaml"
    listed = None if classes is None else ClassList.read(classes)

    found = audit(
        directory / images,
        directory / masks,
        listed,
        suffix=suffix,
        reading=pixels.reading,
        progress=lambda names: tracked(names, "reading", len(names)),
    )
    found.show(plain_console(soft_wrap=False))
    return found.exit_code
