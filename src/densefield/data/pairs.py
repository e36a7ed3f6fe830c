"""Which image belongs to which mask: the same path below its folder, whatever the ending."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections import Counter

from densefield.checks import check
from densefield.images.listing import Listing, Picture, list_pictures


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What two folders hold. Names are paths below the folder without ending, with "/" and composed letters (NFC)."""

    images: dict[str, Picture]
    masks: dict[str, Picture]
    rivals: tuple[tuple[Picture, Picture], ...]  # pictures of one folder that claim the same name
    listings: tuple[Listing, ...]
    suffix: str = ""

    @property
    def names(self) -> list[str]:
        """The names that have both an image and a mask, sorted."""
        return sorted(self.images.keys() & self.masks.keys())

    @property
    def without_mask(self) -> list[Picture]:
        """Images that no mask belongs to."""
        return [self.images[name] for name in sorted(self.images.keys() - self.masks.keys())]

    @property
    def without_image(self) -> list[Picture]:
        """Masks that no image belongs to."""
        return [self.masks[name] for name in sorted(self.masks.keys() - self.images.keys())]

    def hints(self) -> dict[Picture, str]:
        """For pictures without a partner: which file may be meant, and what to do."""
        images = {name: self.images[name] for name in self.images.keys() - self.masks.keys()}
        masks = {name: self.masks[name] for name in self.masks.keys() - self.images.keys()}
        found: dict[Picture, str] = {}
        folded = {name.casefold(): mask for name, mask in masks.items()}
        pages = {mask.path.stem: mask for mask in masks.values() if mask.page is not None}
        # Every beginning of a mask's name that is an image's: what follows is the suffix that most masks share.
        affixes = Counter(
            name[cut:] for name in masks for cut in range(1, len(name)) if name[:cut] in images if "/" not in name[cut:]
        )
        affix = affixes.most_common(1)[0][0] if affixes else ""
        for name, image in images.items():
            if name.casefold() in folded:
                mask = folded[name.casefold()]
                hint = f"{image.path} and {mask.path} differ in capital letters only; rename one of them"
            elif image.path.stem in pages and image.page is None:
                mask = pages[image.path.stem]
                hint = f"{mask.path} has several pages and {image.path} one; wanted the same number"
            elif image.page is not None and image.path.stem in masks:
                mask = masks[image.path.stem]
                hint = f"{image.path} has several pages and {mask.path} one; wanted the same number"
            elif affix and name + affix in masks:
                mask = masks[name + affix]
                hint = (
                    f"{image.path.name} and {mask.path.name} are there: masks named so are found by"
                    f" --suffix {self.suffix}{affix}, in a recipe data.suffix: {self.suffix}{affix}"
                )
            else:
                continue
            found[image] = found[mask] = hint
        return found


def find_pairs(images: str | os.PathLike[str], masks: str | os.PathLike[str], *, suffix: str = "") -> Pairs:
    """List the pictures in both folders and below; masks are named NAME + `suffix`.

    With a suffix both may lie in one folder. Raises `InputError` where a folder is missing or has none.
    """
    same = os.path.realpath(images) == os.path.realpath(masks)
    check(
        not same or bool(suffix),
        f"{images}: stands for both images and masks; keep them in two folders, or name the masks by a suffix",
    )
    of_images = list_pictures(images, "images", deep=True)
    of_masks = of_images if same else list_pictures(masks, "masks", deep=True)
    found_images, rivals = _by_name(of_images, without=suffix if same else "")
    found_masks, rival_masks = _by_name(of_masks, suffix=suffix)
    check(bool(found_masks), f"{masks}: holds no mask whose name ends in {suffix!r}; check the suffix")
    listings = (of_images,) if same else (of_images, of_masks)
    return Pairs(found_images, found_masks, rivals + rival_masks, listings, suffix)


def _by_name(
    listing: Listing, *, suffix: str = "", without: str = ""
) -> tuple[dict[str, Picture], tuple[tuple[Picture, Picture], ...]]:
    """The pictures whose names end in `suffix`, and not in `without`, by their names less the suffix; and rivals."""
    found: dict[str, Picture] = {}
    rivals = []
    for picture in listing.pictures:
        # The same letters may be stored composed or not: macOS and Linux differ in it.
        name = unicodedata.normalize("NFC", listing.name(picture))
        if not name.endswith(suffix) or (without and name.endswith(without)):
            continue
        name = name.removesuffix(suffix)
        if name in found:
            rivals.append((found[name], picture))
        else:
            found[name] = picture
    return found, tuple(rivals)
