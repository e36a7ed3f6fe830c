"""Label Studio's JSON: every kind of region pixel for pixel, images by their addresses, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brushes import packed

from drawing import seeded

SIZE = (20, 30)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
BRUSH = np.random.default_rng(seeded(5)).random(SIZE) < 0.2


def region(kind: str, label: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A result as Label Studio 1 exports it."""
    plain = {
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        "image_rotation": 0,
        "id": "aB3",
        "origin": "manual",
    }
    names = {"from_name": "label", "to_name": "image", "type": kind}
    return {**plain, **names, "value": {**value, kind: [label]}, **more}


def task(image: str, *results: Any, **more: Any) -> dict[str, Any]:
    annotation = {"id": 1, "completed_by": 1, "result": list(results), "was_cancelled": False, "ground_truth": False}
    return {"id": 1, "annotations": [annotation], "drafts": [], "predictions": [], "data": {"image": image}, **more}


SQUARE = [[0, 0], [50, 0], [50, 50], [0, 50]]  # percent
POLYGON = region("polygonlabels", "cat", {"points": SQUARE, "closed": True})


@pytest.fixture
def source(tmp_path: Path, photo: Any) -> Path:
    """An export and its images, uploaded one, another from a folder of the server."""
    home = tmp_path / "src"
    for name in ("a.png", "deep/b c.png", "other/b c.png"):
        photo(home / "photos" / name, SIZE)
    return home


def write(source: Path, *tasks: Any) -> Path:
    (source / "project-1-at-2024-05-06.json").write_text(json.dumps(list(tasks)))
    return source


def test_every_region_pixel_for_pixel_and_later_ones_on_top(source: Path, imported: Any) -> None:
    turned = {"x": 60, "y": 10, "width": 20, "height": 20, "rotation": 30}
    write(
        source,
        task(
            "/data/upload/1/0a1b2c3d-a.png",
            POLYGON,
            region("rectanglelabels", "dog", turned),
            region("ellipselabels", "sofa", {"x": 30, "y": 60, "radiusX": 20, "radiusY": 15, "rotation": 40}),
            region("keypointlabels", "cat", {"x": 1, "y": 1, "width": 1}),
        ),
        task(
            "/data/local-files/?d=photos/deep/b%20c.png",
            region("brushlabels", "dog", {"format": "rle", "rle": packed(BRUSH)}),
        ),
        task("https://host/other/b%20c.png", annotations=[]),
    )
    classes, masks, said = imported(source, "label_studio")
    assert classes.names == ("background", "cat", "dog", "sofa")
    wanted = np.zeros(SIZE, int)
    wanted[:10, :15] = 1
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    across, down = (X - 18) * cosine + (Y - 2) * sine, -(X - 18) * sine + (Y - 2) * cosine
    wanted[(across > 0) & (across < 6) & (down > 0) & (down < 4)] = 2
    cosine, sine = np.cos(np.deg2rad(40)), np.sin(np.deg2rad(40))
    along, aside = (X - 9) * cosine + (Y - 12) * sine, -(X - 9) * sine + (Y - 12) * cosine
    wanted[(along / 6) ** 2 + (aside / 3) ** 2 < 1] = 3
    assert np.array_equal(masks["photos/a"], wanted)
    assert np.array_equal(masks["photos/deep/b c"], 2 * BRUSH)
    assert "left out: 1 × result of type keypointlabels" in said
    assert "left out: 1 × task without an annotation" in said


def test_of_several_annotations_the_ground_truth_is_taken(source: Path, imported: Any) -> None:
    other = region("polygonlabels", "dog", {"points": SQUARE})
    several = [
        {"result": [other], "was_cancelled": True},
        {"result": []},
        {"result": [POLYGON, region("polygonlabels", "cat", {"points": SQUARE, "polygonlabels": []})]},
    ]
    several[2]["ground_truth"] = True
    write(source, task("s3://bucket/a.png", annotations=several), task("photos\\other\\b c.png", other))
    classes, masks, said = imported(source / "project-1-at-2024-05-06.json", "label_studio", "--images", str(source))
    assert classes.names == ("background", "cat", "dog")
    assert masks["photos/a"].sum() == 150
    assert "left out: 1 × further annotation of a task" in said


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (region("polygonlabels", "cat", {"points": SQUARE[:2]}), "[0]: result[0] ('cat'): a polygon of 2 points"),
        (region("polygonlabels", "cat", {"points": [[0, 0], [1, 1], [0, 111]]}), "(0, 22.2) lies outside of the image"),
        (region("rectanglelabels", "cat", {"x": 1, "y": 1}), "x, y, width, height: wanted finite numbers"),
        (region("ellipselabels", "cat", {"x": 1, "y": 1, "radiusX": 0, "radiusY": 2}), "radii: wanted positive"),
        (region("brushlabels", "cat", {"rle": [0, 0]}), "rle: ends early"),
        (region("polygonlabels", "cat", {"points": SQUARE}, image_rotation=90), "turned by 90°"),
        (region("polygonlabels", "cat", {"points": SQUARE}, original_width=31), "labels 31x20 pixels, its image"),
        (region("polygonlabels", "cat", {"points": SQUARE}, original_width="x"), "original_width: wanted a whole"),
        (region("polygonlabels", "a\nb", {"points": SQUARE}), "wanted text of one line"),
        ({}, "result[0]: type: wanted text, received nothing"),
    ],
)
def test_a_bad_region_is_one_line(source: Path, refused: Any, wrong: Any, line: str) -> None:
    assert line in refused(write(source, task("a.png", wrong)), "label_studio")


def test_other_slips_are_one_line(source: Path, tmp_path: Path, refused: Any) -> None:
    twice = write(source, task("a.png", POLYGON), task("b c.png", POLYGON))
    assert "there are several b c.png in" in refused(twice, "label_studio")
    assert "no image c.png in" in refused(write(source, task("c.png", POLYGON)), "label_studio")
    assert "data names no image" in refused(write(source, task("hello", POLYGON)), "label_studio")
    two = task("a.png", POLYGON, data={"left": "a.png", "right": "a.png"})
    assert "data names several images: left, right" in refused(write(source, two), "label_studio")
    (source / "project-1-at-2024-05-06.json").write_text("{}")
    assert "export from Label Studio as JSON" in refused(source, "label_studio")
    (source / "project-1-at-2024-05-06.json").write_text("[]")
    assert "holds no labelled image" in refused(source, "label_studio")
    (source / "another.json").write_text("[]")
    assert "holds 2 .json files; name the one that is meant" in refused(source, "label_studio")
    (tmp_path / "mine.yaml").write_text("[background, dog]\n")
    unknown = write(source, task("a.png", POLYGON)) / "project-1-at-2024-05-06.json"
    flags = ("--classes", str(tmp_path / "mine.yaml"))
    assert "the label 'cat' is not in the class list" in refused(unknown, "label_studio", *flags)
