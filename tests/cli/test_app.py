"""What a person's mistake looks like: one line, exit status 2, nothing half written."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from densefield.classes import ClassList
from densefield.cli.app import run
from densefield.networks import unet
from densefield.segmenter import Segmenter

CLASSES = "- {name: ground, color: [0, 0, 0], index: 0}\n- {name: thing, color: [255, 0, 0], index: 1}\n"

RECIPE = """
name: own
network: {{kind: unet, padding: same, width: 2}}
data: {{kind: folder, root: {root}}}
stages: [{{epochs: 1, batch_size: 2}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A person's own data: four small images and masks."""
    root = tmp_path / "mine"
    rng = np.random.default_rng(0)
    for place in ("images", "masks"):
        (root / place).mkdir(parents=True)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / "images" / f"{name}.jpg")
        Image.fromarray(rng.integers(0, 2, (32, 32), dtype=np.uint8)).save(root / "masks" / f"{name}.png")
    (root / "classes.yaml").write_text(CLASSES)
    (tmp_path / "own.yaml").write_text(RECIPE.format(root=root))
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    classes = ClassList(("ground", "thing"), ((0, 0, 0), (255, 0, 0)))
    path = tmp_path / "model.safetensors"
    Segmenter(unet(2, 3, padding="same", width=2), classes, mean=(0.5,) * 3, std=(0.25,) * 3).save(path)
    return path


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The single error line, which holds `words`."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    assert len(errors) == 1, lines
    assert "Traceback" not in "".join(lines)
    for word in words:
        assert word in errors[0]
    return errors[0]


def train(folder: Path, workers: int = 0) -> int:
    command = ["train", str(folder.parent / "own.yaml"), "--out", str(folder.parent / "run")]
    return run([*command, "--accelerator", "cpu", "--no-bar", "--workers", str(workers)])


def png_bomb(path: Path) -> None:
    """A PNG that claims 50,000 × 50,000 pixels in a hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_a_folder_is_checked_trained_evaluated_and_predicted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder, out = folder.parent / "run", folder.parent / "out"
    assert run(["data", "check", str(folder)]) == 0
    assert train(folder) == 0
    assert run(["evaluate", str(run_folder)]) == 0
    assert "mean IoU" in capsys.readouterr().out
    assert "<html" in (run_folder / "report-val.html").read_text()
    assert run(["predict", str(run_folder), str(folder / "images"), "--out", str(out)]) == 0
    for name in "abcd":
        with Image.open(out / f"{name}.png") as labels:
            assert labels.size == (32, 32)
            assert set(np.unique(np.asarray(labels))) <= {0, 1}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named_by_training(folder: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    for name in "abcd":
        truncate(folder / "images" / f"{name}.jpg")
    assert train(folder, workers) == 2
    one_line(capsys, ".jpg")


def test_a_png_bomb_is_named_by_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abcd":
        (folder / "images" / f"{name}.jpg").unlink()
        png_bomb(folder / "images" / f"{name}.png")
    assert train(folder) == 2
    one_line(capsys, ".png", "pixels")


def test_a_mask_of_another_size_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abcd":
        Image.new("L", (31, 32)).save(folder / "masks" / f"{name}.png")
    assert train(folder) == 2
    one_line(capsys, "masks", "31", "32")


def test_a_class_out_of_range_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abcd":
        Image.new("L", (32, 32), 9).save(folder / "masks" / f"{name}.png")
    assert train(folder) == 2
    one_line(capsys, "masks", "9")


def test_an_empty_folder_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in [*(folder / "images").iterdir(), *(folder / "masks").iterdir()]:
        path.unlink()
    assert train(folder) == 2
    one_line(capsys, "images")
    assert not (folder.parent / "run").exists()


def test_a_recipe_with_a_wrong_key_names_file_key_and_meant_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder.parent / "own.yaml"
    path.write_text(path.read_text().replace("batch_size", "batchsize"))
    assert train(folder) == 2
    one_line(capsys, "own.yaml", "batchsize", "batch_size")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 64], ids=["empty", "text", "bytes"])
def test_a_corrupt_model_is_named(
    model: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    model.write_bytes(content)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    assert run(["predict", str(model), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 2
    one_line(capsys, "model.safetensors")


def test_a_full_disk_ends_training_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert train(folder) == 2
    one_line(capsys, "No space left on device")
    assert not [
        path for path in (folder.parent / "run").rglob("*") if path.suffix in (".part", ".ckpt", ".safetensors")
    ]


def test_predict_goes_on_past_broken_images_and_names_them(
    folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(folder / "images" / "b.jpg")
    png_bomb(folder / "images" / "e.png")
    assert run(["predict", str(model), str(folder / "images"), "--out", str(tmp_path / "out")]) == 2
    text = "".join(capsys.readouterr())
    assert "b.jpg" in text
    assert "e.png" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "d.png"]


def test_evaluating_what_is_no_run_says_what_to_do(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(model)]) == 2
    one_line(capsys, "--recipe")


def test_an_unknown_command_and_a_missing_argument_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trian"]) == 2
    assert run(["predict"]) == 2
    assert capsys.readouterr()


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "check it"), (errno.ENOENT, "check it")]
)
def test_the_advice_fits_what_the_system_said(
    number: int, advice: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(arguments: list[str]) -> None:
        raise OSError(number, os.strerror(number), "some.file")

    monkeypatch.setattr("densefield.cli.app.application", failing)
    assert run(["train"]) == 2
    one_line(capsys, "some.file", os.strerror(number), advice)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError("Caught MemoryError in DataLoader worker process 0.\nTraceback:\n  ...\nMemoryError: no more"),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*arguments: object, **named: object) -> float:
        raise error

    monkeypatch.setattr("densefield.runs.train.train", hungry)
    assert train(folder) == 2
    one_line(capsys, "out of memory", "batch_size")


def test_a_bug_is_no_lack_of_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: object, **named: object) -> float:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("densefield.runs.train.train", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(folder)


def test_closed_streams_are_empty_streams(model: Path, tmp_path: Path) -> None:
    code = "import os\nfor stream in (0, 1): os.close(stream)\n"
    code += "import sys\nsys.stdin = sys.stdout = None\nfrom densefield.cli import main\nmain()\n"
    command = [sys.executable, "-c", code, "predict", str(model), "-", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "standard input" in done.stderr


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("train --network.width=2 recipe.yaml", "behind the recipe: densefield train RECIPE"),
        ("weights import --network.kind unet a.pth", "behind the file: densefield weights import FILE"),
    ],
)
def test_a_dotted_flag_in_front_is_told_where_it_stands(
    line: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    assert wanted in capsys.readouterr().err
