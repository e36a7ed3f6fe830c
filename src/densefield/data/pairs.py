"""Which image belongs to which mask: the same path below its folder, whatever the ending."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from PIL import Image

from densefield.checks import InputError, check


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What two folders hold. Names are paths below the folder without ending, with "/" on every system."""

    images: dict[str, Path]
    masks: dict[str, Path]
    rivals: tuple[tuple[Path, Path], ...]  # files of one folder that claim the same name

    @property
    def names(self) -> list[str]:
        """The names that have both an image and a mask, sorted."""
        return sorted(self.images.keys() & self.masks.keys())

    @property
    def without_mask(self) -> list[Path]:
        """Images that no mask belongs to."""
        return [self.images[name] for name in sorted(self.images.keys() - self.masks.keys())]

    @property
    def without_image(self) -> list[Path]:
        """Masks that no image belongs to."""
        return [self.masks[name] for name in sorted(self.masks.keys() - self.images.keys())]


def find_pairs(images: str | os.PathLike[str], masks: str | os.PathLike[str]) -> Pairs:
    """List the pictures in both folders and below; raises `InputError` where a folder is missing or has none."""
    check(
        os.path.realpath(images) != os.path.realpath(masks),
        f"{images}: stands for both images and masks; keep them in two folders",
    )
    found_images, rival_images = find_pictures(images, "images")
    found_masks, rival_masks = find_pictures(masks, "masks")
    return Pairs(found_images, found_masks, rival_images + rival_masks)


def find_pictures(folder: str | os.PathLike[str], what: str) -> tuple[dict[str, Path], tuple[tuple[Path, Path], ...]]:
    """The pictures in `folder` and below by name, and those that share a name; `what` they are is for messages."""
    folder = Path(folder)
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {reason}; wanted the folder that holds the {what}")
    Image.init()
    endings = {ending for ending, format in Image.registered_extensions().items() if format in Image.OPEN}
    found: dict[str, Path] = {}
    rivals: list[tuple[Path, Path]] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(place, file)
            if file.startswith(".") or path.suffix.lower() not in endings:
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                rivals.append((found[name], path))
            else:
                found[name] = path
    check(bool(found), f"{folder}: holds no picture; wanted {what} as PNG, JPEG, TIFF or another format Pillow reads")
    return found, tuple(rivals)
