"""The one folder layout: images, masks of the same names as index PNGs, classes.yaml; there whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import yaml
from PIL import Image

from densefield.checks import InputError, check, one_line
from densefield.data.imports.found import Embedded, Found, Item, Size
from densefield.files import atomic_write
from densefield.images import read_image, write_labels
from densefield.images.listing import picture_endings

_ORIENTATION = 274  # EXIF
_ON_THE_SIDE = (5, 6, 7, 8)


def write(
    found: Found,
    out: Path,
    *,
    copy: bool = False,
    progress: Callable[[list[Item]], Iterable[Item]] = iter,
) -> None:
    """Write what was found into the folder `out`, which must be new or empty.

    Images become links to where they lie, or with `copy` files of their own. Raises `InputError` where a name stands
    twice, an image is missing or of another size than its labels, or `out` cannot be written; then there is no `out`.
    """
    _check_names(found)
    with _whole_folder(out) as folder:
        for item in progress(list(found.items)):
            target = folder / "images" / f"{item.name}{_ending(item)}"
            target.parent.mkdir(parents=True, exist_ok=True)
            size = _size(item)
            _check_size(item, item.size or size, size)
            labels = item.labels(size)
            _check_size(item, labels.shape, size)
            write_labels(folder / "masks" / f"{item.name}.png", labels, found.classes)
            if isinstance(item.image, Embedded):
                target.write_bytes(item.image.data)
            elif copy:
                shutil.copyfile(item.image, target)
            else:
                _link(item.image, target)
        with atomic_write(folder / "classes.yaml") as file:
            file.write(yaml.safe_dump(found.classes.to_dict(), sort_keys=False, allow_unicode=True).encode())


def _link(image: Path, target: Path) -> None:
    try:
        os.symlink(os.path.abspath(image), target)
    except (OSError, NotImplementedError) as error:  # as on Windows, and on file systems of cameras
        raise InputError(f"{target.name}: no link can be made ({one_line(error, 80)}); use --copy") from error


def _check_names(found: Found) -> None:
    """No two images of one name, and none that no one would find again."""
    seen: dict[str, Item] = {}
    endings = picture_endings()
    for item in found.items:
        twice = f"{item.where}: its image goes by the name {item.name!r}, as that of"
        check(item.name not in seen, f"{twice} {seen.get(item.name, item).where}; rename one of the two")
        seen[item.name] = item
        hidden = any(part.startswith(".") for part in item.name.split("/"))
        check(not hidden, f"{item.where}: {item.name!r} begins with a dot, and so is hidden; rename it")
        ending = _ending(item)
        known = ending.lower() in endings
        check(known, f"{item.where}: its image {item.name}{ending} ends like no picture; wanted .jpg, .png or the like")
        there = isinstance(item.image, Embedded) or os.path.exists(item.image)
        check(there, f"{item.where}: no such image as {item.image}; put it there")


def _check_size(item: Item, said: tuple[int, ...], size: Size) -> None:
    hint = "; is the image turned by its EXIF entry?" if said == size[::-1] else ""
    wrong = f"{item.where}: labels {said[1]}x{said[0]} pixels, its image {item.name} has {size[1]}x{size[0]}{hint}"
    check(said == size, wrong)


def _ending(item: Item) -> str:
    return item.image.ending if isinstance(item.image, Embedded) else item.image.suffix


def _size(item: Item) -> Size:
    """Height and width of the upright image, from its first bytes where they tell it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of big pictures and odd EXIF: `read_image` judges them
            with Image.open(_source(item)) as picture:
                turned = picture.getexif().get(_ORIENTATION) in _ON_THE_SIDE
                return picture.size if turned else picture.size[::-1]
    except Exception:  # what Pillow does not open may be a TIFF that we read, and the reason is told well there
        try:
            height, width, _ = read_image(_source(item)).shape
        except InputError as error:
            raise InputError(f"{item.where}: {error}") from error
        return height, width


def _source(item: Item) -> Path | io.BytesIO:
    return io.BytesIO(item.image.data) if isinstance(item.image, Embedded) else item.image


@contextlib.contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the block ends well; else it is gone, as if never made."""
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
        check(not taken, f"{out}: is there already; wanted a new folder, or an empty one")
        made = [parent for parent in out.absolute().parents if not parent.exists()]
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=f".{out.name[:40]}.", suffix=".part"))
        try:
            yield folder
            folder.chmod(out.absolute().parent.stat().st_mode & 0o777)  # mkdtemp's is for nobody else
            if out.exists():
                out.rmdir()  # empty
            folder.rename(out)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                for parent in made:
                    parent.rmdir()
            raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise InputError(f"{out}: could not be written ({place}{error.strerror}); choose another place") from error
