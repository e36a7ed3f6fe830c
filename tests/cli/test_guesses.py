"""What a mask or scores say, and what is refused because it says something else than it seems to."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from densefield.checks import InputError
from densefield.cli.app import run
from densefield.cli.guesses import Guess, scores_of
from densefield.images.listing import Picture

SIZE = (40, 60)


def disc() -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    inside: NDArray[np.bool_] = (rows - 20) ** 2 + (columns - 30) ** 2 < 12**2
    return inside


def hard() -> Image.Image:
    return Image.fromarray(disc().astype(np.uint8) * 255)


def through_jpeg() -> Image.Image:
    file = io.BytesIO()
    hard().save(file, "JPEG", quality=75)
    return Image.open(file)


def antialiased() -> Image.Image:
    return hard().resize((240, 160)).resize((60, 40), Image.Resampling.BOX)


def shades() -> Image.Image:
    return hard().filter(ImageFilter.GaussianBlur(3))


def probabilities() -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 12, SIZE)
    return Image.fromarray((np.where(disc(), 200, 30) + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("soft", [through_jpeg, antialiased, shades, probabilities])
def test_soft_masks_are_named_and_a_threshold_makes_two_classes(tmp_path: Path, soft: object) -> None:
    assert callable(soft)
    soft().save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask\.png: holds \d+ values, as .*--threshold 128 makes two classes"):
        scores_of(Guess(Picture(tmp_path / "mask.png"), scores=False), SIZE)
    scores, values = scores_of(Guess(Picture(tmp_path / "mask.png"), scores=False, threshold=128), SIZE)
    assert values.tolist() == [0, 255]
    assert (scores.argmax(0) == disc()).mean() > 0.97


def test_a_jpeg_mask_is_refused_with_the_way_out(tmp_path: Path) -> None:
    hard().save(tmp_path / "mask.jpg", quality=75)
    with pytest.raises(InputError, match=r"a JPEG changes label values; .*--threshold 128"):
        scores_of(Guess(Picture(tmp_path / "mask.jpg"), scores=False), SIZE)
    scores, _ = scores_of(Guess(Picture(tmp_path / "mask.jpg"), scores=False, threshold=128), SIZE)
    np.testing.assert_array_equal(scores.argmax(0), disc())


@pytest.mark.parametrize("values", [[0, 255], [0, 1, 2, 3, 4, 255], [0, 128, 255], [*range(60), 255]])
def test_labels_are_no_shades(tmp_path: Path, values: list[int]) -> None:
    mask = np.array(values, np.uint8)[np.arange(40 * 60).reshape(SIZE) * len(values) // (40 * 60)]
    Image.fromarray(mask).save(tmp_path / "mask.png")
    scores, found = scores_of(Guess(Picture(tmp_path / "mask.png"), scores=False), SIZE)
    assert found.tolist() == values
    np.testing.assert_array_equal(found[scores.argmax(0)], mask)


def test_a_palette_may_hold_as_many_labels_as_it_likes(tmp_path: Path) -> None:
    picture = Image.fromarray((np.arange(40 * 60).reshape(SIZE) % 200).astype(np.uint8))
    picture.putpalette([7, 8, 9] * 256)
    picture.save(tmp_path / "mask.png")
    assert len(scores_of(Guess(Picture(tmp_path / "mask.png"), scores=False), SIZE)[1]) == 200


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_certainty_that_makes_the_own_label_least_likely_is_refused(tmp_path: Path, count: int) -> None:
    Image.fromarray((np.arange(40 * 60).reshape(SIZE) % count).astype(np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=rf"certainty: wanted more than 1/{count}"):
        scores_of(Guess(Picture(tmp_path / "mask.png"), scores=False, certainty=1 / count), SIZE)
    scores, _ = scores_of(Guess(Picture(tmp_path / "mask.png"), scores=False, certainty=1 / count + 0.01), SIZE)
    np.testing.assert_array_equal(scores.argmax(0), np.arange(40 * 60).reshape(SIZE) % count)


def test_a_single_map_of_logits_has_the_odds_of_a_sigmoid(tmp_path: Path) -> None:
    logits = np.random.default_rng(1).normal(0, 3, (1, *SIZE)).astype(np.float32)
    np.save(tmp_path / "s.npy", logits)
    scores, values = scores_of(Guess(Picture(tmp_path / "s.npy"), scores=True), SIZE)
    assert values.tolist() == [0, 1]
    inside = torch.from_numpy(scores).softmax(0)[1].numpy()
    np.testing.assert_allclose(inside, 1 / (1 + np.exp(-logits[0].astype(np.float64))), rtol=1e-5)


def test_a_single_map_of_probabilities(tmp_path: Path) -> None:
    inside = np.random.default_rng(2).uniform(0.01, 0.99, (1, *SIZE)).astype(np.float32)
    np.save(tmp_path / "p.npy", inside)
    with pytest.raises(InputError, match="looks like probabilities"):
        scores_of(Guess(Picture(tmp_path / "p.npy"), scores=True), SIZE)
    scores, _ = scores_of(Guess(Picture(tmp_path / "p.npy"), scores=True, probabilities=True), SIZE)
    np.testing.assert_allclose(torch.from_numpy(scores).softmax(0)[1].numpy(), inside[0], rtol=1e-5)


@pytest.mark.parametrize("outside", [-0.01, 1.01, 30.0])
def test_probabilities_outside_0_to_1_are_refused(tmp_path: Path, outside: float) -> None:
    values = np.full((2, *SIZE), 0.5, np.float32)
    values[0, 3, 4] = outside
    np.save(tmp_path / "p.npy", values)
    with pytest.raises(InputError, match=r"p\.npy: holds values from .*; wanted probabilities between 0 and 1"):
        scores_of(Guess(Picture(tmp_path / "p.npy"), scores=True, probabilities=True), SIZE)


def test_probabilities_in_half_precision_may_round_upwards(tmp_path: Path) -> None:
    values = np.zeros((2, *SIZE), np.float16)
    values[0] = np.nextafter(np.float16(1), np.float16(2))
    np.save(tmp_path / "p.npy", values)
    scores, _ = scores_of(Guess(Picture(tmp_path / "p.npy"), scores=True, probabilities=True), SIZE)
    assert (scores.argmax(0) == 0).all()


def header(text: str) -> bytes:
    line = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(64)


@pytest.mark.parametrize(
    "data",
    [
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 6, 7, }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 6, 7), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999, 99999999999), }"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 6, 7), }"),
        b"PK\x03\x04 claims to be .npz",
        b"",
    ],
)
def test_a_damaged_file_of_scores_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"s\.npy: not a readable \.npy file .*numpy\.save") as caught:
        scores_of(Guess(Picture(tmp_path / "s.npy"), scores=True), SIZE)
    assert "\n" not in str(caught.value)


def test_scores_of_another_size_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    shape = (255, 60_000, 60_000)
    with (tmp_path / "s.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 4 * 255 * 60_000**2)  # sparse: terabytes that take no room
    with pytest.raises(InputError, match=r"s\.npy: is 60000×60000 pixels, the image 60×40"):
        scores_of(Guess(Picture(tmp_path / "s.npy"), scores=True), SIZE)


def test_the_command_line_takes_threshold_and_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = np.where(disc()[..., None], [200, 60, 40], [40, 90, 160]).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    shades().save(tmp_path / "mask.png")
    out = str(tmp_path / "out")
    command = ["refine", str(tmp_path / "a.png"), "--labels", str(tmp_path / "mask.png"), "--out", out]
    assert run(command) == 2
    assert "--threshold 128" in capsys.readouterr().err
    assert run([*command, "--threshold", "128", "--device", "cpu"]) == 0
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert np.unique(np.array(picture)).tolist() == [0, 255]
        assert ((np.array(picture) > 0) == disc()).mean() > 0.99
    assert run([*command, "--threshold", "0"]) == 2
    assert "threshold: wanted a grey value of 1 to 255" in capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run([*command, "--threshold", "128", "--overwrite", "--device", "gpu0"]) == 2
    assert "device: 'gpu0' cannot be used" in capsys.readouterr().err


def test_a_score_of_minus_infinity_says_that_a_label_cannot_be(tmp_path: Path) -> None:
    scores = np.zeros((3, SIZE[0], SIZE[1]), np.float32)
    scores[0, :5] = -np.inf
    np.save(tmp_path / "s.npy", scores)
    found, _ = scores_of(Guess(Picture(tmp_path / "s.npy"), scores=True), SIZE)
    assert np.array_equal(found, scores)
    for wrong in (np.full_like(scores[:, 0, 0], -np.inf), [0.0, np.nan, 0.0], [0.0, np.inf, 0.0]):
        scores[:, 0, 0] = wrong
        np.save(tmp_path / "s.npy", scores)
        with pytest.raises(InputError, match=r"s\.npy: holds NaN or Inf; wanted finite scores, or -Inf for some"):
            scores_of(Guess(Picture(tmp_path / "s.npy"), scores=True), SIZE)
    np.save(tmp_path / "s.npy", scores[:1])
    with pytest.raises(InputError, match="holds NaN or Inf"):
        scores_of(Guess(Picture(tmp_path / "s.npy"), scores=True), SIZE)


@pytest.mark.parametrize("command", [["refine"], ["refine", "search"]])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--labels", "m", "--probabilities"], "probabilities: is said of --scores"),
        (["--scores", "m", "--unsure", "255"], "unsure: is a value of masks"),
        (["--scores", "m", "--certainty", "0.9"], "certainty: is that of --labels"),
        (["--scores", "m", "--threshold", "9"], "threshold: wanted a grey value of 1 to 255, with --labels"),
    ],
)
def test_flags_of_masks_and_of_scores_are_not_ignored_beside_the_other(
    command: list[str], flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = [str(tmp_path)] if "search" in command else ["--out", str(tmp_path / "out")]
    assert run([*command, str(tmp_path), *second, *flags]) == 2
    assert message in capsys.readouterr().err
