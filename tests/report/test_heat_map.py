"""The heat-map's cells against shares worked out with NumPy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import ImageFont

from densefield.report.heat_map import heat_map, largest_confusions

COUNTS = np.array([[90, 10, 0], [30, 60, 10], [0, 0, 0]])


def test_each_cell_says_its_share_of_the_row():
    drawn = heat_map(COUNTS, ["sky", "a<b", "none"])
    titles = re.findall(r"<title>([^<]*)</title>", drawn)
    assert titles[0] == "sky found: 90.00 % of its pixels (90)"
    assert titles[1] == "sky taken for a&lt;b: 10.00 % of its pixels (10)"
    assert titles[3] == "a&lt;b taken for sky: 30.00 % of its pixels (30)"
    assert len(titles) == 9
    strengths = [float(found) for found in re.findall(r'fill-opacity="([0-9.]+)"', drawn)]
    assert strengths == pytest.approx(np.sqrt([0.9, 0.1, 0.3, 0.6, 0.1]), abs=1e-3)
    assert drawn.count('fill="var(--good)"') == 2


def test_kept_classes_keep_their_shares():
    drawn = heat_map(COUNTS, ["sky", "road", "none"], np.array([1]))
    assert re.findall(r"<title>([^<]*)</title>", drawn) == ["road found: 60.00 % of its pixels (60)"]


def test_largest_confusions_come_first():
    assert largest_confusions(COUNTS) == [(1, 0, 0.3), (0, 1, 0.1), (1, 2, 0.1)]
    assert largest_confusions(COUNTS, most=1) == [(1, 0, 0.3)]
    assert largest_confusions(np.diag([3, 4])) == []


@pytest.mark.parametrize("names", [["0", "1"], ["background", "noughts"], ["W" * 18, "i"], ["道路標識", "空"]])
def test_no_text_leaves_the_picture(names: list[str]):
    """Widths by a font of Pillow's own; a title is slanted by 45 degrees, about its start."""
    drawn = heat_map(np.array([[8, 2], [3, 7]]), names)
    width, height = (float(size) for size in re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', drawn).groups())
    font = ImageFont.load_default(12.5)
    texts = re.findall(r'<text ?(?:class="soft")? x="([0-9.]+)" y="([0-9.]+)"([^>]*)>([^<]*)</text>', drawn)
    assert len(texts) == 4 + 1 + 4
    for x, y, how, text in texts:
        x, y, long = float(x), float(y), font.getlength(text)
        if "rotate" in how:
            assert y - (long + 9) / 2**0.5 >= 0
            assert x + long / 2**0.5 <= width
        elif "end" in how:
            assert x - long >= 0
        elif "middle" not in how:
            assert x + long <= width
        assert y <= height
