"""`densefield evaluate`: the four metrics, a per-class table and an HTML report of a trained run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    from densefield.classes import ClassList
    from densefield.metrics import ConfusionMatrix


def evaluate(
    run: Path,
    *,
    split: str = "val",
    recipe: str | None = None,
    data: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    tile: int | None = None,
) -> int:
    """Measure RUN on one split of its data: one confusion matrix summed over all images.

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
    out
        The report; by default report-SPLIT.html in the run's folder, or NAME-SPLIT.html beside the file.
    device
        cpu, cuda, cuda:1, mps or auto.
    tile
        Segment in tiles of so many pixels a side.
    """
    from densefield.checks import InputError
    from densefield.devices import device_named
    from densefield.recipes.evaluate import evaluate as measure
    from densefield.recipes.evaluate import write_report
    from densefield.recipes.files import find_recipe
    from densefield.recipes.train import RECIPE
    from densefield.segmenter import Segmenter

    console = Console(highlight=False, soft_wrap=True)
    if recipe is None and not (run / RECIPE).exists():
        raise InputError(f"{run}: holds no {RECIPE}; name the data to measure on with --recipe, or give a run's folder")
    overrides = ["--data.root", str(data)] if data is not None else []
    chosen = find_recipe(recipe, overrides) if recipe is not None else find_recipe(str(run / RECIPE), overrides)
    segmenter = Segmenter.load(run).to(device_named(device))
    if tile is not None:
        segmenter.tile = tile
    pairs = chosen.data.build(split)

    def shown(indices: Iterator[int]) -> Iterator[int]:
        yield from track(
            indices, f"{chosen.data.kind} {split}", total=len(pairs), console=Console(stderr=True), transient=True
        )

    evaluation = measure(segmenter, pairs, progress=shown)
    console.print(class_table(evaluation.confusion, segmenter.classes))
    console.print(four_metrics(evaluation.confusion))
    trimap = "  ".join(f"{width:.0f} px {100 * value:.1f} %" for width, value in evaluation.trimap.points())
    console.print(f"mean IoU near boundaries: {trimap}")
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


def class_table(confusion: ConfusionMatrix, classes: ClassList) -> Table:
    """IoU, accuracy and frequency of each class; what is in neither target nor prediction has no figure."""
    table = Table("class", box=None)
    for title in ("IoU", "accuracy", "frequency"):
        table.add_column(title, justify="right")
    columns = (confusion.iou_per_class(), confusion.accuracy_per_class(), confusion.frequency_per_class())
    for name, *values in zip(classes.names, *(column.tolist() for column in columns), strict=True):
        table.add_row(name, *("-" if value != value else f"{100 * value:.1f} %" for value in values))
    return table
