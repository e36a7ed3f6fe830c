"""OpenMP's idle threads, sent away before long native jobs.

After each parallel operation of torch, OpenMP's threads turn in a loop for some 15 ms (GCC's, on Intel) in case that
more comes. Kernels of ours that run meanwhile on threads of their own then share the processors with those: on two
cores, the half of one. Later operations start OpenMP's threads anew, in some 50 µs.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable

import torch

_SOFT = 1  # omp_pause_soft: what the program has set stays (OpenMP 5.0, section 3.2.44)
_OWNER = os.getpid()


def send_away() -> None:
    """Let the calling thread's idle OpenMP threads go, where they would take processors from ours (Linux)."""
    threads = torch.get_num_threads()
    # In a forked child they are not there, and would be waited for.
    if threads > 1 and 2 * threads - 1 > _processors() and os.getpid() == _OWNER:
        _pause()(_SOFT)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@functools.cache
def _pause() -> Callable[[int], int]:
    if sys.platform != "linux":
        return lambda kind: 0
    try:
        function = ctypes.CDLL(None).omp_pause_resource_all
    except AttributeError:  # an OpenMP from before 5.0, or none
        return lambda kind: 0
    function.argtypes, function.restype = (ctypes.c_int,), ctypes.c_int
    call: Callable[[int], int] = function
    return call
