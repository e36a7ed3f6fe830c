"""Libraries that need not be there: what is said without them, and a torchvision that fits no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import densefield
from densefield.checks import InputError
from densefield.optional import needed

# As torchvision's own begins: a library, which may not load, then shapes for the operators that it brings.
IMPORTED = """
import torch
try:
    torch.ops.load_library(__file__.replace("__init__.py", "_C.so"))
except OSError:
    pass
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
torch.library.register_fake("torchvision::qnms")(lambda dets, scores, iou_threshold: dets)
"""


def run(code: str, *places: Path | str) -> str:
    home = str(Path(densefield.__file__).parents[1])
    there = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [home, *places]))}
    ran = subprocess.run([sys.executable, "-c", code], env=there, capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Where a torchvision lies whose library no torch loads."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(IMPORTED)
    (tmp_path / "torchvision" / "_C.so").write_bytes(b"built for CUDA")
    return tmp_path


def test_a_torchvision_for_another_torch_can_be_imported_once_its_operators_are_declared(broken: Path) -> None:
    assert "operator torchvision::nms does not exist" in run("import torchvision", broken)
    assert run("from densefield.optional import needed; needed('torchvision', 'kind smp'); print(1)", broken) == "1\n"


def test_lightning_comes_after_they_are_declared(broken: Path) -> None:
    code = """
import sys, torch
sys.modules["pytorch_lightning"] = None  # so that its import ends where it begins
try:
    import densefield.training.lightning
except ImportError:
    print(hasattr(torch.ops.torchvision, "nms"))
"""
    assert run(code, broken) == "True\n"


def test_a_torchvision_that_is_whole_is_left_alone(broken: Path) -> None:
    (broken / "torchvision" / "__init__.py").write_text("whole = True")
    (broken / "torchvision" / "_C.so").unlink()
    code = "from densefield.optional import needed; print(needed('torchvision', 'kind smp').whole)"
    assert run(code, broken) == "True\n"


def test_a_missing_library_is_told_with_what_to_install() -> None:
    with pytest.raises(InputError, match=r'^kind smp: needs no_such_library; pip install "densefield\[encoders\]"$'):
        needed("no_such_library", "kind smp")


def test_a_library_that_ends_while_it_is_imported_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_at_once.py").write_text("raise RuntimeError('of another\\nrelease')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"^kind timm: ends_at_once cannot be imported \(of another release\)"):
        needed("ends_at_once", "kind timm")
