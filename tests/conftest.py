"""What all tests share: seeds, a process left as it was found, and where data that are not ours to redistribute lie."""

from __future__ import annotations

import locale
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from densefield.ops import native
from drawing import seed_by_name


def pytest_collectstart(collector: pytest.Collector) -> None:
    seed_by_name(collector.nodeid)  # what a module draws while it is read


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    if fixturedef.scope != "function":  # whichever test asks first
        seed_by_name(f"{fixturedef.baseid}::{fixturedef.argname}")


def _process() -> dict[str, object]:
    """What of this process reaches into other tests' numbers."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "matmul precision": torch.get_float32_matmul_precision(),
        "denormals": float(torch.full((), 1e-40, dtype=torch.float32, device="cpu") * 1) > 0,
        "numpy's errors": np.geterr(),
        "locale": locale.setlocale(locale.LC_ALL),
        "working directory": os.getcwd(),
    }


@pytest.fixture(autouse=True)
def _seeded_and_left_as_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test draws from its own name, whatever ran before it, and leaves nothing for the next."""
    before = _process()
    seed_by_name(request.node.nodeid)
    yield
    after = _process()
    changed = [f"{name}: found {before[name]}, left {after[name]}" for name in before if before[name] != after[name]]
    assert not changed, "; ".join(changed)


@pytest.fixture(params=["native", "torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way an op goes: through the native library, or through torch, as on other devices."""
    if request.param == "torch":
        monkeypatch.setattr(native, "available", lambda: False)
    elif not native.available():
        pytest.skip("the native library is not here")
    return str(request.param)


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
