"""From a trained segmenter to figures and a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from densefield.checks import check
from densefield.metrics import ConfusionMatrix, SegMeasure, TrimapCurve, class_distance, void_distance
from densefield.protocols import Pairs, instances_of
from densefield.report import Evaluated, Example, read_curves, write_evaluation
from densefield.segmenter import Segmenter

TRIMAP_WIDTHS = (1, 2, 3, 5, 10, 20)  # pixels
_KEPT = 4  # best and worst images of the report
_IGNORED = 255


class Counts(NamedTuple):
    """What was counted over a whole set: one confusion matrix, the trimap curve, and SEG where objects are numbered."""

    confusion: ConfusionMatrix
    trimap: TrimapCurve
    cells: SegMeasure


class Evaluation(NamedTuple):
    """The whole set's counts, those without the refinement where there is one, and the images that the report shows."""

    counts: Counts
    alone: Counts | None
    examples: list[Example]


def evaluate(
    segmenter: Segmenter,
    pairs: Pairs,
    *,
    alone: Segmenter | None = None,
    void_band: bool = False,
    progress: Callable[[Iterator[int]], Iterator[int]] = iter,
) -> Evaluation:
    """Segment every image of `pairs` and count, with and without the refinement; the best and worst images are kept.

    `alone` is a segmenter to stand for the network without its refinement, in place of the segmenter's own network.
    `void_band` measures the trimap from the ignored band (PASCAL VOC) instead of from the classes' boundaries.
    Where the data numbers the objects of class 1, SEG is that of the label map's 4-connected parts.
    Raises `InputError` for a split without images or labels, and where the data's classes are not the segmenter's.
    """
    check(len(pairs) > 0, "data: this split holds no images")
    names = segmenter.classes.names
    theirs = pairs.classes.names
    check(
        tuple(theirs) == tuple(names),
        f"classes: the segmenter knows {len(names)} ({', '.join(names[:4])} ...), the data {len(theirs)} "
        f"({', '.join(theirs[:4])} ...); evaluate it on the data it was trained for",
    )

    def fresh() -> Counts:
        distance = void_distance if void_band else class_distance
        trimap = TrimapCurve(len(names), TRIMAP_WIDTHS, distance=distance)
        return Counts(ConfusionMatrix(len(names)), trimap, SegMeasure())

    counts, before = fresh(), fresh() if alone is not None or segmenter.refinement is not None else None
    examples: list[Example] = []
    for index in progress(iter(range(len(pairs)))):
        image, target, name = pairs[index]
        objects = instances_of(pairs, index)
        labels, labels_alone = _labels(segmenter, alone, image)
        _count(counts, labels, target, objects)
        iou_alone = math.nan
        if before is not None and labels_alone is not None:
            _count(before, labels_alone, target, objects)
            iou_alone = _iou(labels_alone, target, len(names))
        iou = _iou(labels, target, len(names))
        examples = _kept([*examples, Example(name, image, target, labels, iou, labels_alone, iou_alone)])
    labelled = bool(counts.confusion.counts.any())
    check(labelled, f"data: no pixel of these {len(pairs)} images is labelled, so that there is nothing to measure")
    return Evaluation(counts, before, examples)


def _labels(
    segmenter: Segmenter, alone: Segmenter | None, image: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """The labels (H, W), and those without the refinement where there is one."""
    if alone is not None:
        return segmenter(image).cpu().numpy(), alone(image).cpu().numpy()
    if segmenter.refinement is None:
        return segmenter(image).cpu().numpy(), None
    scores = segmenter.network_scores(image)
    return segmenter.refine(scores, image).argmax(dim=0).cpu().numpy(), scores.argmax(dim=0).cpu().numpy()


def _count(
    counts: Counts, labels: NDArray[np.int64], target: NDArray[np.uint8], objects: NDArray[np.uint16] | None
) -> None:
    counts.confusion.update(labels, target)
    counts.trimap.update(labels, target)
    if objects is not None:
        counts.cells.update(labels == 1, np.where(objects == _IGNORED, 0, objects))


def _kept(examples: list[Example]) -> list[Example]:
    ranked = sorted((e for e in examples if not np.isnan(e.iou)), key=lambda e: e.iou)
    return ranked if len(ranked) <= 2 * _KEPT else [*ranked[:_KEPT], *ranked[-_KEPT:]]


def _iou(labels: NDArray[np.int64], target: NDArray[np.uint8], num_classes: int) -> float:
    one = ConfusionMatrix(num_classes)
    one.update(labels, target)
    return one.mean_iou()


def write_report(
    path: Path,
    evaluation: Evaluation,
    segmenter: Segmenter,
    *,
    title: str,
    facts: tuple[tuple[str, str], ...],
    run: Path,
) -> None:
    """Write the HTML report; the learning curves come from the run's metrics where it keeps any."""
    curve = {}
    stages = sorted(run.glob("stage-*/metrics.csv")) if run.is_dir() else []
    for number, table in enumerate(stages, start=1):
        suffix = f", stage {number}" if len(stages) > 1 else ""
        charts = read_curves(table).items()
        # A lone dot is no curve: the figure stands in the run's own lines.
        curve.update({f"{chart}{suffix}": lines for chart, lines in charts if max(map(len, lines.values())) > 1})
    lines = {"network" if evaluation.alone is None else "refined": evaluation.counts.trimap.points()}
    if evaluation.alone is not None:
        lines["network alone"] = evaluation.alone.trimap.points()
    told = Evaluated(
        title=title,
        confusion=evaluation.counts.confusion,
        classes=segmenter.classes,
        examples=evaluation.examples,
        curve=curve or None,
        trimap=lines,
        facts=facts,
        alone=evaluation.alone.confusion if evaluation.alone else None,
    )
    write_evaluation(path, told)
