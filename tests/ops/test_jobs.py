"""The structures that Python fills in for the kernels, held against csrc/densefield.h and the library's own sizes."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from densefield.ops import native
from densefield.ops.gaussian.native import GaussianFilterJob
from densefield.ops.local_filter.native import (
    PairGradientJob,
    PairMasksJob,
    WindowFilterGradientJob,
    WindowFilterJob,
    WindowPackJob,
)
from densefield.ops.mean_field.native import (
    FieldGrid,
    FieldLattice,
    FieldTerm,
    GridPairsJob,
    LatticeMomentsJob,
    MeanFieldJob,
)
from densefield.ops.pair_loss.native import PairLossJob
from densefield.ops.permutohedral.native import LatticeBuildJob, LatticeFillJob, LatticeFilterJob, LatticeLinksJob

JOBS = [
    GaussianFilterJob,
    LatticeBuildJob,
    LatticeFillJob,
    LatticeLinksJob,
    LatticeFilterJob,
    PairMasksJob,
    WindowPackJob,
    WindowFilterJob,
    WindowFilterGradientJob,
    PairGradientJob,
    PairLossJob,
    FieldLattice,
    FieldGrid,
    FieldTerm,
    MeanFieldJob,
    LatticeMomentsJob,
    GridPairsJob,
]
HEADER = (Path(__file__).parents[2] / "csrc" / "densefield.h").read_text(encoding="utf-8")
TYPES = {"int32_t": native.INT32, "int64_t": native.INT64, "double": native.DOUBLE}
STRUCTURE = re.compile(r"typedef struct \{\n([^{}]*)\} (\w+);")
DECLARATION = re.compile(r"(?:const )?(\w+)(\**) (.*)", re.DOTALL)


def c_name(job: type[ctypes.Structure]) -> str:
    """Give what the C header calls a structure: df_grid_pairs_job for GridPairsJob."""
    return "df" + re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), job.__name__)


def fields_of(body: str) -> Iterator[tuple[str, type]]:
    """Give the fields of a C structure, and the ctypes that they are."""
    for declaration in re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL).split(";")[:-1]:
        found = DECLARATION.match(declaration.strip())
        assert found, declaration
        kind, stars, names = found.groups()
        for one in names.split(","):
            name, _, length = one.strip().strip("]").partition("[")
            if stars or "*" in name:
                yield name.lstrip("*"), native.POINTER
            else:
                yield name, TYPES[kind] * int(length) if length else TYPES[kind]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_fields_stand_as_in_the_header(job):
    structures = {name: body for body, name in STRUCTURE.findall(HEADER)}
    assert list(job._fields_) == list(fields_of(structures[c_name(job)]))


@pytest.mark.skipif(os.environ.get("DENSEFIELD_NATIVE") == "0", reason="native code is switched off")
def test_sizes_are_those_of_the_library():
    assert native.job_sizes() == {c_name(job): ctypes.sizeof(job) for job in JOBS}


def test_every_structure_is_held_here():
    assert set(JOBS) == set(native.Job.__subclasses__())


def test_the_test_itself_can_fail():
    body = "const float *a, *b; /* c; */ int64_t n; double x[3], y;"
    kinds = [native.POINTER, native.POINTER, native.INT64, native.DOUBLE * 3, native.DOUBLE]
    assert list(fields_of(body)) == list(zip(("a", "b", "n", "x", "y"), kinds, strict=True))
