"""What several tests share: where the data sets that are not ours to redistribute may lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _data(name: str) -> Path:
    home = Path(os.environ.get("DENSEFIELD_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (home / name).is_dir():
        pytest.skip(f"{name} is not here; DENSEFIELD_DATA names the folder that holds it")
    return home / name


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    return _data("camvid")


@pytest.fixture(scope="session")
def em_root() -> Path:
    return _data("isbi2012-em")
