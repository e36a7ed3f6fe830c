from __future__ import annotations

import os
import platform
import shutil
import signal
import threading
import warnings

import pytest
import torch

from densefield.checks import InputError
from densefield.ops import native
from densefield.ops.gaussian import gaussian_filter
from densefield.ops.gaussian.native import GaussianFilterJob
from densefield.ops.permutohedral import build_lattice, lattice_filter
from drawing import seeded
from rounding import STEPS, unit_roundoff
from rounding_rules import EXP

needs_native = pytest.mark.skipif(os.environ.get("DENSEFIELD_NATIVE") == "0", reason="native code is switched off")


@pytest.fixture
def load_anew(monkeypatch):
    """Load the library again under other environment variables, for one test."""

    def load(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        native._library.cache_clear()
        native.kernel.cache_clear()

    yield load
    monkeypatch.undo()
    native._library.cache_clear()
    native.kernel.cache_clear()


def filter_in_float64(values):
    return gaussian_filter(values.double(), 2.0)


def test_missing_library_warns_once_and_torch_serves(load_anew):
    values = torch.rand(1, 2, 9, 11)
    expected = filter_in_float64(values)
    load_anew(DENSEFIELD_NATIVE="0", DENSEFIELD_REQUIRE_NATIVE="0")
    with pytest.warns(RuntimeWarning, match="native library: switched off by DENSEFIELD_NATIVE=0") as record:
        torch.testing.assert_close(filter_in_float64(values), expected)
        filter_in_float64(values)
    assert len(record) == 1
    assert not native.available()
    assert native.cpu() == "none"


def test_required_library_missing_is_an_error(load_anew, tmp_path):
    load_anew(DENSEFIELD_NATIVE=str(tmp_path), DENSEFIELD_REQUIRE_NATIVE="1")
    with pytest.raises(native.NativeLibraryMissing, match=f"not found in {tmp_path}"):
        native.available()


def test_the_warning_tells_why_the_install_has_no_library(load_anew, tmp_path, monkeypatch):
    monkeypatch.setattr(native.resources, "files", lambda package: tmp_path)
    monkeypatch.delenv("DENSEFIELD_NATIVE", raising=False)
    (tmp_path / "not_built.txt").write_text("csrc/crf/few_labels.h:45: error: no type named 'Lanes'\n")
    load_anew(DENSEFIELD_REQUIRE_NATIVE="0")
    with pytest.warns(RuntimeWarning, match="few_labels.h:45: error: no type named 'Lanes'.*pip install --verbose"):
        assert not native.available()


def test_unloadable_library_warns_with_the_reason(load_anew, tmp_path):
    broken = tmp_path / "densefield_native.so"
    broken.write_bytes(b"not a library")
    load_anew(DENSEFIELD_NATIVE=str(broken), DENSEFIELD_REQUIRE_NATIVE="0")
    with pytest.warns(RuntimeWarning, match="densefield_native.so"):
        assert not native.available()


@needs_native
@pytest.mark.parametrize("target", ["baseline", "avx2", "avx512"])
def test_every_cpu_target_of_the_binary_agrees(load_anew, tmp_path, target):
    order = ["baseline", "avx2", "avx512"]
    if order.index(target) > order.index(native.cpu()):
        pytest.skip(f"this CPU lacks {target}")
    cases = [
        torch.randn(1, 2, *shape, dtype=dtype)
        for shape in [(1, 1), (5, 3), (37, 45), (4, 6, 5)]
        for dtype in (torch.float32, torch.float64)
    ]
    expected = [gaussian_filter(values, 2.0) for values in cases]
    # A copy is another library to the loader, and so chooses its target anew.
    copy = tmp_path / "densefield_native.so"
    shutil.copy(native._find(), copy)
    load_anew(DENSEFIELD_NATIVE=str(copy), DENSEFIELD_CPU=target)
    assert native.cpu() == target
    for values, wanted in zip(cases, expected, strict=True):
        # Both are sums of the same products, over an axis after the other, each within so much of the exact sum.
        roundings = sum(length + EXP + 2 for length in values.shape[2:])
        bound = 2 * STEPS * roundings * unit_roundoff(values.dtype) * gaussian_filter(values.double().abs(), 2.0)
        assert ((gaussian_filter(values, 2.0).double() - wanted).abs() <= bound).all()


@needs_native
def test_error_status_becomes_an_exception():
    values = torch.zeros(4)
    address = native.pointer(values, torch.float32)
    job = GaussianFilterJob(input=address, output=address, planes=1, sizes=(4,), theta=(1.0,), axes=1, n_threads=0)
    with pytest.raises(ValueError, match="df_gaussian_filter: bad argument"):
        native.run("df_gaussian_filter", job)
    with pytest.raises(native.NativeLibraryMissing, match="df_no_such_kernel"):
        native.kernel("df_no_such_kernel", ())


def test_pointer_refuses_what_a_kernel_cannot_read():
    right = torch.zeros(3, 4)
    for wrong in (right.T, right.double(), right.to("meta")):
        with pytest.raises(TypeError, match=r"a kernel reads torch.float32 on the CPU, contiguous; received"):
            native.pointer(wrong, torch.float32)
    assert native.pointer(right, torch.float32) == right.data_ptr()


@needs_native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_forked_child_can_use_the_kernels():
    values = torch.rand(1, 8, 40, 50)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = gaussian_filter(values, 2.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads in the parent
            child = os.fork()
        if child == 0:
            signal.alarm(20)  # where the child hangs, this kills it
            os._exit(0 if gaussian_filter(values, 2.0).tolist() == expected.tolist() else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert torch.equal(gaussian_filter(values, 2.0), expected)
    finally:
        torch.set_num_threads(before)


@needs_native
def test_calls_from_several_threads_at_once_do_not_mix():
    inputs = [torch.rand(1, 4, 30, 40) for _ in range(4)]
    expected = [gaussian_filter(values, 2.0) for values in inputs]
    wrong = []

    def work(index):
        for _ in range(20):
            if not torch.equal(gaussian_filter(inputs[index], 2.0), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


SMALL = 1e-40  # denormal in float32, so that arithmetic shows whether such numbers count as zero
flushes = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"), reason="this CPU's mode is left as it is"
)


def calling_thread_flushes():
    return float((torch.tensor([SMALL]) * 0.5).view(torch.int32)) == 0


@pytest.fixture
def flush_denormal():
    """Set the calling thread's mode for one test."""
    before = calling_thread_flushes()
    yield torch.set_flush_denormal
    torch.set_flush_denormal(before)


@needs_native
@flushes
@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_count_as_zero_within_a_kernel(flush_denormal, threads):
    flush_denormal(False)
    values = torch.full((1, 64, 40, 50), SMALL)  # 64 planes, for all threads to take some
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(20):
            assert int(gaussian_filter(values, 2.0).view(torch.int32).count_nonzero()) == 0
    finally:
        torch.set_num_threads(before)


@needs_native
@flushes
@pytest.mark.parametrize("mode", [False, True])
def test_the_callers_mode_is_put_back(flush_denormal, mode):
    flush_denormal(mode)
    assert calling_thread_flushes() == mode
    gaussian_filter(torch.rand(1, 2, 9, 11), 2.0)
    assert calling_thread_flushes() == mode
    with pytest.raises(InputError, match="span up to"):  # an exception thrown within the kernel
        build_lattice(torch.full((1, 3, 5), 1e30))
    assert calling_thread_flushes() == mode


@needs_native
def test_blocks_that_wait_for_the_next_call_bring_nothing_of_the_last():
    # Scratch of several MiB, in the sizes up and down again, so that larger blocks serve smaller jobs.
    def filtered(side):
        features = torch.rand(1, 3, side * side, generator=torch.Generator().manual_seed(seeded(side))) * 4
        values = torch.rand(1, 8, side * side, generator=torch.Generator().manual_seed(seeded(side + 1)))
        return lattice_filter(values, build_lattice(features))

    first = {side: filtered(side) for side in (300, 420, 260)}
    for side in (420, 260, 300, 420):
        assert torch.equal(filtered(side), first[side])


def test_large_results_stand_in_memory_that_is_kept(monkeypatch):
    monkeypatch.setattr(native, "LARGE", 1 << 21)
    tensor = native.empty((3, 1 << 19), torch.int32)
    assert tensor.shape == (3, 1 << 19)
    assert tensor.dtype == torch.int32
    assert tensor.is_contiguous()
    tensor.fill_(7)
    row = tensor[1]
    del tensor
    others = [native.empty((3 << 19,), torch.float32).fill_(0) for _ in range(2)]  # elsewhere, while a view is alive
    assert bool((row == 7).all())
    assert others[0].data_ptr() != others[1].data_ptr()
    del others
    assert native.empty((5, 4), torch.float64).shape == (5, 4)
    with pytest.raises((MemoryError, RuntimeError)):
        native.empty(((1 << 63) - 1,), torch.int8)
