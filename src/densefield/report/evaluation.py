"""The report of an evaluation: figures, classes, confusions, curves, the worst and the best images."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from densefield import draw
from densefield.checks import check
from densefield.classes import ClassList
from densefield.files import atomic_write
from densefield.images import LUMINANCE
from densefield.metrics import ConfusionMatrix
from densefield.report.curves import Curves, Series, line_chart
from densefield.report.heat_map import MOST_CLASSES, heat_map, largest_confusions
from densefield.report.page import page, percent, swatch
from densefield.report.pictures import fitted_image, fitted_labels, picture_element

STYLE = """
.figures { display: grid; grid-template-columns: 1.5fr 1fr 1fr 1fr; gap: 18px; margin: 0; }
.figures div { border-left: 3px solid var(--rule); padding-left: 14px; }
.figures div:first-child { border-color: var(--good); }
.figures dt { color: var(--soft); font-size: 0.9rem; line-height: 1.3; }
.figures dd { margin: 2px 0 0; font-size: 1.75rem; font-weight: 600; letter-spacing: -0.02em; line-height: 1.15;
  font-variant-numeric: tabular-nums; }
.figures div:first-child dd { font-size: 2.6rem; }
.figures dd small { font-size: 0.5em; font-weight: 400; color: var(--soft); letter-spacing: 0; margin-left: 0.15em; }
.figures dd.alone { font-size: 0.9rem !important; font-weight: 400; color: var(--soft); letter-spacing: 0;
  line-height: 1.4; margin-top: 4px; }
table.classes { border-collapse: collapse; width: 100%; min-width: 460px; font-variant-numeric: tabular-nums; }
.classes th { text-align: left; font-weight: 500; color: var(--soft); font-size: 0.88rem; padding: 6px 12px 6px 0;
  border-bottom: 1px solid var(--rule); }
.classes td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
.classes tr:last-child td { border-bottom: 0; }
.classes td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 8em; }
.classes td.value { width: calc(81% / var(--columns)); }
.bar { display: flex; align-items: center; gap: 10px; }
.bar b { font-weight: 500; min-width: 2.9em; text-align: right; }
.bar i { flex: 1; height: 9px; border-radius: 5px; background: var(--track); overflow: hidden; }
.bar i u { display: block; height: 100%; border-radius: 5px; }
.confusions { columns: 2 300px; margin: 14px 0 0; padding: 0; list-style: none; font-size: 0.93rem; }
.confusions li { padding: 3px 0; break-inside: avoid; }
.confusions b { font-weight: 600; font-variant-numeric: tabular-nums; }
.matrix .cell { fill: var(--track); } .matrix { margin: 0 auto; max-width: none; }
.matrix g:hover rect { stroke: var(--ink); stroke-width: 1.5; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 18px 26px; }
.chart { margin: 0; max-width: 640px; } .chart svg { width: 100%; }
.chart circle:hover { stroke: currentColor; stroke-opacity: 0.35; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 0.88rem; color: var(--soft); margin-bottom: 6px; }
.legend i { display: inline-block; width: 18px; height: 3px; border-radius: 2px; margin-right: 7px; vertical-align:
  0.25em; }
.example { margin: 16px 0 0; }
.example h3 { display: flex; justify-content: space-between; gap: 12px; overflow-wrap: anywhere; }
.example h3 span { white-space: nowrap; font-weight: 400; color: var(--soft); } .example h3 b { color: var(--ink); }
.pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px; }
.pictures.both { grid-template-columns: repeat(3, 1fr); }
.pictures figure { margin: 0; }
.pictures img { display: block; width: 100%; height: auto; border-radius: 6px; background: var(--track);
  outline: 1px solid var(--rule); outline-offset: -1px; }
