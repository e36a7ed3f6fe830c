"""`densefield evaluate`: the four metrics, a per-class table and an HTML report of a trained run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import track
from rich.table import Table

from densefield.cli.crf_kernels import NONE, Numbers, Preset, chosen_kernels
from densefield.cli.terminal import plain_console

if TYPE_CHECKING:
    from torch import Tensor

    from densefield.classes import ClassList
    from densefield.metrics import ConfusionMatrix, TrimapCurve


def evaluate(
    run: Path,
    *,
    split: str = "val",
    recipe: str | None = None,
    data: Path | None = None,
    bands: str | None = None,
    range: str | None = None,
    out: Path | None = None,
    device: str = "auto",
    tile: int | None = None,
    preset: Preset | None = None,
    numbers: Numbers = NONE,
    iterations: int | None = None,
    sweep: bool = False,
) -> int:
    """Measure RUN on one split of its data: one confusion matrix summed over all images.

    A model with a refinement is measured without and with it. --preset puts a dense CRF behind any model.

    Parameters
    ----------
    run
        A training run's folder, or a .safetensors file (then say which --recipe's data).
    split
        train, val or test, as far as the data has them.
    recipe
        The recipe whose data is measured on; by default the run's own.
    data
        Where that data lies, when not where the recipe says.
    bands
        Which bands of a folder's images are red, green and blue, such as 4,3,2; by default as the recipe says.
    range
        Which values of a folder's images are black and white, such as 0,4095; by default as the recipe says.
    out
        The report; by default report-SPLIT.html in the run's folder, or NAME-SPLIT.html beside the file.
    device
        cpu, cuda, cuda:1, mps or auto.
    tile
        Segment in tiles of so many pixels a side.
    preset
        Refine by a dense CRF of published settings, in place of the model's own refinement.
    iterations
        How many updates of the CRF; 10 by default.
    sweep
        For a model with learned embeddings: also the mean IoU for windows of several sizes, applied several times.
    """
    from densefield.checks import InputError, check
    from densefield.devices import device_named
    from densefield.images.bands import Reading
    from densefield.recipes import find_recipe
    from densefield.refine import DenseCRF
    from densefield.runs.evaluate import evaluate as measure
    from densefield.runs.evaluate import write_report
    from densefield.runs.folder import RECIPE
    from densefield.runs.sweep import sweep_filter, swept_refinement
    from densefield.segmenter import Segmenter

    console = plain_console()
    if recipe is None and not (run / RECIPE).exists():
        raise InputError(f"{run}: holds no {RECIPE}; name the data to measure on with --recipe, or give a run's folder")
    overrides = ["--data.root", str(data)] if data is not None else []
    Reading.of_words(bands, range)  # a slip of the pen is told in its own words
    overrides += [] if bands is None else ["--data.bands", f"[{bands}]"]
    overrides += [] if range is None else ["--data.range", f"[{range}]"]
    chosen = find_recipe(str(run / RECIPE) if recipe is None else recipe, overrides, say=console.print)
    segmenter = Segmenter.load(run)
    if preset is not None:
        kernels = chosen_kernels(preset, numbers)
        segmenter.refinement = DenseCRF(
            len(segmenter.classes), kernels, iterations=10 if iterations is None else iterations
        )
    else:
        right = numbers == NONE and iterations is None
        check(right, "alpha, ..., iterations: are the dense CRF's; wanted a --preset with them")
    check(tile is None or tile >= 1, f"tile: wanted at least one pixel, received {tile}")
    check(out is None or not out.is_dir(), f"{out}: is a folder; wanted an HTML file")
    if sweep:
        swept_refinement(segmenter)  # better said now than after all images
    segmenter.to(device_named(device))
    if tile is not None:
        segmenter.tile = tile
    pairs = chosen.pairs(split)

    def shown(indices: Iterator[int]) -> Iterator[int]:
        yield from track(
            indices, f"{chosen.data.kind} {split}", total=len(pairs), console=plain_console(stderr=True), transient=True
        )

    evaluation = measure(segmenter, pairs, progress=shown)
    counts, alone = evaluation.counts, evaluation.alone
    console.print(class_table(counts.confusion, segmenter.classes, alone.confusion if alone else None))
    if alone is not None:
        console.print(f"network alone: {four_metrics(alone.confusion)}")
        console.print(f"refined:       {four_metrics(counts.confusion)}")
        console.print(f"mean IoU near boundaries, network alone: {near_boundaries(alone.trimap)}")
        console.print(f"mean IoU near boundaries, refined:       {near_boundaries(counts.trimap)}")
    else:
        console.print(four_metrics(counts.confusion))
        console.print(f"mean IoU near boundaries: {near_boundaries(counts.trimap)}")
    if sweep:
        console.print(sweep_table(sweep_filter(segmenter, pairs, progress=shown)))
    path = out or (run / f"report-{split}.html" if run.is_dir() else run.with_name(f"{run.stem}-{split}.html"))
    facts = (
        ("images", f"{len(pairs)} ({chosen.data.kind}, {split})"),
        ("model", str(run)),
        ("network", f"{sum(p.numel() for p in segmenter.network.parameters()) / 1e6:.2f} M parameters"),
    )
    write_report(path, evaluation, segmenter, title=f"{run.stem} on {chosen.data.kind} {split}", facts=facts, run=run)
    console.print(f"report: {path}")
    return 0


def four_metrics(confusion: ConfusionMatrix) -> str:
    """The line of four metrics, in percent."""
    return (
        f"mean IoU {100 * confusion.mean_iou():.1f} %  pixel accuracy {100 * confusion.pixel_accuracy():.1f} %  "
        f"mean accuracy {100 * confusion.mean_accuracy():.1f} %  "
        f"frequency-weighted IoU {100 * confusion.frequency_weighted_iou():.1f} %"
    )


def near_boundaries(trimap: TrimapCurve) -> str:
    """The trimap curve's points, in percent."""
    return "  ".join(f"{width:.0f} px {100 * value:.1f} %" for width, value in trimap.points())


def class_table(confusion: ConfusionMatrix, classes: ClassList, alone: ConfusionMatrix | None = None) -> Table:
    """IoU, accuracy and frequency of each class; what is in neither target nor prediction has no figure.

    `alone` is what the network does without its refinement, whose IoU then stands first.
    """
    table = Table("class", box=None)
    titles: tuple[str, ...] = ("IoU", "accuracy", "frequency")
    columns: tuple[Tensor, ...] = (
        confusion.iou_per_class(),
        confusion.accuracy_per_class(),
        confusion.frequency_per_class(),
    )
    if alone is not None:
        titles, columns = ("IoU alone", "IoU refined", *titles[1:]), (alone.iou_per_class(), *columns)
    for title in titles:
        table.add_column(title, justify="right")
    for name, *values in zip(classes.names, *(column.tolist() for column in columns), strict=True):
        table.add_row(name, *("-" if value != value else f"{100 * value:.1f} %" for value in values))
    return table


def sweep_table(found: dict[tuple[int, int], float]) -> Table:
    """Mean IoU for each window (a row) and number of applications (a column), in percent."""
    counts = sorted({iterations for _, iterations in found})
    table = Table("window", *(f"{count} x" for count in counts), box=None, title="mean IoU by window and iterations")
    for window in sorted({window for window, _ in found}):
        table.add_row(f"{window} x {window}", *(f"{100 * found[window, count]:.1f} %" for count in counts))
    return table
