from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from densefield.checks import InputError
from densefield.classes import ClassList, default_colors
from densefield.cli.app import application
from rounding import sums_to_one

EDGE = 12


def typed(command: str, *places: Path, **flags: Any) -> int:
    """What comes of a command as a person types it."""
    words = [*command.split(), *map(str, places)]
    for name, value in flags.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else map(str, np.atleast_1d(value)))]
    result = application(words)(words, exit_on_error=False, result_action="return_value")
    assert isinstance(result, int)
    return result


refine, search = functools.partial(typed, "refine"), functools.partial(typed, "refine search")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photographs, 16×24, with an edge at column 12, and masks whose edge lies at column 9."""
    rng = np.random.default_rng(0)
    for name in "abc":
        image = rng.integers(0, 12, (16, 24, 3))
        image[:, EDGE:] += 180
        save(tmp_path / "images" / f"{name}.jpg.png", image)
        rough = np.where(np.arange(24) < 9, 0, 200)[None].repeat(16, 0)
        save(tmp_path / "rough" / f"{name}.jpg.png", rough)
        save(tmp_path / "truth" / f"{name}.jpg.png", right())
    return tmp_path


def right() -> NDArray[np.int64]:
    edge: NDArray[np.int64] = np.where(np.arange(24) < EDGE, 0, 200)[None].repeat(16, 0)
    return edge


def save(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


def read(path: Path) -> NDArray[Any]:
    with Image.open(path) as picture:
        return np.array(picture)


def test_a_rough_mask_moves_to_the_edge_of_the_image(photos: Path) -> None:
    image, mask = photos / "images" / "a.jpg.png", photos / "rough" / "a.jpg.png"
    assert refine(image, labels=mask, out=photos / "out", overlay=True, save_scores=True) == 0
    np.testing.assert_array_equal(read(photos / "out" / "a.jpg.png"), right())
    assert read(photos / "out" / "overlays" / "a.jpg.png").shape == (16, 24, 3)
    log_q = np.load(photos / "out" / "scores" / "a.jpg.npy")
    assert log_q.shape == (2, 16, 24)
    sums_to_one(torch.from_numpy(log_q), 0)


def test_a_palette_and_unsure_pixels_are_kept_apart(photos: Path) -> None:
    rough = np.where(np.arange(24) < 9, 1, 255)[None].repeat(16, 0)
    rough[:, 20:] = 3
    picture = Image.fromarray(rough.astype(np.uint8))
    picture.putpalette([7, 8, 9] * 256)
    picture.save(photos / "mask.png")
    assert refine(photos / "images" / "a.jpg.png", labels=photos / "mask.png", out=photos / "out", unsure=255) == 0
    with Image.open(photos / "out" / "a.jpg.png") as result:
        assert result.mode == "P"
        assert result.getpalette()[:3] == [7, 8, 9]
        np.testing.assert_array_equal(np.array(result), np.where(right() == 0, 1, 3))


def test_scores_become_labels_in_the_colors_of_the_classes(photos: Path) -> None:
    ramp = np.linspace(-1, 1.6, 24, dtype=np.float32)[None].repeat(16, 0)  # above zero from column 10 on
    np.save(photos / "scores.npy", np.stack([-ramp, ramp]))
    (photos / "classes.yaml").write_text("- {name: sky, color: [1, 2, 3]}\n- {name: hill, color: [4, 5, 6]}\n")
    args: dict[str, Any] = {"scores": photos / "scores.npy", "out": photos / "out", "classes": photos / "classes.yaml"}
    assert refine(photos / "images" / "a.jpg.png", **args) == 0
    with Image.open(photos / "out" / "a.jpg.png") as result:
        np.testing.assert_array_equal(np.array(result), right() // 200)
        assert result.getpalette()[:6] == [1, 2, 3, 4, 5, 6]
    args.pop("classes")
    assert refine(photos / "images" / "a.jpg.png", overwrite=True, **args) == 0
    with Image.open(photos / "out" / "a.jpg.png") as result:
        assert tuple(result.getpalette()[:3]) == default_colors(2)[0]


def test_presets_and_flags_change_the_kernels(photos: Path) -> None:
    image, mask = photos / "images" / "a.jpg.png", photos / "rough" / "a.jpg.png"
    # A wide color kernel cannot see the edge: the mask stays as it is.
    assert refine(image, labels=mask, out=photos / "out", preset="deeplab-v2", alpha=2.0, beta=500.0) == 0
    np.testing.assert_array_equal(read(photos / "out" / "a.jpg.png"), read(mask))


def test_a_folder_is_refined_on_two_processes_and_resumed(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(photos / "images" / "small.png", np.zeros((4, 4, 3)))
    save(photos / "rough" / "small.png", np.zeros((4, 5)))
    save(photos / "images" / "alone.png", np.zeros((4, 4, 3)))
    (photos / "images" / "broken.png").write_bytes(b"no picture")
    save(photos / "rough" / "broken.png", np.zeros((4, 4)))
    assert refine(photos / "images", labels=photos / "rough", out=photos / "out", workers=2) == 2
    said = capsys.readouterr()
    assert f"3 refined into {photos / 'out'}, 3 failed:" in said.out
    assert "small.png: is 5×4 pixels, the image 4×4" in said.err
    assert "alone.png: has no mask of its name" in said.err
    assert "broken.png" in said.err
    for name in "abc":
        np.testing.assert_array_equal(read(photos / "out" / f"{name}.jpg.png"), right())
    (photos / "out" / "b.jpg.png").unlink()
    for name in ("small", "alone", "broken"):
        (photos / "images" / f"{name}.png").unlink()
    assert refine(photos / "images", labels=photos / "rough", out=photos / "out", workers=1) == 0
    assert "1 refined into" in (said := capsys.readouterr().out)
    assert "2 already there" in said


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 16, 24), np.int64), r"wanted scores \(K, H, W\) in floating point, received int64"),
        (np.zeros((16, 24), np.float32), r"received float32 \(16, 24\)"),
        (np.full((2, 16, 24), np.nan, np.float32), "holds NaN or Inf"),
        (np.full((2, 16, 24), 0.5, np.float32), "looks like probabilities, not scores before softmax"),
        (np.zeros((2, 24, 16), np.float32), "is 16×24 pixels, the image 24×16"),
        (np.array([{}]), "not a readable .npy file"),
    ],
)
def test_scores_are_checked(photos: Path, array: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(photos / "scores.npy", array, allow_pickle=True)
    assert refine(photos / "images" / "a.jpg.png", scores=photos / "scores.npy", out=photos / "out") == 2
    assert re.search(said, capsys.readouterr().err)


def test_pages_of_a_stack_are_refined_each_by_its_own_mask(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [Image.open(photos / "images" / f"{name}.jpg.png") for name in "ab"]
    (photos / "stack").mkdir()
    pages[0].save(photos / "stack" / "scan.tif", save_all=True, append_images=pages[1:])
    for number in (1, 2):
        save(photos / "rough" / f"scan.{number:04}.png", read(photos / "rough" / "a.jpg.png"))
    assert refine(photos / "stack", labels=photos / "rough", out=photos / "out", workers=1) == 0
    for number in (1, 2):
        np.testing.assert_array_equal(read(photos / "out" / f"scan.{number:04}.png"), right())
    with pytest.raises(InputError, match=r"scan\.tif: holds 2 pages, .* 1; wanted the same number, or the folders"):
        refine(photos / "stack" / "scan.tif", labels=photos / "rough" / "scan.0001.png", out=photos / "out2")
    (photos / "stack" / "x.heic").write_bytes(b"no picture")
    assert refine(photos / "stack", labels=photos / "rough", out=photos / "out", workers=1) == 0
    assert "left out, as no images: 1 .heic file" in capsys.readouterr().out


def test_probabilities_serve_when_named(photos: Path) -> None:
    first = np.where(np.arange(24) < 9, 0.8, 0.0)[None].repeat(16, 0)
    np.save(photos / "p.npy", np.stack([first, 1 - first]))
    args: dict[str, Any] = {"scores": photos / "p.npy", "out": photos / "out"}
    assert refine(photos / "images" / "a.jpg.png", probabilities=True, **args) == 0


def test_what_makes_no_sense_is_named_before_anything_is_written(photos: Path) -> None:
    image, mask, out = photos / "images" / "a.jpg.png", photos / "rough" / "a.jpg.png", photos / "out"
    with pytest.raises(InputError, match="labels, scores: wanted one of the two"):
        refine(image, out=out)
    with pytest.raises(InputError, match="labels, scores: wanted one of the two"):
        refine(image, labels=mask, scores=mask, out=out)
    with pytest.raises(InputError, match="no such file or folder"):
        refine(photos / "none.png", labels=mask, out=out)
    with pytest.raises(InputError, match="no such file or folder; wanted a mask"):
        refine(image, labels=photos / "none.png", out=out)
    with pytest.raises(InputError, match="wanted a folder, as"):
        refine(photos / "images", labels=mask, out=out)
    with pytest.raises(InputError, match="wanted a file, as"):
        refine(image, labels=photos / "rough", out=out)
    with pytest.raises(InputError, match="certainty: wanted a probability"):
        refine(image, labels=mask, out=out, certainty=1.0)
    with pytest.raises(InputError, match="--beta: wanted a positive"):
        refine(image, labels=mask, out=out, beta=0.0)
    with pytest.raises(InputError, match="would overwrite a mask"):
        refine(image, labels=mask, out=photos / "rough", overwrite=True)
    with pytest.raises(InputError, match="would overwrite an input image"):
        refine(image, labels=mask, out=photos / "images", overwrite=True)
    assert not out.exists()


def test_a_search_ranks_settings_by_mean_iou(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = search(
        photos / "images",
        photos / "truth",
        labels=photos / "rough",
        alpha=(2.0, 40.0),
        beta=(13.0, 500.0),
        bilateral_weight=(10.0,),
        out=photos / "trials.csv",
        workers=1,
    )
    assert code == 0
    assert "--alpha 40 --beta 13 --bilateral-weight 10 --gamma 3 --spatial-weight 3" in capsys.readouterr().out
    lines = (photos / "trials.csv").read_text().splitlines()
    assert lines[0] == "mean_iou,alpha,beta,bilateral_weight,gamma,spatial_weight"
    # Without a CRF columns 9 … 11 are wrong: IoU of 9/12 and 12/15.
    assert float(lines[1].split(",")[0]) == pytest.approx((9 / 12 + 12 / 15) / 2, abs=1e-6)
    figures = {tuple(line.split(",")[1:3]): float(line.split(",")[0]) for line in lines[2:]}
    assert len(figures) == 4
    assert figures["40", "13"] == 1.0
    assert figures["2", "500"] < 1.0


def test_random_trials_are_some_of_the_grid_and_repeatable(photos: Path) -> None:
    args: dict[str, Any] = {"labels": photos / "rough", "trials": 3, "iterations": 1, "workers": 1}
    for name in ("first.csv", "second.csv"):
        search(photos / "images", photos / "truth", out=photos / name, alpha=(2, 3, 4, 5), **args)
    assert (photos / "first.csv").read_text() == (photos / "second.csv").read_text()
    assert len((photos / "first.csv").read_text().splitlines()) == 2 + 3


def test_pixels_that_do_not_count_are_left_out(photos: Path) -> None:
    truth = right()
    truth[:, 8:13] = 255
    for name in "abc":
        save(photos / "truth" / f"{name}.jpg.png", truth)
    search(photos / "images", photos / "truth", labels=photos / "rough", trials=1, out=photos / "t.csv", workers=1)
    assert (photos / "t.csv").read_text().splitlines()[1].startswith("1.000000")


def test_masks_of_0_and_255_are_not_taken_for_one_class(photos: Path) -> None:
    for name in "abc":
        save(photos / "truth" / f"{name}.jpg.png", np.where(right() > 0, 255, 0))
        save(photos / "rough" / f"{name}.jpg.png", np.where(np.arange(24) < 9, 0, 255)[None].repeat(16, 0))
    with pytest.raises(InputError, match="hold but one class besides 255"):
        search(photos / "images", photos / "truth", labels=photos / "rough", trials=1, workers=1)
    args: dict[str, Any] = {"labels": photos / "rough", "trials": 1, "workers": 1, "out": photos / "t.csv"}
    assert search(photos / "images", photos / "truth", ignore=-1, **args) == 0
    assert (photos / "t.csv").read_text().splitlines()[1].startswith("0.775000")


def test_a_search_names_what_is_missing(photos: Path) -> None:
    (photos / "truth" / "b.jpg.png").unlink()
    with pytest.raises(InputError, match=r"b\.jpg\.png: has no mask of its name in"):
        search(photos / "images", photos / "truth", labels=photos / "rough")
    with pytest.raises(InputError, match="alpha: wanted positive numbers"):
        search(photos / "images", photos / "truth", labels=photos / "rough", alpha=(0.0,))
    with pytest.raises(InputError, match="trials: wanted at least 1"):
        search(photos / "images", photos / "truth", labels=photos / "rough", trials=0)
    with pytest.raises(InputError, match="seed: wanted 0 or more, received -1"):
        search(photos / "images", photos / "truth", labels=photos / "rough", seed=-1)
    with pytest.raises(InputError, match="iterations: wanted 0 or more, received -2"):
        search(photos / "images", photos / "truth", labels=photos / "rough", iterations=-2)
    with pytest.raises(InputError, match="is a folder; wanted a CSV file"):
        search(photos / "images", photos / "truth", labels=photos / "rough", out=photos)
    with pytest.raises(InputError, match="wanted a folder of images"):
        search(photos / "nothing", photos / "truth", labels=photos / "rough")


def test_classes_name_what_is_unsure(photos: Path) -> None:
    classes = ClassList(("a", "b"), default_colors(2), ignore_index=200)
    rough = np.where(np.arange(24) < 6, 0, np.where(np.arange(24) < 20, 200, 1))[None].repeat(16, 0)
    save(photos / "mask.png", rough)
    (photos / "classes.yaml").write_text(yaml.safe_dump(classes.to_dict()))
    args: dict[str, Any] = {"labels": photos / "mask.png", "out": photos / "out", "classes": photos / "classes.yaml"}
    assert refine(photos / "images" / "a.jpg.png", **args) == 0
    np.testing.assert_array_equal(read(photos / "out" / "a.jpg.png"), right() // 200)


def classes_file(photos: Path, text: str) -> Path:
    (photos / "classes.yaml").write_text(text)
    return photos / "classes.yaml"


def test_masks_of_0_and_255_with_a_class_list_of_two(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rough = np.where(np.arange(24) < 9, 0, 255)[None].repeat(16, 0)
    save(photos / "mask.png", rough)
    args: dict[str, Any] = {"labels": photos / "mask.png", "out": photos / "out", "workers": 1}
    image = photos / "images" / "a.jpg.png"
    # Nothing is guessed: 255 was taken for unsure, and the object erased.
    assert refine(image, classes=classes_file(photos, "[back, thing]"), **args) == 2
    assert "255, which is no class; wanted 0 to 1; it looks like 'thing'" in capsys.readouterr().err
    assert not (photos / "out").exists()
    assert refine(image, classes=classes_file(photos, "[back, {name: thing, value: 255}]"), overlay=True, **args) == 0
    np.testing.assert_array_equal(read(photos / "out" / "a.jpg.png"), np.where(right() > 0, 255, 0))
    # A mask that holds another value than the list's two.
    save(photos / "mask.png", np.where(rough > 0, 7, 0))
    assert refine(image, classes=classes_file(photos, "[back, thing]"), overwrite=True, **args) == 2
    assert "label value 7, which is no class" in capsys.readouterr().err


def test_scores_of_another_number_of_classes_are_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(photos / "s.npy", np.zeros((3, 16, 24), np.float32))
    args: dict[str, Any] = {"scores": photos / "s.npy", "out": photos / "out"}
    assert refine(photos / "images" / "a.jpg.png", classes=classes_file(photos, "[a, b]"), **args) == 2
    assert "scores of 3 classes, the class list names 2" in capsys.readouterr().err


def test_masks_and_scores_are_not_mistaken_for_each_other(photos: Path) -> None:
    images, out = photos / "images", photos / "out"
    np.save(photos / "rough" / "a.jpg.npy", np.zeros((4, 16, 24), np.float32))
    with pytest.raises(InputError, match=r"a\.jpg\.png: has the same name as a\.jpg\.npy, .* keep one"):
        refine(images, labels=photos / "rough", out=out)
    with pytest.raises(InputError, match="is no mask; give scores as --scores"):
        refine(images / "a.jpg.png", labels=photos / "rough" / "a.jpg.npy", out=out)
    with pytest.raises(InputError, match=r"is no \.npy file; give masks as --labels"):
        refine(images / "a.jpg.png", scores=photos / "rough" / "a.jpg.png", out=out)
    for mask in (photos / "rough").glob("*.png"):
        mask.unlink()
    with pytest.raises(InputError, match=r"holds \.npy files and no masks"):
        refine(images, labels=photos / "rough", out=out)


def test_masks_are_found_whatever_the_case_of_their_ending(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rough = photos / "rough"
    (rough / "a.jpg.png").rename(rough / "a.jpg.PNG")
    (rough / "b.jpg.png").rename(rough / "b.jpg_mask.png")
    Image.open(rough / "c.jpg.png").save(rough / "c.jpg.jpeg")
    (rough / "c.jpg.png").unlink()
    assert refine(photos / "images", labels=rough, out=photos / "out", workers=1) == 2
    np.testing.assert_array_equal(read(photos / "out" / "a.jpg.png"), right())
    said = capsys.readouterr().err
    assert "b.jpg.png: has no mask of its name in" in said
    assert "if b.jpg_mask.png is meant, rename it to b.jpg.png" in said
    assert "c.jpg.jpeg: a JPEG changes label values" in said


def test_a_black_and_white_mask_comes_back_black_and_white(photos: Path) -> None:
    Image.fromarray(np.arange(24)[None].repeat(16, 0) >= 9).save(photos / "mask.png")
    assert refine(photos / "images" / "a.jpg.png", labels=photos / "mask.png", out=photos / "out") == 0
    with Image.open(photos / "out" / "a.jpg.png") as result:
        assert result.mode == "1"
        np.testing.assert_array_equal(np.array(result), right() > 0)


def test_wide_pixels_are_refined_when_their_range_is_said(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = read(photos / "images" / "a.jpg.png").astype(np.uint16) * 8
    tifffile.imwrite(photos / "wide.tif", image, photometric="rgb")
    args: dict[str, Any] = {"labels": photos / "rough" / "a.jpg.png", "out": photos / "out"}
    assert refine(photos / "wide.tif", **args) == 2
    assert "say what is white: --range 0,2047" in capsys.readouterr().err
    assert refine(photos / "wide.tif", range="0,2047", **args) == 0
    np.testing.assert_array_equal(read(photos / "out" / "wide.png"), right())


def test_a_search_reads_wide_pixels_too(photos: Path) -> None:
    for name in "abc":
        image = read(photos / "images" / f"{name}.jpg.png").astype(np.uint16) * 8
        (photos / "images" / f"{name}.jpg.png").unlink()
        tifffile.imwrite(photos / "images" / f"{name}.jpg.tif", image, photometric="rgb")
    args: dict[str, Any] = {"labels": photos / "rough", "trials": 1, "workers": 1}
    with pytest.raises(InputError, match="--range 0,2047"):
        search(photos / "images", photos / "truth", **args)
    assert search(photos / "images", photos / "truth", range="0,2047", **args) == 0


def test_a_suffix_names_masks_that_may_lie_among_their_images(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        (photos / "rough" / f"{name}.jpg.png").rename(photos / "images" / f"{name}.jpg_mask.png")
        (photos / "truth" / f"{name}.jpg.png").rename(photos / "images" / f"{name}.jpg_right.png")
    both = photos / "images"
    assert search(both, both, labels=both, suffix="_mask", truth_suffix="_right", alpha=(8,), beta=(9,), workers=1) == 0
    assert "Mean IoU over 3 images" in capsys.readouterr().out
    for name in "abc":
        (both / f"{name}.jpg_right.png").unlink()
    assert refine(both, labels=both, suffix="_mask", out=photos / "out", workers=1) == 0
    assert sorted(path.name for path in (photos / "out").iterdir()) == [f"{name}.jpg.png" for name in "abc"]
    np.testing.assert_array_equal(read(photos / "out" / "a.jpg.png"), right())
    with pytest.raises(InputError, match=r"suffix: tells the files of a folder, and .* is a file"):
        refine(both / "a.jpg.png", labels=both / "a.jpg_mask.png", suffix="_mask", out=photos / "one")


def test_the_suffix_that_masks_seem_to_have_is_suggested(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "rough" / "a.jpg.png").rename(photos / "rough" / "a.jpg_mask.png")
    assert refine(photos / "images", labels=photos / "rough", out=photos / "out", workers=1) == 2
    said = capsys.readouterr().err
    assert "rename it to a.jpg.png, or say --suffix _mask if all are named so" in said
    assert refine(photos / "images", labels=photos / "rough", out=photos / "out", workers=1, suffix="_no") == 2
    assert "a.jpg.png: has no mask of its name with '_no' behind it in" in capsys.readouterr().err
