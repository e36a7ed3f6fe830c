from __future__ import annotations

import pytest
import torch

from densefield.checks import InputError
from densefield.ops import native
from densefield.ops.local_filter import affinity_filter, filter_by_masks, pair_distances


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize(("window", "rate"), [(5, 1), (3, 2), (9, 1), (3, 7)])
def test_equals_the_affinity_filter(window, rate, here, monkeypatch):
    if not here:
        monkeypatch.setattr(native, "available", lambda: False)
    scores, embeddings = torch.randn(2, 3, 6, 11, dtype=torch.float64), torch.randn(2, 4, 6, 11, dtype=torch.float64)
    masks = torch.exp(-0.5 * pair_distances(embeddings, window=window, rate=rate))
    result = filter_by_masks(scores, masks, window=window, rate=rate, iterations=3)
    wanted = affinity_filter(scores, embeddings, 0.5, window=window, rate=rate, iterations=3)
    torch.testing.assert_close(result, wanted)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="masks"):
        filter_by_masks(torch.zeros(1, 2, 4, 5), torch.zeros(1, 3, 4, 5), window=3)