.pictures figcaption { font-size: 0.82rem; color: var(--soft); margin-top: 3px; }
.keys { margin-top: 18px; } .keys span { color: var(--ink); }
@media (max-width: 760px) { .pictures { grid-template-columns: 1fr 1fr; } .figures { grid-template-columns: 1fr 1fr; } }
@media (max-width: 400px) { .figures dd { font-size: 1.4rem; } .figures div:first-child dd { font-size: 1.9rem; } }
"""


class Example(NamedTuple):
    """One image of the evaluated set and what was predicted for it."""

    name: str
    image: NDArray[np.uint8]  # (H, W, 3)
    target: NDArray[np.integer]  # (H, W); values that are no class count as ignored
    labels: NDArray[np.integer]  # (H, W)
    iou: float  # the mean IoU of this image by itself
    alone: NDArray[np.integer] | None = None  # (H, W): what the network says without its refinement
    iou_alone: float = math.nan


class Evaluated(NamedTuple):
    """What a report tells."""

    title: str
    confusion: ConfusionMatrix
    classes: ClassList
    examples: Sequence[Example]  # any number: the worst and best by IoU are shown
    curve: Curves | None = None  # {chart: {line: [(epoch, value), ...]}}, see `read_curves`
    trimap: Series | None = None  # {line: [(width in pixels, mean IoU from 0 to 1), ...]}
    facts: Sequence[tuple[str, str]] = ()  # names and values under the title
    alone: ConfusionMatrix | None = None  # of the network without its refinement, to stand beside `confusion`


def write_evaluation(path: str | os.PathLike[str], told: Evaluated, *, per_end: int = 4) -> None:
    """Write one self-contained HTML file: the four figures, classes, confusions, curves, worst and best images.

    The `per_end` worst and best images are shown, each with target, prediction and errors. All text is escaped.
    Raises `InputError` where the parts do not fit together or the file cannot be written.
    """
    confusion, classes = told.confusion, told.classes
    check(
        len(classes) == confusion.num_classes,
        f"classes: received {len(classes)} names, wanted {confusion.num_classes} as the confusion matrix counts",
    )
    ranked = sorted((one for one in told.examples if not math.isnan(one.iou)), key=lambda one: one.iou)
    # Few images: each is shown once, the better half first.
    best = ranked[len(ranked) // 2 :][::-1][:per_end]
    worst = ranked[: len(ranked) // 2][:per_end]
    sections = [_figures(confusion, told.alone), _classes(confusion, classes, told.alone)]
    if best:
        sections.append(_images("Best images" if worst else "Images", best, classes))
    if worst:
        sections.append(_images("Worst images", worst, classes))
    if len(classes) > 1:
        sections.append(_confusions(confusion, classes))
    if told.trimap:
        sections.append(_trimap(told.trimap))
    if told.curve:
        sections.append(_learning(told.curve))
    with atomic_write(path) as file:
        file.write(page(told.title, sections, facts=told.facts, style=STYLE).encode("utf-8"))


def _figures(confusion: ConfusionMatrix, alone: ConfusionMatrix | None) -> str:
    """The four headline figures, the mean IoU largest; under each the network's alone, where there is one."""
    names = ("Mean IoU", "Pixel accuracy", "Mean class accuracy", "Frequency-weighted IoU")
    cells = []
    for name, value, before in zip(names, _four(confusion), _four(alone) if alone else [None] * 4, strict=True):
        below = ""
        if before is not None:
            change = "" if math.isnan(value - before) else f", {100 * (value - before):+.1f}".replace("-", "−")
            below = f'<dd class="alone">network alone {percent(before)}{change}</dd>'
        cells.append(f"<div><dt>{name}</dt><dd>{percent(value)}<small>%</small></dd>{below}</div>")
    return f'<dl class="figures">{"".join(cells)}</dl>'


def _four(confusion: ConfusionMatrix) -> list[float]:
    return [
        confusion.mean_iou(),
        confusion.pixel_accuracy(),
        confusion.mean_accuracy(),
        confusion.frequency_weighted_iou(),
    ]


