"""Is a folder of images and masks fit for training? All that is wrong with it, and how often each class occurs."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from densefield.checks import InputError, counted
from densefield.classes import ClassList
from densefield.data.pairs import Pairs, find_pairs
from densefield.data.sample import describe_foreign, unseen_classes
from densefield.images import AS_DECLARED, Reading, read_image, read_labels
from densefield.images.listing import Picture

_SHOWN = 10  # problems of a kind in the table; the rest is counted


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that would spoil training: its kind, and a line that names the file and what to do."""

    kind: str
    message: str


@dataclasses.dataclass(frozen=True)
class Audit:
    """What `audit` found. Pixels are counted by label value over all masks that could be read."""

    pairs: int
    problems: tuple[Problem, ...]
    pixels: dict[int, int]
    images_with: dict[int, int]  # how many masks hold the value at all
    sizes: dict[tuple[int, int], int]  # images by (width, height)
    classes: ClassList | None
    left_out: tuple[str, ...] = ()  # a line for each folder that holds more than pictures

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, else 2."""
        return 0 if self.good else 2

    @property
    def unseen(self) -> list[str]:
        """Classes without a single pixel; no error, yet nothing can be learned of them."""
        if self.classes is None:
            return []
        listed = zip(self.classes.names, self.classes.values, strict=True)
        return [name for name, value in listed if not self.pixels.get(value)]

    def show(self, console: Console) -> None:
        """Print the class table, the problems by kind and a last line that says whether all is well."""
        console.print(Group(*self._lines()))

    def _lines(self) -> Iterable[Table | Text]:
        if self.pixels:
            yield self._class_table()
        if self.sizes:
            (width, height), most = max(self.sizes.items(), key=lambda item: item[1])
            others = f", {counted(len(self.sizes) - 1, 'other size')}" if len(self.sizes) > 1 else ""
            found = f"{counted(self.pairs, 'pair')} of image and mask"
            yield Text(f"{found}; {counted(most, 'image')} of {width}x{height}{others}")
            if others:
                advice = "Images of several sizes: train with augmentation.crop, or with batch_size 1 where all differ."
                yield Text(advice, style="yellow")
        if self.unseen:
            yield Text(f"No pixel of: {', '.join(self.unseen)}", style="yellow")
        kinds = Counter(problem.kind for problem in self.problems)
        for kind, count in kinds.items():
            yield Text(f"{kind}: {count}", style="bold red")
            for problem in [problem for problem in self.problems if problem.kind == kind][:_SHOWN]:
                yield Text(f"  {problem.message}")
            if count > _SHOWN:
                yield Text(f"  ... and {count - _SHOWN} more")
        for line in self.left_out:
            yield Text(line, style="yellow")
        if self.good:
            yield Text("Nothing is wrong.", style="bold green")
        else:
            count = len(self.problems)
            yield Text(f"{count} problem{'s' if count > 1 else ''} in all.", style="bold red")

    def _class_table(self) -> Table:
        table = Table("value", "class", "pixels", "share", "in images")
        for column in table.columns[:1] + table.columns[2:]:
            column.justify = "right"
        total = sum(self.pixels.values())
        named = self.classes.values if self.classes else ()
        for value in sorted({*self.pixels, *named}):
            name = Text("no class", style="red")
            if self.classes is None:
                name = Text("")
            elif value in self.classes.values:
                index = self.classes.values.index(value)
                red, green, blue = self.classes.colors[index]
                name = Text.assemble(("██", f"rgb({red},{green},{blue})"), f" {self.classes.names[index]}")
            elif value == self.classes.ignore_index and self.classes.ignore_declared:
                name = Text("not labelled (ignored)", style="dim")
            count = self.pixels.get(value, 0)
            seen = str(self.images_with.get(value, 0))
            table.add_row(str(value), name, f"{count:,}", f"{100 * count / total:.2f} %", seen)
        return table


def audit(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str],
    classes: ClassList | None = None,
    *,
    suffix: str = "",
    reading: Reading = AS_DECLARED,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> Audit:
    """Read every image and mask of two folders and note what is wrong with them.

    Masks are named as their images, with `suffix` behind the name. Without `classes` nothing says what the values mean,
    which is a problem too, as is whatever leaves nothing to learn. `progress` may wrap the names to show how far
    the work is. Raises `InputError` for a missing or empty folder.
    """
    pairs = find_pairs(images, masks, suffix=suffix)
    problems = _pair_problems(pairs, images, masks)
    pixels: Counter[int] = Counter()
    images_with: Counter[int] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    for name in progress(pairs.names):
        image_size = _size_of_image(pairs.images[name], reading, problems)
        if image_size is not None:
            sizes[image_size] += 1
        try:
            labels = read_labels(pairs.masks[name], classes)
        except InputError as error:
            problems.append(Problem("unusable mask", str(error)))
            continue
        size = (labels.shape[1], labels.shape[0])
        if image_size is not None and image_size != size:
            problems.append(_size_problem(pairs.images[name], image_size, pairs.masks[name], size))
        values, counts = np.unique(labels, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            pixels[value] += count
            images_with[value] += 1
        problems += _label_problems(pairs.masks[name], values, classes)
    problems += _problems_of_all(pixels, len(pairs.names), classes)
    left_out = tuple(f"{one.folder}: left out {one.left_out()}" for one in pairs.listings if one.others)
    return Audit(len(pairs.names), tuple(problems), dict(pixels), dict(images_with), dict(sizes), classes, left_out)


def _pair_problems(pairs: Pairs, images: str | os.PathLike[str], masks: str | os.PathLike[str]) -> list[Problem]:
    """Pictures without a partner, of one name, and folders that cannot be looked into."""
    hints = pairs.hints()
    problems = []
    for kind, alone, folder in (
        ("image without mask", pairs.without_mask, masks),
        ("mask without image", pairs.without_image, images),
    ):
        this, _, wanted = kind.split()
        for picture in alone:
            fix = hints.get(picture, f"add one or remove the {this}")
            problems.append(Problem(kind, f"{picture}: no {wanted} of this name in {folder}; {fix}"))
    for first, second in pairs.rivals:
        message = f"{second}: has the same name as {first.path.name}; keep one of them"
        problems.append(Problem("two files of one name", message))
    for listing in pairs.listings:
        for place in listing.unreadable:
            problems.append(Problem("unreadable folder", f"{place}: cannot be read; check its permissions"))
    return problems


def _size_of_image(path: Picture, reading: Reading, problems: list[Problem]) -> tuple[int, int] | None:
    """(width, height) of an image that can be decoded to its end; else None, and a problem more."""
    try:
        image = read_image(path, reading)
    except InputError as error:
        problems.append(Problem("unusable image", str(error)))
        return None
    return image.shape[1], image.shape[0]


def _size_problem(image: Picture, image_size: tuple[int, int], mask: Picture, size: tuple[int, int]) -> Problem:
    """An image and a mask whose sizes differ."""
    message = f"{mask}: {size[0]}x{size[1]} pixels, its image {image.path.name} has {image_size[0]}x{image_size[1]}"
    if image_size == size[::-1]:
        message += "; is the image rotated by its EXIF entry?"
    return Problem("sizes differ", message)


def _label_problems(mask: Picture, values: np.ndarray, classes: ClassList | None) -> list[Problem]:
    """Label values of one mask that the class list does not know."""
    foreign = classes.foreign(values) if classes is not None else []
    if classes is None or not foreign:
        return []
    said = describe_foreign(foreign, classes, unseen_classes(values, classes))
    return [Problem("value outside the class list", f"{mask}: {said}")]


def _problems_of_all(pixels: Mapping[int, int], pairs: int, classes: ClassList | None) -> list[Problem]:
    """What is wrong with the masks as a whole: no class list, nothing that could be learned, nothing to hold out."""
    problems = []
    if pairs == 1:
        message = "one image with its mask; wanted at least two, one of them for validation"
        problems.append(Problem("too few pairs", message))
    total = sum(pixels.values())
    if classes is None:
        message = f"no class list says what masks hold{_suggested(sorted(pixels))}"
        return [*problems, Problem("no class list", message)]
    labelled = {name: pixels.get(value, 0) for name, value in zip(classes.names, classes.values, strict=True)}
    seen = [name for name, count in labelled.items() if count]
    if total == 0 or len(seen) > 1:
        return problems
    missing = [name for name in classes.names if name not in seen]
    others = {value: count for value, count in pixels.items() if value not in classes.values}
    message = f"the only class with pixels is {seen[0]!r}" if seen else "no pixel is of any class"
    message += "; wanted two classes at least"
    if others:
        value, count = max(others.items(), key=lambda item: item[1])
        ignored = classes.ignore_declared and value == classes.ignore_index
        what = ", which the class list ignores" if ignored else ""
        message += f"; {100 * count / total:.1f} % of the pixels hold {value}{what}"
        meant = repr(missing[0]) if len(missing) == 1 else "one of the classes"
        instead = f" in place of ignore_index: {value}" if ignored else ""
        if 0 <= value <= 255:
            message += f"; if that is {meant}, write value: {value} into its entry in the class list{instead}"
    return [*problems, Problem("nothing to tell apart", message)]


def _suggested(values: list[int]) -> str:
    """The class list that would fit the values, as far as they are few."""
    if not 2 <= len(values) <= 20 or values[0] < 0 or values[-1] > 255:
        return f" ({len(values)} values); name the classes in classes.yaml beside the folders, or by --classes"
    border = len(values) > 2 and values[-1] == 255  # as Pascal VOC and Cityscapes mark what is not labelled
    values = values[:-1] if border else values
    plain = values == list(range(len(values)))
    entries = [f"class{place}" if plain else f"{{name: class{place}, value: {v}}}" for place, v in enumerate(values)]
    told = "{{classes: [{}], ignore_index: 255}}, where 255 is not labelled" if border else "classes: [{}]"
    return f"; write classes.yaml beside the folders, such as: {told.format(', '.join(entries))}"
