"""The build backend, with a compiler that fails in place of scikit-build-core's."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

BACKEND = Path(__file__).parents[1] / "backend" / "densefield_build.py"
FAILING = """
import sys
print("[1/33] Building CXX object crf/few_labels.cpp.o")
print("FAILED: crf/few_labels.cpp.o")
print("/usr/bin/c++ -Werror=format -O3 -c crf/few_labels.cpp")
print("csrc/crf/few_labels.h:45:20: error: no type named 'Lanes'", file=sys.stderr)
print("csrc/crf/few_labels.h:47:12: error: 'order' was not declared")
print("ninja: build stopped: subcommand failed.")
"""


@pytest.fixture
def backend(tmp_path, monkeypatch):
    """Load the backend in an empty tree, over a scikit-build-core whose compiler fails."""

    def build_wheel(directory, settings, metadata):
        if (settings or {}).get("wheel.cmake") == "false":
            return "densefield-py3-none-any.whl"
        subprocess.run([sys.executable, "-c", FAILING], check=True)
        raise SystemExit(1)

    fake = types.ModuleType("scikit_build_core")
    fake.build = types.SimpleNamespace(build_wheel=build_wheel, build_editable=build_wheel)
    monkeypatch.setitem(sys.modules, "scikit_build_core", fake)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DENSEFIELD_REQUIRE_NATIVE", raising=False)
    (tmp_path / "src/densefield/ops").mkdir(parents=True)
    spec = importlib.util.spec_from_file_location("densefield_build", BACKEND)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["build_wheel", "build_editable"])
def test_a_failed_build_goes_on_without_kernels_and_tells_the_compilers_first_error(backend, name, capfd):
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    assert getattr(backend, name)("wheels") == "densefield-py3-none-any.whl"
    error = "csrc/crf/few_labels.h:45:20: error: no type named 'Lanes'"
    assert backend.REASON.read_text() == error + "\n"
    shown = capfd.readouterr()
    assert f"WITHOUT its native kernels: {error}. To see all of it, install again with" in shown.err
    assert "'order' was not declared" in shown.out  # the compiler's words are still shown
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_failed_build_fails_where_kernels_are_required(backend, monkeypatch):
    monkeypatch.setenv("DENSEFIELD_REQUIRE_NATIVE", "1")
    with pytest.raises(SystemExit):
        backend.build_wheel("wheels")
    assert not backend.REASON.exists()


def test_the_reason_of_a_build_before_is_gone(backend, monkeypatch):
    backend.REASON.write_text("old")
    monkeypatch.setattr(sys.modules["scikit_build_core"].build, "build_wheel", lambda *arguments: "with.whl")
    assert backend.build_wheel("wheels") == "with.whl"
    assert not backend.REASON.exists()


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("a.cpp:1:2: fatal error: b.h: No such file\na.cpp:3: error: c", "a.cpp:1:2: fatal error: b.h: No such file"),
        ("ld: a.o: undefined reference to `f'\ncollect2: error: ld returned 1", "ld: a.o: undefined reference to `f'"),
        ("a.cpp(3): error C2065: 'x'", "a.cpp(3): error C2065: 'x'"),
        (
            "CMake Error at CMakeLists.txt:2 (project):\n  No CMAKE_CXX_COMPILER could be found.\n\n  Tell CMake",
            "CMake Error at CMakeLists.txt:2 (project): No CMAKE_CXX_COMPILER could be found. Tell CMake",
        ),
        ("FAILED: a.o\n/usr/bin/c++ -c a.cpp\nc++: no licence\nninja: build stopped", "c++: no licence"),
        ("nothing known\n\n", "nothing known"),
        ("", "it printed nothing"),
    ],
)
def test_first_error(backend, output, wanted):
    assert backend.first_error(output) == wanted
