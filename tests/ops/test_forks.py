from __future__ import annotations

import os
import subprocess
import sys

import pytest

# The parent's threads have worked before it forks; the child says how many it would wait for, then uses the layer.
FORK = """
import os, sys, torch
from densefield.refine import DenseCRF
image = torch.zeros(1, 3, 80, 80, dtype=torch.uint8)
def use():
    return DenseCRF(3, iterations=2)(torch.ones(1, 3, 80, 80) * torch.arange(3.0).view(3, 1, 1), image)
torch.set_num_threads(2)
wanted = use()
child = os.fork()
if child == 0:
    one = torch.get_num_threads() == 1
    os._exit(0 if one and torch.equal(use(), wanted) else 3)
assert torch.get_num_threads() == 2
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_computes_with_one_thread() -> None:
    assert subprocess.run([sys.executable, "-c", FORK], timeout=300, check=False).returncode == 0
