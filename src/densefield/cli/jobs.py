"""The images that a command works through, the files that it writes for each, and what is said at the end."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from densefield.checks import InputError, check
from densefield.cli.failures import of_an_image
from densefield.cli.flags import Results
from densefield.images.listing import Picture, list_pictures, pictures_of

STANDARD_INPUT = Path("-")


class Job(NamedTuple):
    """One image, the name of its outputs, and the files that are wanted of it."""

    source: Picture
    labels: Path
    overlay: Path | None
    scores: Path | None

    def done(self) -> bool:
        """Whether every wanted file is there; each was written whole or not at all. Standard input is another now."""
        return self.source.path != STANDARD_INPUT and all(path.exists() for path in self.outputs())

    def outputs(self) -> list[Path]:
        """The files that are wanted."""
        return [path for path in (self.labels, self.overlay, self.scores) if path is not None]


def find_sources(image: Path, *, without: tuple[str, ...] = ()) -> tuple[list[Picture], str]:
    """The image itself (of a stack each page), or the images of a folder in order of name; and what is left out there.

    Those of a folder whose names end in one of `without` are no images but the masks that lie among them.
    """
    if image == STANDARD_INPUT:
        return [Picture(image)], ""
    if image.is_file():
        return pictures_of(image), ""
    check(image.exists(), f"{image}: no such file or folder; wanted an image, a folder of images, or -")
    check(
        image.is_dir(), f"{image}: is a pipe or a device; wanted an image, a folder of images, or - for standard input"
    )
    listing = list_pictures(image)
    pictures = [picture for picture in listing.pictures if not picture.stem.endswith(without)]
    check(bool(pictures), f"{image}: all its pictures are named as masks, {', '.join(without)}; check the suffix")
    return pictures, listing.left_out()


def plan_jobs(image: Path, sources: Sequence[Picture], wanted: Results) -> list[Job]:
    """What to write for each source found in `image`.

    Raises `InputError` where two results, or a result and an input, collide.
    """
    out = wanted.out
    apart = not image.is_dir() or image.resolve() != out.resolve()
    # A second run would take the first one's results for images.
    check(apart, f"{out}: is the folder of the images; choose another --out, such as {out / 'results'}")
    check(not out.exists() or out.is_dir(), f"{out}: is a file; wanted a folder for the results")
    jobs = [
        Job(
            source,
            out / f"{name}.png",
            out / "overlays" / f"{name}.png" if wanted.overlay else None,
            out / "scores" / f"{name}.npy" if wanted.scores else None,
        )
        for source, name in zip(sources, _names(sources), strict=True)
    ]
    inputs = {source.path.resolve() for source in sources if source.path != STANDARD_INPUT}
    for job in jobs:
        for path in job.outputs():
            check(not path.is_dir(), f"{path}: is a folder, where a result belongs; rename it, or choose another --out")
            check(path.resolve() not in inputs, f"{path}: would overwrite an input image; choose another --out")
    return jobs


def _names(sources: Sequence[Picture]) -> list[str]:
    """An output name for each image: a.jpg → a, but a.jpg and a.png side by side keep their endings: a.jpg, a.png."""
    names = ["stdin" if source.path == STANDARD_INPUT else source.stem for source in sources]
    whole = [source.path.name if source.page is None else f"{source.path.name}.{source.page:04}" for source in sources]
    while True:
        # Upper and lower case meet in one file on some systems.
        taken = Counter(name.casefold() for name in names)
        again = [place for place, name in enumerate(names) if taken[name.casefold()] > 1]
        if not again:
            return names
        kept = [place for place in again if names[place] != whole[place]]
        if not kept:
            first, second = (sources[place] for place in again[:2])
            raise InputError(f"{first} and {second}: would write the same result; rename one of them")
        for place in kept:
            names[place] = whole[place]


def summarize(
    done: str, ended: Generator[tuple[Job, Exception | None]], out: Path, skipped: int, left_out: str, remedy: str
) -> int:
    """Wait until all have `ended`; print how many were `done` ("refined"), what was there already, failed, or no image.

    `remedy` is what helps an image that is too large. Returns the exit status: 2 when one failed.
    """
    with contextlib.closing(ended):  # what stops here is told after the progress bar
        outcomes = [(job.source, None if error is None else of_an_image(error, remedy)) for job, error in ended]
    failed = [(source, reason) for source, reason in outcomes if reason is not None]
    already = f", {skipped} already there (--overwrite does them again)" if skipped else ""
    wrong = f", {len(failed)} failed:" if failed else ""
    print(f"{len(outcomes) - len(failed)} {done} into {out}{already}{wrong}")
    for source, reason in failed:
        print(f"  {reason}" if str(source) in reason else f"  {source}: {reason}", file=sys.stderr)
    if left_out:
        print(f"left out, as no images: {left_out}")
    return 2 if failed else 0
