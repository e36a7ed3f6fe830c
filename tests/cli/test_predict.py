from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn

from densefield.built import Kinds, described
from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.cli.app import application
from densefield.images.bands import Reading
from densefield.segmenter import Segmenter, description
from densefield.segmenter.views import Views

CLASSES = ClassList(names=("red", "green", "blue"), colors=((200, 0, 0), (0, 200, 0), (0, 0, 200)))


OFFSETS = (0.0, 1e-4, 2e-4)  # less than a step of 8-bit colors: so that no two scores are equal


class Brightest(nn.Module):
    """Each pixel's scores are its color channels, blurred over 3×3 pixels: the result is known by hand."""

    in_channels, num_classes, margin, stride, reach = 3, 3, 0, 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.AvgPool2d(3, stride=1, padding=1)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        return self.blur(image) * self.scale + torch.tensor(OFFSETS)[:, None, None]


@described()
def brightest() -> Brightest:
    return Brightest()


def predict(model: Path, image: Path, **flags: Any) -> int:
    """What comes of the command as a person types it."""
    words = ["predict", str(model), str(image)]
    for name, value in flags.items():
        if value is not None and value is not False:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    result = application(words)(words, exit_on_error=False, result_action="return_value")
    assert isinstance(result, int)
    return result


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Kinds([*description.NETWORKS.builders.values(), brightest])
    monkeypatch.setattr(description, "NETWORKS", known)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    Segmenter(brightest(), CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3).save(tmp_path / "run" / "segmenter.safetensors")
    return tmp_path / "run"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of which one is cut short, and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    save(folder / "a.png", 0)
    save(folder / "b.tif", 1)
    save(folder / "cut.jpg", 2)
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-300])
    (folder / "notes.txt").write_text("not an image")
    return folder


def save(path: Path, seed: int) -> np.ndarray[Any, Any]:
    photo = np.random.default_rng(seed).integers(0, 256, (23, 31, 3), np.uint8)
    Image.fromarray(photo).save(path)
    return photo


