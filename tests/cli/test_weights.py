"""`densefield weights import`: the layer map, the segmenter it writes, and what is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from caffemodels import blob, caffemodel, layer, span, varint

from densefield.cli.app import run
from densefield.networks import unet
from densefield.segmenter import Segmenter

CLASSES = "classes:\n  - {index: 0, name: a, color: [0, 0, 0]}\n  - {index: 1, name: b, color: [9, 9, 9]}\n"
NETWORK = ("--network.kind", "unet", "--network.width", "2", "--network.padding", "same")


@pytest.fixture
def theirs() -> torch.nn.Module:
    return unet(2, 3, width=2, padding="same").eval()


def imported(folder: Path, file: str, *more: str, network: tuple[str, ...] = NETWORK) -> int:
    (folder / "classes.yaml").write_text(CLASSES)
    flags = ["--classes", str(folder / "classes.yaml"), "--out", str(folder / "out"), *more]
    return run(["weights", "import", str(folder / file), *network, *flags])


def test_a_file_becomes_a_segmenter(
    tmp_path: Path, theirs: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    assert imported(tmp_path, "a.pth", "--mean", "0.1", "0.2", "0.3", "--std", "0.5", "0.5", "0.25") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["file", "network", "shape"]
    assert told[1].split() == ["down.0.0", "down.0.0", "2×3×3×3"]
    assert told[-1].startswith("layers filled: 23; segmenter in ")
    segmenter = Segmenter.load(tmp_path / "out")
    assert segmenter.mean == (0.1, 0.2, 0.3)
    assert segmenter.classes.names == ("a", "b")
    image = torch.rand(1, 3, 40, 36)
    with torch.no_grad():
        assert torch.equal(segmenter.network(image), theirs(image))


def test_other_classes_are_left_out_when_asked(
    tmp_path: Path, theirs: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    state = theirs.state_dict() | {"classifier.weight": torch.zeros(7, 2, 1, 1), "more.weight": torch.zeros(2, 2)}
    del state["down.0.0.weight"], state["down.0.0.bias"]
    torch.save(state, tmp_path / "a.pth")
    assert imported(tmp_path, "a.pth") == 2
    assert not (tmp_path / "out").exists()
    assert imported(tmp_path, "a.pth", "--partial") == 0
    told = capsys.readouterr().out
    assert "not filled: weight in the file: (7, 2, 1, 1)" in told
    assert "down.0.0    " in told
    assert "not filled: missing in the file" in told
    assert "not used" in told
    assert "is not known; say it with --mean and --std" in told


def test_layers_of_a_deeper_file_are_warned_of(
    tmp_path: Path, theirs: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(theirs.state_dict() | {"down.0.9.weight": torch.zeros(2, 2, 3, 3)}, tmp_path / "a.pth")
    assert imported(tmp_path, "a.pth") == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(warned) == 1
    assert warned[0].startswith("warning: 1 layer of the file not used, first down.0.9")
    torch.save(theirs.state_dict() | {"fc.weight": torch.zeros(2, 2)}, tmp_path / "a.pth")
    assert imported(tmp_path, "a.pth") == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--network.kind: wanted"),
        (("--network.kind", "unett"), "there is no 'unett'; did you mean 'unet'?"),
        (("--network.kind", "unet", "--network.widht", "2"), "did you mean 'width'"),
        (("--network.kind", "unet", "--optimizer.rate", "2"), "--optimizer.rate: is not known"),
        ((*NETWORK, "--partal"), "--partal: is not known; did you mean '--partial'?"),
        (("b.pth", *NETWORK), "b.pth: wanted one file"),
    ],
)
def test_a_slip_in_the_networks_words_is_told(
    tmp_path: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pth").write_bytes(b"")
    assert imported(tmp_path, "a.pth", network=flags) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def _lying_old_file(path: Path) -> None:
    torch.save({"a": torch.zeros(3000)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()[:-11990]
    path.write_bytes(data.replace(b"M" + (3000).to_bytes(2, "little"), b"J" + (2**31 - 1).to_bytes(4, "little")))


def _nan(path: Path) -> None:
    """The network whole, but for one number of its last layer."""
    if path.suffix == ".caffemodel":
        network = unet(2, 3, width=2)
        with torch.no_grad():
            network.classifier.bias[1] = np.nan
        layers = [
            layer(name, "Convolution", [blob(values.detach().numpy()) for values in module.parameters()])
            for name, module in network.named_modules()
            if hasattr(module, "weight")
        ]
        path.write_bytes(caffemodel(*layers))
        return
    torch.save(unet(2, 3, width=2).state_dict() | {"classifier.bias": torch.tensor([0, np.nan])}, path)


TRUNCATED = b"\xa2\x06\xff\xff\xff"  # the length of a layer, without its end
BEYOND = span(100, span(7, b"\x2a\xff\xff\xff\x7f"))
HUGE = caffemodel(layer("fc6", "InnerProduct", [span(7, span(1, varint(10**6) * 2)) + span(5, bytes(4))]))


@pytest.mark.parametrize(
    ("name", "made", "message"),
    [
        ("a.caffemodel", TRUNCATED, "does not end"),
        ("a.caffemodel", BEYOND, "bytes beyond what holds it"),
        ("a.caffemodel", HUGE, "claims the shape 1000000×1000000, but holds 1 numbers"),
        ("a.caffemodel", caffemodel(layer("fc8", "Scale", [blob([np.nan])])), "holds no convolutions"),
        ("a.caffemodel", _nan, "layer classifier holds NaN or Inf"),
        ("a.pth", _nan, "layer classifier holds NaN or Inf"),
        ("a.pth", _lying_old_file, "claims 2147483647 elements of 4 bytes"),
        ("a-0123abcd.pth", _nan, "its SHA-256 begins with"),
        ("none.pth", None, "no such file"),
        (".", None, "is a folder; wanted a .caffemodel"),
        ("a.txt", b"text", "not a checkpoint written by torch.save"),
    ],
)
def test_bad_files_are_one_line_and_nothing_is_written(
    tmp_path: Path, name: str, made: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if callable(made):
        made(tmp_path / name)
    elif isinstance(made, bytes):
        (tmp_path / name).write_bytes(made)
    assert imported(tmp_path, name) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_large_bad_file_takes_less_memory_than_twice_its_size(tmp_path: Path) -> None:
    """20 and 40 MB, bad at the end; in a process of its own, whose peak is known before."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory's peak is read as Linux tells it")
    weight = np.ones((10_000_000,), np.float32)
    weight[-1] = np.nan
    square = weight.reshape(1000, 10_000)
    small = layer("classifier", "InnerProduct", [blob(square[:500]), blob(np.zeros(500))])
    state = {"classifier.weight": torch.from_numpy(square), "classifier.bias": torch.zeros(1000)}
    (tmp_path / "a.caffemodel").write_bytes(
        caffemodel(layer("classifier", "InnerProduct", [blob(square), blob(np.zeros(1000))]))
    )
    (tmp_path / "truncated.caffemodel").write_bytes(caffemodel(small)[:-1000])
    (tmp_path / "huge.caffemodel").write_bytes(caffemodel(small) + HUGE)
    claimed = span(7, span(1, varint(10**6) * 2)) + span(5, square[:500].tobytes())
    (tmp_path / "claimed.caffemodel").write_bytes(caffemodel(layer("classifier", "InnerProduct", [claimed])))
    torch.save(state, tmp_path / "new.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    code = """
import sys, torch
from densefield.checks import InputError
from densefield.weights import import_weights
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
network = torch.nn.Module()
network.classifier = torch.nn.Linear(10_000, 1000, device="meta")
torch.zeros(1).aminmax()
before = peak()
for path in sys.argv[1:]:
    try:
        import_weights(network, path)
    except InputError as error:
        print(peak() - before, error)
"""
    # Small ones first: a peak is that of all so far.
    messages = {
        "truncated.caffemodel": "bytes beyond what holds it",
        "huge.caffemodel": "claims the shape 1000000×1000000, but holds 1 numbers",
        "claimed.caffemodel": "claims the shape 1000000×1000000, but holds 5000000 numbers",
        "a.caffemodel": "holds NaN",
        "new.pth": "holds NaN",
        "old.pth": "holds NaN",
    }
    paths = [tmp_path / name for name in messages]
    command = [sys.executable, "-c", code, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for path, message, told in zip(paths, messages.values(), done.stdout.splitlines(), strict=True):
        peak, _, error = told.partition(" ")
        assert message in error
        assert int(peak) < 2 * path.stat().st_size / 1024, path.name