def _classes(confusion: ConfusionMatrix, classes: ClassList, alone: ConfusionMatrix | None) -> str:
    """A table of every class with bars."""
    columns = [
        ("IoU alone", alone.iou_per_class(), "var(--s2)") if alone else None,
        ("IoU refined" if alone else "IoU", confusion.iou_per_class(), "var(--s1)"),
        ("Accuracy", confusion.accuracy_per_class(), "var(--s3)"),
        ("Share", confusion.frequency_per_class(), "var(--soft)"),
    ]
    shown = [column for column in columns if column is not None]
    rows = [
        f"<tr><td>{swatch(classes.colors[number])}{escape(name)}</td>"
        f"{''.join(_bar(float(values[number]), color) for _, values, color in shown)}</tr>"
        for number, name in enumerate(classes.names)
    ]
    heads = "".join(f"<th>{title}</th>" for title, _, _ in shown)
    words = " Alone: the network without its refinement." if alone else ""
    return (
        "<h2>Classes</h2><p>IoU: pixels found and right, of all that are or were taken for the class. Accuracy: pixels "
        f"found, of all that are the class. Share: of the target’s pixels. All in %; – where a class does not occur."
        f'{words}</p><div class="scroll"><table class="classes" style="--columns:{len(shown)}"><thead><tr>'
        f"<th>Class</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _bar(share: float, color: str) -> str:
    """A table cell with a number and a bar."""
    width = 0.0 if share != share else 100 * share
    return (
        f'<td class="value"><div class="bar"><b>{percent(share)}</b>'
        f'<i><u style="width:{width:.1f}%;background:{color}"></u></i></div></td>'
    )


def _confusions(confusion: ConfusionMatrix, classes: ClassList) -> str:
    """The heat-map (of the most frequent classes where there are many) and the largest confusions."""
    counts = confusion.counts.numpy()
    kept = np.arange(len(classes))
    note = ""
    if len(classes) > MOST_CLASSES:
        kept = np.sort(np.argsort(-counts.sum(1), kind="stable")[:MOST_CLASSES])
        note = f" The grid shows the {MOST_CLASSES} most frequent of {len(classes)} classes."
    grid = heat_map(counts, classes.names, kept)
    pairs = "".join(
        f"<li>{swatch(classes.colors[i])}{escape(classes.names[i])} taken for {swatch(classes.colors[j])}"
        f"{escape(classes.names[j])}: <b>{percent(share)} %</b> of its pixels</li>"
        for i, j, share in largest_confusions(counts)
    )
    listed = f'<h3 style="margin-top:18px">Where most pixels go wrong</h3><ul class="confusions">{pairs}</ul>'
    return (
        f"<h2>Confusion matrix</h2><p>What each class is taken for; hover over a cell for its figures.{note}</p>{grid}"
        f"{listed if pairs else ''}"
    )


def _trimap(trimap: Series) -> str:
    """Accuracy near the boundaries."""
    chart = line_chart(trimap, x_label="distance to a boundary, at most (pixels)", y_label="Mean IoU (%)", scale=100.0)
    return (
        "<h2>Near the boundaries</h2><p>Mean IoU counted only on pixels within a band around the target’s boundaries: "
        f"the narrower the band, the more it shows how sharp the masks are.</p>{chart}"
    )


def _learning(curve: Curves) -> str:
    """A chart for each figure of the metrics table."""
    charts = "".join(
        line_chart(lines, x_label="epoch, or round of steps", y_label=name) for name, lines in curve.items()
    )
    return f'<h2>Learning curves</h2><div class="charts">{charts}</div>'


def _images(heading: str, examples: Sequence[Example], classes: ClassList) -> str:
    """Each example's pictures, before and after its refinement where it has one, and the colors' meaning."""
    seen: set[int] = set()
    rows = []
    for example in examples:
        pictures = _pictures(example, classes, seen)
        figures = "".join(
            f"<figure>{picture_element(pixels, f'{caption} of {example.name}', photograph=photograph)}"
            f"<figcaption>{caption}</figcaption></figure>"
            for caption, pixels, photograph in pictures
        )
        before = "" if example.alone is None else f"IoU alone {percent(example.iou_alone)} %, refined "
        both = "" if example.alone is None else " both"
        rows.append(
            f'<div class="example"><h3>{escape(example.name)}<span>{before or "IoU "}<b>{percent(example.iou)} %</b>'
            f'</span></h3><div class="pictures{both}">{figures}</div></div>'
        )
    keys = "".join(
        f"<span>{swatch(classes.colors[number])}{escape(classes.names[number])}</span>"
        for number in sorted(seen)
        if number < len(classes)
    )
    errors = f"<span>{swatch(draw.WRONG)}wrong</span><span>{swatch(draw.UNCOUNTED)}not counted</span>"
    return f'<h2>{heading}</h2>{"".join(rows)}<div class="legend keys">{keys}{errors}</div>'


def _pictures(example: Example, classes: ClassList, seen: set[int]) -> list[tuple[str, draw.Picture, bool]]:
    """(caption, pixels, whether a photograph) of one example; the labels that occur are added to `seen`."""
    maps = [np.asarray(example.target), np.asarray(example.labels)]
    if example.alone is not None:
        maps.append(np.asarray(example.alone))
    check(
        all(values.shape == example.image.shape[:2] for values in maps),
        f"examples: {example.name} has an image of {example.image.shape[:2]}, a target of {maps[0].shape} and "
        f"labels of {', '.join(str(values.shape) for values in maps[1:])}; wanted one size",
    )
    # Whatever is no class counts as ignored, so that any data set's own value for it will do.
    maps[0] = np.where((maps[0] >= 0) & (maps[0] < len(classes)), maps[0], 255)
    target, *given = (fitted_labels(values.astype(np.uint8)) for values in maps)
    image = fitted_image(example.image)
    # Over a gray image a class has the color of its key, whatever the object's own color is.
    gray = np.repeat(np.rint(image @ LUMINANCE).astype(np.uint8)[..., None], 3, 2)
    over = [draw.overlay(gray, values, classes, alpha=0.7) for values in (target, *given)]
    wrong = [draw.error_map(values, target) for values in given]
    for values in (target, *given):
        seen.update(np.unique(values).tolist())
    if len(given) == 1:
        return [
            ("Image", image, True),
            ("Target", over[0], True),
            ("Prediction", over[1], True),
            ("Errors", wrong[0], False),
        ]
    return [
        ("Image", image, True),
        ("Network alone", over[2], True),
        ("Refined", over[1], True),
        ("Target", over[0], True),
        ("Errors of the network alone", wrong[1], False),
        ("Errors, refined", wrong[0], False),
    ]
