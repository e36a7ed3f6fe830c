"""Charts read back from their SVG; tables as Lightning's CSVLogger writes them."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import pytest

from densefield.checks import InputError
from densefield.report.curves import _ticks, line_chart, read_curves


def drawn_points(chart):
    """Each line's points in the SVG's coordinates."""
    return [
        [tuple(float(part) for part in place.split(",")) for place in line.get("points").split()]
        for line in ElementTree.fromstring(chart).iter("polyline")
    ]


def test_points_lie_on_a_linear_scale_inside_the_frame():
    values = [(0, 0.1), (3, 0.35), (10, 0.9), (7, 0.2)]
    chart = line_chart({"val": values}, x_label="epoch", y_label="Mean IoU", scale=100.0)
    (places,) = drawn_points(chart)
    values.sort()
    for (x, y), (x_drawn, y_drawn) in zip(values, places, strict=True):
        across = (x - values[0][0]) / (values[-1][0] - values[0][0])
        assert x_drawn == pytest.approx(places[0][0] + across * (places[-1][0] - places[0][0]), abs=0.11)
        # y grows upwards: the slope to the first point is the same everywhere.
        slope = (places[-1][1] - places[0][1]) / (values[-1][1] - values[0][1])
        assert y_drawn == pytest.approx(places[0][1] + slope * (y - values[0][1]), abs=0.11)
        assert slope < 0
        assert 0 < x_drawn < 560
        assert 0 < y_drawn < 300
    assert "val, epoch 3: 35" in chart


def test_several_lines_share_one_scale_and_have_own_colors():
    chart = line_chart({"a": [(0, 0), (1, 1)], "b": [(0, 1), (1, 0)]}, x_label="x", y_label="y")
    first, second = drawn_points(chart)
    assert first[0][1] == second[1][1]
    assert len(set(re.findall(r'<polyline[^>]*stroke="([^"]+)"', chart))) == 2


def test_names_are_escaped_and_nan_left_out():
    chart = line_chart({'<b>&"': [(0, math.nan), (1, 2.0)]}, x_label="<x>", y_label="<y>")
    assert "<b>" not in chart
    assert len(drawn_points(chart)[0]) == 1
    assert line_chart({"a": [(0, math.nan)]}, x_label="x", y_label="y") == "<p>Nothing was recorded.</p>"


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.31, 0.42), (-3, 17), (5, 5), (0, 0), (1e-7, 3e-6), (0, 123456), (-1e9, -5e8)]
)
def test_ticks_are_round_and_enclose(low, high):
    ticks = _ticks(low, high)
    steps = {round((b - a) / (ticks[1] - ticks[0]), 6) for a, b in itertools.pairwise(ticks)}
    assert steps == {1.0}
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 9
    digits = f"{ticks[1] - ticks[0]:.0e}"[0]
    assert digits in "125"


def test_read_curves_of_a_metrics_table(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(
        "epoch,lr,step,train/loss_epoch,val/mean_iou,val_loss\n0,0.1,9,,0.25,1.5\n0,,9,2.0,,\n1,,19,,nan,1.25\n1,,19,1.0,,\n"
    )
    assert read_curves(path) == {
        "Lr": {"lr": [(0, 0.1)]},
        "Loss": {"val": [(0, 1.5), (1, 1.25)], "train": [(0, 2.0), (1, 1.0)]},
        "Mean IoU": {"val": [(0, 0.25)]},
    }
    with pytest.raises(InputError, match=r"metrics.csv: has no column 'batch'"):
        read_curves(path, x="batch")
    with pytest.raises(InputError, match="cannot be read"):
        read_curves(tmp_path / "missing.csv")
