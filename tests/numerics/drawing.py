"""Where the tests' random numbers come from: seeds that hang on a name alone, and that one number moves all at once."""

from __future__ import annotations

import os
import random
import zlib

import numpy as np
import torch

# Another number draws other numbers in every test; `.ci/repeat` goes through many.
OFFSET = int(os.environ.get("DENSEFIELD_TEST_SEED") or 0)
APART = 1_000_003  # prime, and more than the seeds that tests count up: no two offsets share one


def seeded(number: int = 0) -> int:
    """A seed that a test writes down, moved by the offset: `torch.Generator().manual_seed(seeded(3))`."""
    return (number + APART * OFFSET) % 2**32


def seed_by_name(name: str) -> None:
    """Seed all three global generators; the same for the same name in every process."""
    seed = seeded(zlib.crc32(name.encode()))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 what a library draws from the old generator is seeded too
    torch.manual_seed(seed)
