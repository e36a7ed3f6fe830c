"""A miniature of a Cell Tracking Challenge set: frames with labels, cells pixel for pixel, one told from another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from densefield.checks import InputError
from densefield.data import cell_tracking
from densefield.data.cell_tracking import touching
from densefield.losses import border_weights
from densefield.runs.files import validated
from drawing import seeded

# Which frames have labels, of five in each sequence; the second counts in four digits.
LABELLED = {"01": ("t000", "t003"), "02": ("t0001",)}
SIZE = (9, 11)


def cells_of(sequence: str, frame: str) -> np.ndarray:
    """16-bit numbers with gaps, beyond 255 too; some cells touch."""
    cells = np.zeros(SIZE, np.uint16)
    cells[:3, :4], cells[:3, 4:7], cells[5:, :2], cells[6:, 5:] = 1, 2000, 255, 300 + int(sequence) + int(frame[1:])
    return cells


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "PhC-C2DH-U373"
    for sequence, frames in LABELLED.items():
        digits = len(frames[0]) - 1
        for place in (sequence, f"{sequence}_GT/SEG", f"{sequence}_GT/TRA", f"{sequence}_ST/SEG"):
            (home / place).mkdir(parents=True)
        for number in range(5):
            image = np.full(SIZE, 20 * number, np.uint8)
            Image.fromarray(image).save(home / sequence / f"t{number:0{digits}}.tif")
            tracks = home / f"{sequence}_GT" / "TRA" / f"man_track{number:0{digits}}.tif"
            Image.fromarray(np.zeros(SIZE, np.uint16)).save(tracks)
            silver = home / f"{sequence}_ST" / "SEG" / f"man_seg{number:0{digits}}.tif"
            Image.fromarray(np.ones(SIZE, np.uint16)).save(silver)
        (home / f"{sequence}_GT" / "TRA" / "man_track.txt").write_text("1 0 4 0\n")
        for frame in frames:
            labels = home / f"{sequence}_GT" / "SEG" / f"man_seg{frame[1:]}.tif"
            Image.fromarray(cells_of(sequence, frame)).save(labels, compression="tiff_lzw")
    return home


@pytest.mark.parametrize(("split", "sequence"), [("train", "01"), ("val", "02")])
def test_the_frames_that_have_labels_with_their_cells(root: Path, split: str, sequence: str) -> None:
    pairs = cell_tracking(split, root=str(root))
    assert pairs.names == [f"{sequence}/{frame}" for frame in LABELLED[sequence]]
    for index, frame in enumerate(LABELLED[sequence]):
        sample, cells = pairs[index], cells_of(sequence, frame)
        np.testing.assert_array_equal(sample.target, cells > 0)
        assert (sample.image == 20 * int(frame[1:])).all()
        instances = pairs.instances(index)
        assert instances.dtype == np.uint16
        # 1, 255, 300 and more, 2000: numbered anew in their order.
        renumbered = dict(zip(np.unique(cells).tolist(), range(5), strict=True))
        assert instances.tolist() == [[renumbered[value] for value in row] for row in cells.tolist()]
    assert (pairs.classes.names, pairs.classes.ignore_index) == (("background", "cell"), 255)


def test_no_cell_has_the_number_that_means_ignored(root: Path) -> None:
    cells = np.arange(1, 801, dtype=np.uint16).reshape(20, 40)
    Image.fromarray(cells).save(root / "02_GT" / "SEG" / "man_seg0001.tif")
    numbers = cell_tracking("val", root=str(root)).instances(0)
    assert numbers.ravel().tolist() == [*range(1, 255), *range(256, 802)]  # 0 is the background, of which there is none


def test_instances_reach_the_border_weights_where_cells_touch(root: Path) -> None:
    pairs = cell_tracking("val", root=str(root))
    instances = pairs.instances(0)
    weights, merged = border_weights(instances, sigma=2.0), border_weights(pairs[0].target > 0, sigma=2.0)
    np.testing.assert_array_equal(weights, border_weights(cells_of("02", "t0001"), sigma=2.0))
    assert weights[1, 3] > 9  # between two cells that touch, which are one for a map of components
    assert merged[1, 3] < 2


def test_separate_takes_the_pixels_at_which_cells_touch(root: Path) -> None:
    pairs = cell_tracking("val", root=str(root), separate=True)
    wanted = cells_of("02", "t0001") > 0
    wanted[:3, 3:5] = False
    np.testing.assert_array_equal(pairs[0].target, wanted)
    np.testing.assert_array_equal(pairs.instances(0), cell_tracking("val", root=str(root)).instances(0))


def test_touching_is_having_another_cell_at_one_of_four_sides() -> None:
    cells = np.random.default_rng(seeded(3)).integers(0, 4, (8, 9))
    padded = np.pad(cells, 1)
    for y, x in np.ndindex(cells.shape):
        sides = {int(padded[y + 1 + dy, x + 1 + dx]) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))}
        assert touching(cells)[y, x] == (cells[y, x] > 0 and bool(sides - {0, int(cells[y, x])}))


def test_silver_truth_and_another_sequence_held_out(root: Path) -> None:
    silver = cell_tracking(root=str(root), variant="silver", val="01")
    assert silver.names == [f"02/t{number:04}" for number in range(5)]
    assert all((sample.target == 1).all() for sample in silver)


def test_16_bits_are_read_by_the_range_that_a_recipe_says(root: Path) -> None:
    Image.fromarray(np.full(SIZE, 2000, np.uint16)).save(root / "02" / "t0001.tif")
    with pytest.raises(InputError, match=r"t0001\.tif: .*range"):
        cell_tracking("val", root=str(root))[0]
    plain = {"name": "cells", "network": {"kind": "unet"}, "stages": [{"epochs": 1}]}
    data = {"kind": "cell_tracking", "root": str(root), "range": [0, 4000], "separate": True}
    pairs = validated({**plain, "data": data}, "cells.yaml").pairs("val")
    assert (pairs.reading.range, int(pairs[0].image[0, 0, 0])) == ((0, 4000), 128)
    with pytest.raises(InputError, match=r"cells\.yaml: .*data\.val"):
        validated({**plain, "data": {**data, "val": "2"}}, "cells.yaml")


def test_what_is_missing_is_named_with_where_the_set_is_to_be_had(root: Path) -> None:
    with pytest.raises(InputError, match=r"split: wanted train or val, received 'test'; .* have no labels"):
        cell_tracking("test", root=str(root))
    with pytest.raises(InputError, match=r"holds no 02, no 02_GT/SEG; .*they lie in .*PhC-C2DH-U373, so give that"):
        cell_tracking(root=str(root.parent))
    (root / "01" / "t003.tif").unlink()
    with pytest.raises(InputError, match=r"t003\.tif: no such file; 1 of the split's 2 images .*celltrackingchallenge"):
        cell_tracking(root=str(root))
    (root / "02_GT" / "SEG" / "man_seg0001.tif").rename(root / "02_GT" / "SEG" / "seg0001.tif")
    with pytest.raises(InputError, match=r"SEG: holds no man_seg000\.tif; unpack all of it; a set of the Cell"):
        cell_tracking("val", root=str(root))
    (root / "01").rename(root / "frames")
    with pytest.raises(InputError, match=r"^data\.root: .*holds no 01; wanted 01; unpack all of it; .*2d-datasets"):
        cell_tracking(root=str(root))
    (root / "01_GT").rename(root / "GT")
    with pytest.raises(InputError, match="only 02 has labels, and is held out; wanted another sequence"):
        cell_tracking(root=str(root))


def test_volumes_and_rivals_are_refused(root: Path) -> None:
    labels = root / "02_GT" / "SEG"
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(labels / "man_seg001.tif")
    with pytest.raises(InputError, match=r"man_seg001\.tif: is the same frame as .*man_seg0001\.tif; keep one"):
        cell_tracking("val", root=str(root))
    (labels / "man_seg001.tif").rename(labels / "man_seg_000_001.tif")
    with pytest.raises(InputError, match=r"man_seg_000_001\.tif: is a slice of a volume; wanted"):
        cell_tracking("val", root=str(root))
    (labels / "man_seg_000_001.tif").unlink()
    tifffile.imwrite(labels / "man_seg0001.tif", np.zeros((3, *SIZE), np.uint16), photometric="minisblack")
    with pytest.raises(InputError, match=r"man_seg0001\.tif: is a volume; wanted a set of plane images"):
        cell_tracking("val", root=str(root))
    tifffile.imwrite(labels / "man_seg0001.tif", np.full(SIZE, -1, np.int16))
    with pytest.raises(InputError, match=r"man_seg0001\.tif: holds the number -1; wanted 0 for the background"):
        cell_tracking("val", root=str(root))[0]
