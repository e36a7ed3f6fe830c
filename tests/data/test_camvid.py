import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.data import CamVid


@pytest.fixture
def tiny(tmp_path):
    """Two frames in CamVid's layout, one listed as the SegNet tutorial does."""
    (tmp_path / "val").mkdir()
    (tmp_path / "valannot").mkdir()
    (tmp_path / "val.txt").write_text("b\n/SegNet/CamVid/val/a.png /SegNet/CamVid/valannot/a.png\n\n")
    for name, suffix in (("a", "png"), ("b", "jpg")):
        Image.new("RGB", (12, 8), "white").save(tmp_path / "val" / f"{name}.{suffix}")
        Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12) % 12).save(tmp_path / "valannot" / f"{name}.png")
    return tmp_path


def test_samples_follow_the_list_and_11_is_ignored(tiny):
    frames = CamVid(tiny, "val")
    assert frames.names == ["b", "a"]
    sample = frames[1]
    assert sample.name == "a"
    assert sample.image.shape == (8, 12, 3)
    assert sample.target.dtype == np.uint8
    assert np.array_equal(sample.target[0], [*range(11), 255])
    assert (len(frames.classes), frames.classes.names[3], frames.classes.ignore_index) == (11, "Road", 255)
    assert [sample.name for sample in frames] == ["b", "a"]


def test_bad_input_is_named(tiny):
    with pytest.raises(InputError, match="split"):
        CamVid(tiny, "dev")
    with pytest.raises(InputError, match=r"train\.txt"):
        CamVid(tiny, "train")
    Image.fromarray(np.full((8, 12), 12, np.uint8)).save(tiny / "valannot" / "a.png")
    with pytest.raises(InputError, match=r"a\.png: holds label value 12"):
        CamVid(tiny, "val")[1]
    Image.fromarray(np.zeros((8, 11), np.uint8)).save(tiny / "valannot" / "a.png")
    with pytest.raises(InputError, match=r"a\.png: the mask is 11x8 pixels, its image .* 12x8"):
        CamVid(tiny, "val")[1]


def test_counts_of_the_real_set(camvid_root):
    """Frames and pixels as the data's own description counts them (in millions, over all 367 training frames)."""
    train, val = CamVid(camvid_root, "train"), CamVid(camvid_root, "val")
    assert (len(train), len(val)) == (367, 101)
    assert not set(train.names) & set(val.names)
    pixels = np.zeros(256, np.int64)
    for index in range(0, 367, 12):
        sample = train[index]
        assert sample.image.shape == (360, 480, 3)
        pixels += np.bincount(sample.target.ravel(), minlength=256)
    millions = np.array([10.7, 14.8, 0.62, 20.1, 2.8, 6.2, 0.74, 0.71, 3.7, 0.41, 0.18, 2.5])
    shares = np.array([*pixels[:11], pixels[255]]) / pixels.sum()
    assert np.abs(shares - millions / millions.sum()).max() < 0.03
    assert pixels[11:255].sum() == 0
