"""What `pip install -c constraints.txt .[extra]` takes: every package is pinned, and pip finds that the pins fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def requirements(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines]


def pins() -> dict[str, Requirement]:
    """The constraints that hold for this Python, by package."""
    lines = (line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    found = requirements([line for line in lines if line and not line.startswith("#")])
    return {canonicalize_name(one.name): one for one in found if one.marker is None or one.marker.evaluate()}


def version(pin: Requirement) -> str:
    (only,) = pin.specifier
    assert only.operator == "==", f"{pin} is no pin"
    return only.version


@pytest.mark.parametrize("part", ["dependencies", *EXTRAS])
def test_every_package_is_pinned_within_its_bounds(part: str) -> None:
    pinned = pins()
    for one in requirements(PROJECT["dependencies"] if part == "dependencies" else EXTRAS[part]):
        assert canonicalize_name(one.name) in pinned, f"{one.name} of {part} is not pinned: pip may take any release"
        assert one.specifier.contains(version(pinned[canonicalize_name(one.name)]))


def test_nothing_is_pinned_that_nothing_asks_for() -> None:
    asked = requirements([*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)])
    assert set(pins()) == {canonicalize_name(one.name) for one in asked}


@pytest.mark.parametrize("extra", ["app", "encoders"])
def test_an_extra_names_the_oldest_release_that_will_do(extra: str) -> None:
    """So that a pin which does not fit is an error, not a release of years ago."""
    assert all(one.specifier for one in requirements(EXTRAS[extra]))


@pytest.mark.parametrize("name", sorted(pins()))
def test_what_is_installed_agrees_with_the_pins(name: str) -> None:
    """What a pinned release itself asks for, as far as it is installed here, is met by the other pins."""
    pinned = pins()
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    if installed.version.partition("+")[0] != version(pinned[name]):
        pytest.skip(f"{name} {installed.version} is installed, another release is pinned")
    for one in requirements(installed.requires or []):
        other = pinned.get(canonicalize_name(one.name))
        if other is not None and (one.marker is None or one.marker.evaluate({"extra": ""})):
            assert one.specifier.contains(version(other)), f"{name} wants {one}, pinned is {other}"


@pytest.mark.skipif(not os.environ.get("DENSEFIELD_NETWORK"), reason="asks the package index; DENSEFIELD_NETWORK=1")
@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_pip_resolves_every_extra_to_its_pins(extra: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    wanted = [*PROJECT["dependencies"], *EXTRAS[extra]]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report"]
    subprocess.run([*command, str(report), "--constraint", str(ROOT / "constraints.txt"), *wanted], check=True)
    found = {canonicalize_name(one["metadata"]["name"]): one for one in json.loads(report.read_text())["install"]}
    for name, pin in pins().items():
        if name in found:
            assert found[name]["metadata"]["version"].partition("+")[0] == version(pin)
    assert {canonicalize_name(one.name) for one in requirements(wanted)} <= set(found)
