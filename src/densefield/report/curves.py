"""Line charts as inline SVG: learning curves from a metrics table, trimap curves."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from densefield.checks import InputError

Series = Mapping[str, Sequence[tuple[float, float]]]  # a line's name → its points
Curves = Mapping[str, Series]  # a chart's title → its lines

COLORS = 6  # --s1 … --s6 of the page
WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 44


def read_curves(path: str | os.PathLike[str], *, x: str = "epoch") -> Curves:
    """The charts of a metrics table (CSV with a head line), such as Lightning's CSVLogger writes.

    A column named "split/figure" or "split_figure" (split: train, val or test) becomes the line of that split in the
    chart of that figure; other columns get a chart each. `x` is the column along the axis. Empty cells are skipped,
    and of several rows at one x the last counts. Raises `InputError` naming the file where it cannot be read.
    """
    path = Path(path)
    charts: dict[str, dict[str, dict[float, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if x not in (rows.fieldnames or ()):
                raise InputError(f"{path}: has no column {x!r}; wanted a metrics table with a head line")
            for row in rows:
                place = _number(row[x])
                for column, cell in row.items():
                    value = _number(cell)
                    if place is None or value is None or column in (x, "epoch", "step"):
                        continue
                    chart, line = _chart_and_line(column)
                    charts.setdefault(chart, {}).setdefault(line, {})[place] = value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: the metrics table cannot be read ({error}); wanted a CSV file") from error
    return {title: {name: sorted(line.items()) for name, line in lines.items()} for title, lines in charts.items()}


def line_chart(
    series: Series,
    *,
    x_label: str,
    y_label: str,
    scale: float = 1.0,
) -> str:
    """Lines over a common grid as one SVG, with a legend and each point's values on hovering.

    `scale` multiplies y (100 shows shares as percent). Points that are not finite are left out; a chart without
    any point says so. Names are plain text and are escaped here.
    """
    lines = {
        name: sorted((float(x), scale * float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y))
        for name, points in series.items()
    }
    everything = [point for points in lines.values() for point in points]
    if not everything:
        return "<p>Nothing was recorded.</p>"
    x_ticks = _ticks(min(x for x, _ in everything), max(x for x, _ in everything), whole=_all_whole(everything))
    y_ticks = _ticks(min(y for _, y in everything), max(y for _, y in everything))
    x_low, x_high = min(x for x, _ in everything), max(max(x for x, _ in everything), x_ticks[-1])
    x_low = min(x_low, x_ticks[0])
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - x_low) / ((x_high - x_low) or 1.0)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - y_low) / ((y_high - y_low) or 1.0)

    parts = [
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
        f'<text class="soft" x="{LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{_plain(tick)}</text>'
        for tick in y_ticks
    ]
    parts.extend(
        f'<text class="soft" x="{across(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
        f"{_plain(tick)}</text>"
        for tick in x_ticks
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="soft" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    for number, (name, points) in enumerate(lines.items()):
        if not points:
            continue
        color = f"var(--s{number % COLORS + 1})"
        dashes = "" if number < COLORS else ' stroke-dasharray="6 4"'
        places = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="2.2"'
            f' stroke-linejoin="round"{dashes}/>'
        )
        # Many points: small dots would hide the line, so only the places to hover remain.
        radius = 3.0 if len(points) <= 40 else 1.2
        parts.extend(
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="{radius}" fill="{color}" stroke="transparent"'
            f' stroke-width="8"><title>{escape(name)}, {escape(x_label)} {_plain(x)}: {y:.4g}</title></circle>'
            for x, y in points
        )
    label = escape(f"{y_label} by {x_label}: {', '.join(lines)}", quote=True)
    legend = "".join(
        f'<span><i style="background:var(--s{number % COLORS + 1})"></i>{escape(name)}</span>'
        for number, (name, points) in enumerate(lines.items())
        if points
    )
    return (
        f'<figure class="chart"><h3>{escape(y_label)}</h3><div class="legend">{legend}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="12.5" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _chart_and_line(column: str) -> tuple[str, str]:
    """The chart and the line a column of a metrics table belongs to."""
    for split in ("train", "val", "test"):
        for mark in ("/", "_"):
            if column.startswith(split + mark):
                figure = column[len(split) + 1 :].removesuffix("_epoch").removesuffix("_step")
                return _title(figure), split
    return _title(column), column


def _title(figure: str) -> str:
    """A column's name as a heading: mean_iou → Mean IoU."""
    words = ["IoU" if word.lower() in ("iou", "miou") else word for word in figure.replace("/", " ").split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _number(cell: str | None) -> float | None:
    """A cell as a finite number, or None."""
    try:
        value = float(cell or "")
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _ticks(low: float, high: float, *, whole: bool = False, wanted: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about `wanted` of them: steps of 1, 2 or 5 · 10ⁿ."""
    spread = (high - low) or abs(high) or 1.0
    raw = spread / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def _all_whole(points: Sequence[tuple[float, float]]) -> bool:
    """Whether every x is a whole number, as epochs and widths are."""
    return all(x == int(x) for x, _ in points)


def _plain(value: float) -> str:
    """A number without needless digits: 0.25, 40, 12000."""
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3g}"
