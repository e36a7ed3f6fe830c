"""Geometric Context from Videos (Georgia Tech): frames of outdoor videos in eight classes, in the form of FC-DenseNet.

Raza, Grundmann, Essa, "Geometric Context from Video", 2013. Layout, values and colors are those that the authors of
FC-DenseNet (Jégou et al. 2017) read with their dataset_loaders; no file of the set itself has been seen here.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from densefield.built import described
from densefield.checks import InputError, check, counted
from densefield.classes import ClassList
from densefield.data.pairs import find_pairs
from densefield.data.published import Files, Origin, Published, home_of
from densefield.data.sample import data_root

GATECH = Origin(
    "Geometric Context from Videos", "https://www.cc.gatech.edu/cpl/projects/videogeometriccontext/, as single frames"
)

FILE_CLASSES = ClassList(
    names=("sky", "ground", "solid", "porous", "cars", "humans", "vertical mix", "main mix"),
    colors=(
        (255, 0, 0),
        (0, 130, 180),
        (0, 255, 0),
        (255, 255, 0),
        (120, 0, 255),
        (255, 0, 255),
        (160, 160, 160),
        (64, 64, 64),
    ),
    values=(1, 2, 3, 4, 5, 6, 7, 8),
    ignore_index=0,
    ignore_declared=True,
    ignore_colors=((255, 128, 0),),
)


@described()
def gatech(
    split: str = "train", *, root: Annotated[str, Field(default_factory=partial(data_root, "GATECH"))]
) -> Published:
    """Geometric Context from Videos: `root`/Images/Original/VIDEO_FRAME.png, and labels of that name in Ground_Truth.

    What stands before the first "_" is the video, and no video is in two splits: the last quarter of those in Images,
    in the order of their names, is "val", the rest "train" (as FC-DenseNet's authors split them); "test" is
    Images_test. In a recipe `root` is by default GATECH in $DENSEFIELD_DATA or in ./data.
    Raises `InputError` for what is missing.
    """
    check(split in ("train", "val", "test"), f"split: wanted train, val or test, received {split!r}")
    room = "Images_test" if split == "test" else "Images"
    frames, labels = f"{room}/Original", f"{room}/Ground_Truth"
    home = home_of(root, (frames, labels), GATECH)
    pairs = find_pairs(home / frames, home / labels)
    alone = pairs.without_mask + pairs.without_image
    if alone:
        raise InputError(f"{alone[0]}: has no partner ({counted(len(alone), 'such file')}); unpack all of it; {GATECH}")
    files = [Files(name, pairs.images[name].path, pairs.masks[name].path) for name in pairs.names]
    for name, image, _ in files:
        check("_" in name, f"{image}: its name says no video; wanted VIDEO_FRAME, such as 00_0001")
    if split != "test":
        videos = sorted({_video(each) for each in files})
        count = len(videos) * 3 // 4
        check(count > 0, f"{home / frames}: holds one video; wanted two at least, one of them for validation")
        chosen = videos[:count] if split == "train" else videos[count:]
        files = [each for each in files if _video(each) in chosen]
    return Published(files, FILE_CLASSES, GATECH)


def _video(files: Files) -> str:
    return files.name.partition("_")[0]
