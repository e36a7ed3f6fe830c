from __future__ import annotations

import os
import subprocess
import sys

import pytest

# A parallel operation of torch starts OpenMP's threads; sent away, they are gone; the next operation starts them anew.
SEND_AWAY = """
import os, sys, time, torch
from densefield.ops import idle_threads
idle_threads._processors = lambda: 1  # as if there were no processor to spare
torch.set_num_threads(3)
numbers = torch.arange(1 << 20, dtype=torch.float32)
wanted = numbers * 3
tasks = lambda: len(os.listdir("/proc/self/task"))
found = idle_threads._pause().__class__.__name__ != "function"  # else this OpenMP cannot
with_them = tasks()
idle_threads.send_away()
without = tasks()
end = time.monotonic() + 60  # a thread that has been waited for stays in the list while the kernel puts it away
while found and without > with_them - 2 and time.monotonic() < end:
    time.sleep(0.001)
    without = tasks()
again = numbers * 3
idle_threads.send_away()
child = os.fork()
if child == 0:
    torch.set_num_threads(3)
    idle_threads.send_away()  # nothing to wait for
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(again, wanted) and torch.get_num_threads() == 3
assert not found or without == with_them - 2, (with_them, without)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="done on Linux alone")
def test_idle_threads_go_and_come_back() -> None:
    found = subprocess.run(
        [sys.executable, "-c", SEND_AWAY], timeout=300, check=False, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "3"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
