"""One thread in forked children: torch's OpenMP threads stay behind in the parent, and who waits for them hangs.

Python forks when `multiprocessing` starts a `Pool` or a DataLoader's workers (Linux, up to Python 3.13). A child may
call `torch.set_num_threads` again where its parent never used torch's threads.
"""

from __future__ import annotations

import os

import torch


def _use_one_thread() -> None:
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)
