from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.mirroring import mirrored_window
from densefield.segmenter.tiling import Span, padded_spans, score_tiles, valid_spans
from drawing import seeded

# Weights are below 1 / sqrt(n), n the products of a sum: three sums of 18, 36 and 72 of numbers up to 1 reach 216 in
# absolute values, with at most 73 roundings each: 5e-12, for the tiles and for the whole.
ROUNDED = 1e-11


class Hourglass(nn.Module):
    """Same-padding, one pooling, so that it is not shift-invariant; reach 1 + 2·1 + 1 (pooling) + 1 → at most 6."""

    margin, stride, reach = 0, 2, 6

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        fine = functional.relu(self.fine(image))
        coarse = functional.relu(self.coarse(functional.max_pool2d(fine, 2, ceil_mode=True)))
        wide = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return self.last(torch.cat([fine, wide[:, :, : fine.shape[2], : fine.shape[3]]], dim=1))


class Valid(nn.Module):
    """Valid convolutions, pooling and enlarging: reads even sizes from 10, loses 4 on every side."""

    margin, stride, smallest = 4, 2, 10

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 3, 3)

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[2] % 2 == 0
        assert image.shape[3] % 2 == 0
        coarse = self.coarse(functional.max_pool2d(self.fine(image), 2))
        return self.last(coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


def run(network: nn.Module, image: Tensor, rows: list[Span], columns: list[Span], margin: int) -> Tensor:
    def score(row: Span, column: Span) -> Tensor:
        return network(mirrored_window(image, (row.start, row.stop), (column.start, column.stop)))

    with torch.no_grad():
        tiles = list(score_tiles(score, rows, columns, margin))
    whole = torch.full((image.shape[0], 3, *image.shape[2:]), torch.nan, dtype=image.dtype)
    for top, left, scores in tiles:
        place = whole[:, :, top : top + scores.shape[2], left : left + scores.shape[3]]
        assert place.isnan().all()
        place.copy_(scores)
    return whole


@pytest.mark.parametrize("length", [1, 7, 20, 21, 24, 25, 33, 50, 97])
@pytest.mark.parametrize(("tile", "overlap", "stride"), [(24, 6, 2), (21, 3, 1), (24, 0, 8), (25, 5, 4)])
def test_padded_spans_keep_every_pixel_once(length: int, tile: int, overlap: int, stride: int) -> None:
    spans = padded_spans(length, tile=tile, overlap=overlap, stride=stride)
    kept = [pixel for span in spans for pixel in range(span.keep_start, span.keep_stop)]
    assert kept == list(range(length))
    for span in spans:
        assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
        assert span.stop - span.start <= tile
        assert span.start % stride == 0
        assert span.start == 0 or span.keep_start - span.start >= overlap
        assert span.stop == length or span.stop - span.keep_stop >= overlap


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (20, 20), (21, 64), (37, 90)])
@pytest.mark.parametrize("tile", [16, 19, 26])
def test_tiles_of_a_padded_network_equal_the_whole_image(size: tuple[int, int], tile: int) -> None:
    torch.manual_seed(seeded())
    network, image = Hourglass().double(), torch.rand(2, 2, *size, dtype=torch.float64)
    rows, columns = (padded_spans(length, tile=tile, overlap=6, stride=2) for length in size)
    with torch.no_grad():
        torch.testing.assert_close(run(network, image, rows, columns, 0), network(image), rtol=0, atol=ROUNDED)


def test_too_little_overlap_shows() -> None:
    torch.manual_seed(seeded())
    network, image = Hourglass().double(), torch.rand(1, 2, 64, 64, dtype=torch.float64)
    spans = padded_spans(64, tile=16, overlap=0, stride=2)
    with torch.no_grad():
        assert (run(network, image, spans, spans, 0) - network(image)).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 13), (20, 21), (37, 64)])
@pytest.mark.parametrize("tile", [12, 15, 26])
def test_tiles_of_a_valid_network_equal_the_mirrored_whole_image(size: tuple[int, int], tile: int) -> None:
    torch.manual_seed(seeded())
    network, image = Valid().double(), torch.rand(2, 2, *size, dtype=torch.float64)
    rows, columns = (valid_spans(length, tile=tile, margin=4, stride=2, smallest=10) for length in size)
    after = [4 + (-length) % 2 for length in size]
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (4, after[0]), (4, after[1])), mode="reflect")
    with torch.no_grad():
        whole = network(torch.from_numpy(padded))[:, :, : size[0], : size[1]]
    torch.testing.assert_close(run(network, image, rows, columns, 4), whole, rtol=0, atol=ROUNDED)


@pytest.mark.parametrize("length", [1, 100, 388, 389, 512, 1000])
def test_valid_spans_of_the_papers_unet_read_fitting_lengths(length: int) -> None:
    spans = valid_spans(length, tile=572, margin=92, stride=16, smallest=188)
    for span in spans:
        assert (span.stop - span.start - 188) % 16 == 0
        assert span.stop - span.start <= 572
        assert (span.start + 92) % 16 == 0
    assert [p for span in spans for p in range(span.keep_start, span.keep_stop)] == list(range(length))
    assert len(spans) == (1 if length <= 388 else -(-length // 384))


def test_tiles_are_made_one_at_a_time() -> None:
    calls = []

    def score(row: Span, column: Span) -> Tensor:
        calls.append((row, column))
        return torch.zeros(1, 3, row.stop - row.start, column.stop - column.start)

    spans = padded_spans(100, tile=30, overlap=5)
    for done, (top, left, _) in enumerate(score_tiles(score, spans, spans), start=1):
        assert len(calls) == done
        assert (top, left) == (calls[-1][0].keep_start, calls[-1][1].keep_start)


def test_a_tile_too_small_for_its_overlap_is_named() -> None:
    with pytest.raises(InputError, match=r"tile: wanted at least 34 .*received 30"):
        padded_spans(100, tile=30, overlap=16, stride=2)
    with pytest.raises(InputError, match="tile: wanted at least 188"):
        valid_spans(100, tile=100, margin=92, stride=16, smallest=188)
    with pytest.raises(InputError, match="tile: wanted at least 204"):
        valid_spans(100, tile=190, margin=92, stride=16, smallest=188)