def known_scores(photo: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    padded = np.pad(photo / 255, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return windows.mean(axis=(3, 4)).transpose(2, 0, 1) + np.array(OFFSETS)[:, None, None]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("tile", [None, 9])
def test_labels_overlay_and_scores_of_one_image(
    run: Path, tmp_path: Path, tile: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = save(tmp_path / "a.png", 3)
    out = tmp_path / "out"
    assert predict(run, tmp_path / "a.png", out=out, overlay=True, scores=True, tile=tile, overlap=1, device="cpu") == 0
    assert files(out) == ["a.png", "overlays/a.png", "scores/a.npy"]
    expected = known_scores(photo)
    scores = np.load(out / "scores" / "a.npy")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    with Image.open(out / "a.png") as labels:
        assert labels.mode == "P"
        assert np.array(labels).tolist() == expected.argmax(axis=0).tolist()
        assert np.array(labels.convert("RGB"))[5, 5].tolist() == list(CLASSES.colors[expected.argmax(axis=0)[5, 5]])
    with Image.open(out / "overlays" / "a.png") as overlay:
        assert overlay.size == (31, 23)
    assert "1 segmented into" in capsys.readouterr().out


def test_a_folder_goes_on_after_a_failure_and_names_it(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(run, photos, out=out, device="cpu") == 2
    assert files(out) == ["a.png", "b.png"]
    said = capsys.readouterr()
    assert "2 segmented" in said.out
    assert "1 failed" in said.out
    assert said.err.count("cut.jpg") == 1

    before = (out / "a.png").stat().st_mtime_ns
    (out / "b.png").unlink()
    assert predict(run, photos, out=out, device="cpu") == 2
    assert "1 segmented" in (said := capsys.readouterr().out)
    assert "1 already there" in said
    assert (out / "a.png").stat().st_mtime_ns == before

    (photos / "cut.jpg").unlink()
    assert predict(run, photos, out=out, overlay=True, device="cpu") == 0
    assert "2 segmented" in capsys.readouterr().out
    assert predict(run, photos, out=out, overwrite=True, device="cpu") == 0
    assert "2 segmented" in capsys.readouterr().out


def test_a_bomb_is_a_line_in_the_summary(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (photos / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels)
    assert predict(run, photos, out=tmp_path / "out", device="cpu") == 2
    said = capsys.readouterr()
    assert "2 failed" in said.out
    assert "bomb.png" in said.err
    assert "million pixels" in said.err


def test_standard_input(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = save(tmp_path / "a.png", 4)
    stream = io.TextIOWrapper(io.BytesIO((tmp_path / "a.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert predict(run, Path("-"), out=tmp_path / "out", device="cpu") == 0
    with Image.open(tmp_path / "out" / "stdin.png") as labels:
        assert np.array(labels).tolist() == known_scores(photo).argmax(axis=0).tolist()


def test_standard_input_that_is_no_image_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no image")))
    assert predict(run, Path("-"), out=tmp_path / "out", device="cpu") == 2
    assert "standard input: not a whole picture" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_of_one_stem_keep_their_endings(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = {name: f"{name}.png" for name in ("a.png", "a.bmp", "A.TIF", "a.png.tif")} | {"b.png": "b.png"}
    shown = {name: save(folder / name, seed) for seed, name in enumerate(names)}
    assert predict(run, folder, out=tmp_path / "out", device="cpu") == 0
    assert files(tmp_path / "out") == sorted(names.values())
    for source, target in names.items():
        with Image.open(tmp_path / "out" / target) as labels:
            assert np.array(labels).tolist() == known_scores(shown[source]).argmax(axis=0).tolist()


def test_inputs_are_never_overwritten(run: Path, photos: Path) -> None:
    before = (photos / "a.png").read_bytes()
    with pytest.raises(InputError, match="would overwrite an input image"):
        predict(run, photos / "a.png", out=photos, device="cpu")
    assert (photos / "a.png").read_bytes() == before


def test_the_folder_of_the_images_takes_no_results(run: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.jpg")  # a.png beside it would be an image the next time
    with pytest.raises(InputError, match=r"photos: is the folder of the images; choose another --out, such as"):
        predict(run, tmp_path / "photos", out=tmp_path / "photos", device="cpu")
    assert files(tmp_path / "photos") == ["a.jpg"]


def test_each_page_of_a_stack_is_an_image(run: Path, tmp_path: Path) -> None:
    pages = [np.random.default_rng(seed).integers(0, 256, (23, 31, 3), np.uint8) for seed in range(3)]
    first, *others = (Image.fromarray(page) for page in pages)
    (tmp_path / "photos").mkdir()
    first.save(tmp_path / "photos" / "scan.tif", save_all=True, append_images=others)
    for image, name in ((tmp_path / "photos", "folder"), (tmp_path / "photos" / "scan.tif", "file")):
        assert predict(run, image, out=tmp_path / name, device="cpu") == 0
        assert files(tmp_path / name) == ["scan.0001.png", "scan.0002.png", "scan.0003.png"]
        for number, page in enumerate(pages, 1):
            with Image.open(tmp_path / name / f"scan.{number:04}.png") as labels:
                assert np.array(labels).tolist() == known_scores(page).argmax(axis=0).tolist()


def test_what_is_no_image_is_counted(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "cut.jpg").unlink()
    for name in ("x.HEIC", "y.heic", "report.pdf", "clip.mpg"):
        (photos / name).write_bytes(b"no picture")
    (photos / "below").mkdir()
    save(photos / "below" / "c.png", 1)
    assert predict(run, photos, out=tmp_path / "out", device="cpu") == 0
    said = capsys.readouterr().out
    assert "2 segmented into" in said
    counted = "left out, as no images: 2 .heic files, 1 .mpg file, 1 .pdf file, 1 .txt file, 1 sub-folder"
    assert counted in " ".join(said.split())


def test_names_as_long_as_they_can_be(run: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "cut.jpg").unlink()
    save(photos / f"{'x' * 244}.jpg", 3)
    assert predict(run, photos, out=tmp_path / "out", scores=True, overlay=True, device="cpu") == 0
    assert f"{'x' * 244}.png" in files(tmp_path / "out")


def test_a_name_that_grows_too_long_fails_alone(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "cut.jpg").unlink()
    for ending in ("jpg", "tif"):  # side by side they keep their endings
        save(photos / f"{'a' * 250}.{ending}", 3)
    assert predict(run, photos, out=tmp_path / "out", device="cpu") == 2
    assert files(tmp_path / "out") == ["a.png", "b.png"]
    said = capsys.readouterr()
    assert "2 segmented" in said.out
    assert said.err.count("rename the input") == 2


@pytest.mark.parametrize("scores", [False, True])
def test_a_full_disk_ends_the_run_in_one_line(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: bool
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"could not be written .*No space left.*free some space") as caught:
        predict(run, photos, out=tmp_path / "out", scores=scores, device="cpu")
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "out") == []


def test_what_cannot_begin_is_named(run: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no picture"):
        predict(run, tmp_path / "empty", out=out)
    with pytest.raises(InputError, match="none: no such file or folder"):
        predict(run, tmp_path / "none", out=out)
    with pytest.raises(InputError, match="photos: holds no segmenter"):
        predict(photos, photos, out=out)
    with pytest.raises(InputError, match="is a file; wanted a folder"):
        predict(run, photos, out=photos / "a.png")
    with pytest.raises(InputError, match="device: 'gpu0' cannot be used"):
        predict(run, photos, out=out, device="gpu0")
    with pytest.raises(InputError, match="tile: wanted at least one pixel, received 0"):
        predict(run, photos, out=out, tile=0)
    with pytest.raises(InputError, match="overlap: wanted at least 0 pixels, received -1"):
        predict(run, photos, out=out, overlap=-1)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: is a pipe or a device; wanted an image"):
        predict(run, tmp_path / "pipe.png", out=out)
    (run / "segmenter.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"segmenter\.safetensors: not a readable safetensors file"):
        predict(run, photos, out=out)
    assert not out.exists()


def test_a_tile_that_is_too_small_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a.png", 3)
    assert predict(run, tmp_path / "a.png", out=tmp_path / "out", tile=4, overlap=2, device="cpu") == 2
    assert "tile: wanted at least 5" in capsys.readouterr().err


def test_results_hold_the_values_of_the_class_list(tmp_path: Path) -> None:
    classes = ClassList(CLASSES.names, CLASSES.colors, values=(0, 255, 7))
    Segmenter(brightest(), classes, mean=(0.0,) * 3, std=(1.0,) * 3).save(tmp_path / "run" / "segmenter.safetensors")
    photo = save(tmp_path / "a.png", 3)
    assert predict(tmp_path / "run", tmp_path / "a.png", out=tmp_path / "out", device="cpu") == 0
    with Image.open(tmp_path / "out" / "a.png") as result:
        indices = known_scores(photo).argmax(0)
        np.testing.assert_array_equal(np.array(result), np.array([0, 255, 7])[indices])
        np.testing.assert_array_equal(np.array(result.convert("RGB")), np.array(CLASSES.colors)[indices])


def test_bands_of_the_command_line_and_of_the_training(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(5).integers(0, 256, (9, 11, 4), np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", values, photometric="minisblack", planarconfig="contig")
    out = tmp_path / "out"
    assert predict(run, tmp_path / "b.tif", out=out, device="cpu") == 2
    assert "b.tif: holds 4 bands of uint8; say which are red" in capsys.readouterr().err
    assert predict(run, tmp_path / "b.tif", out=out, device="cpu", bands="4,1,2") == 0
    wanted = known_scores(values[..., [3, 0, 1]]).argmax(0)
    np.testing.assert_array_equal(np.array(Image.open(out / "b.png")), wanted)
    reading = Reading(bands=(4, 1, 2))
    trained = Segmenter(brightest(), CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3, reading=reading)
    trained.save(tmp_path / "trained" / "segmenter.safetensors")
    assert predict(tmp_path / "trained", tmp_path / "b.tif", out=tmp_path / "again", device="cpu") == 0
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "again" / "b.png")), wanted)
    with pytest.raises(InputError, match="bands, range: wanted numbers with commas between"):
        predict(run, tmp_path / "b.tif", out=out, device="cpu", bands="4;1")


@pytest.mark.parametrize("name", ["a.png", "overlays/a.png", "scores/a.npy"])
def test_a_folder_named_like_a_result_is_no_result(run: Path, photos: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{name}: is a folder, where a result belongs; rename it, or choose another"):
        predict(run, photos, out=tmp_path / "out", overlay=True, scores=True)
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_several_sizes_and_mirror_images_give_their_mean(run: Path, tmp_path: Path) -> None:
    photo = np.random.default_rng(5).integers(0, 256, (40, 53, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert predict(run, tmp_path / "a.png", out=tmp_path / "out", scales="0.5,1.5", flip=True, scores=True) == 0
    segmenter = Segmenter.load(run)
    segmenter.views = Views((0.5, 1.5), True)
    wanted = segmenter.scores(photo)
    found = np.load(tmp_path / "out" / "scores" / "a.npy")
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-6)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), wanted.argmax(0).numpy())
    with pytest.raises(InputError, match="--scales: wanted numbers"):
        predict(run, tmp_path / "a.png", out=tmp_path / "other", scales="0")
    assert not (tmp_path / "other").exists()
