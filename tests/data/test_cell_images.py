import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.data import CellImages


def make(root, count):
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((4, 6), index % 2, np.uint8)).save(root / folder / f"{index:02}.png")


def test_split_cuts_the_stack_once(tmp_path):
    make(tmp_path, 10)
    train, val = CellImages(tmp_path), CellImages(tmp_path, "val")
    assert train.names + val.names == [f"{index:02}" for index in range(10)]
    assert len(val) == 2
    assert val[1].target.tolist() == np.ones((4, 6)).tolist()
    assert val[1].image.shape == (4, 6, 3)


def test_bad_input_is_named(tmp_path):
    make(tmp_path, 4)
    with pytest.raises(InputError, match="at least 5"):
        CellImages(tmp_path)
    (tmp_path / "labels" / "01.png").unlink()
    with pytest.raises(InputError, match=r"images.01\.png"):
        CellImages(tmp_path)


def test_real_slices(em_root):
    train, val = CellImages(em_root), CellImages(em_root, "val")
    assert (len(train), len(val)) == (16, 4)
    sample = train[0]
    assert sample.image.shape == (512, 512, 3)
    assert set(np.unique(sample.target)) == {0, 1}
    # A membrane is dark, a cell is bright: the labels are the right way round.
    assert sample.image[sample.target == 1].mean() > sample.image[sample.target == 0].mean() + 30
