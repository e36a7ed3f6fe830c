import numpy as np
import pytest
import skimage.data

from densefield.checks import InputError
from densefield.data import SampleScenes
from densefield.data.sample_scenes import SPLITS


@pytest.mark.parametrize("split", SPLITS)
def test_same_arguments_same_scene(split):
    np.random.seed(1)  # noqa: NPY002 the global generator must not matter
    first = SampleScenes(split, 96, 5)[3]
    np.random.seed(2)  # noqa: NPY002
    again = SampleScenes(split, 96, 50)[3]
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.target, again.target)
    assert first.name == again.name
    assert not np.array_equal(first.image, SampleScenes(split, 96)[4].image)


def test_splits_share_neither_handwriting_nor_photographs():
    photographs = [name for sources in SPLITS.values() for name in sources.photographs]
    assert len(photographs) == len(set(photographs))
    handwriting = [index for sources in SPLITS.values() for index in range(1797)[sources.handwriting]]
    assert len(handwriting) == len(set(handwriting)) == 1797
    # Two files could still hold the same picture.
    means = [float(np.asarray(getattr(skimage.data, name)()).mean()) for name in photographs]
    assert len({round(mean, 3) for mean in means}) == len(photographs)


@pytest.mark.parametrize("size", [32, 64, 97, 160])
def test_shapes_and_values(size):
    scenes = SampleScenes("train", size, 6)
    for sample in scenes:
        assert sample.image.shape == (size, size, 3)
        assert sample.image.dtype == sample.target.dtype == np.uint8
        assert sample.target.max() <= 2
    assert len(scenes) == 6


def test_every_class_occurs_and_background_leads():
    scenes = SampleScenes("test", 128, 24, digits=range(10))
    pixels = sum(np.bincount(sample.target.ravel(), minlength=11) for sample in scenes)
    assert len(pixels) == len(scenes.classes) == 11
    assert pixels.min() > 0
    assert 0.6 < pixels[0] / pixels.sum() < 0.95


def test_chosen_digits_only():
    scenes = SampleScenes("val", 96, 8, digits=(7, 2))
    assert scenes.classes.names == ("background", "2", "7")
    assert {int(value) for sample in scenes for value in np.unique(sample.target)} == {0, 1, 2}


def test_labels_lie_on_the_ink():
    """Seen against the same scene's photograph, labelled pixels have changed, far-off ones have not."""
    inked = SampleScenes("test", 128, 8)
    for sample in inked:
        # Along a digit's edge the picture changes more than elsewhere, on average over the digits of a scene.
        grey = sample.image.astype(float).mean(axis=2)
        steps = np.abs(np.diff(grey, axis=1))
        edges = np.diff(sample.target.astype(int), axis=1) != 0
        assert steps[edges].mean() > 1.3 * steps[~edges].mean()


@pytest.mark.parametrize(
    "arguments",
    [{"split": "dev"}, {"size": 8}, {"count": 0}, {"digits": ()}, {"digits": (1, 10)}, {"digits": (1, 1)}],
)
def test_bad_arguments(arguments):
    with pytest.raises(InputError, match=f"{next(iter(arguments))}: wanted"):
        SampleScenes(**arguments)


def test_index_beyond_the_end():
    with pytest.raises(IndexError):
        SampleScenes("val", count=2)[2]
    assert SampleScenes("val", count=2)[-1].name == "val-00001"


def test_scenes_that_are_kept_cannot_be_spoilt():
    scenes = SampleScenes("train", 32, 2)
    first = scenes[1]
    wanted = first.image.copy(), first.target.copy()
    first.image[:], first.target[:] = 7, 2
    again = scenes[1]
    assert np.array_equal(again.image, wanted[0])
    assert np.array_equal(again.target, wanted[1])
