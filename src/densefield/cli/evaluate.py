"""`densefield evaluate`: the four metrics, a per-class table and an HTML report of a trained run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from densefield.checks import check, counted
from densefield.cli.flags import CRF, Device, Pixels, Seen, Tile, Trust, trusted
from densefield.cli.terminal import plain_console, table, tracked

if TYPE_CHECKING:
    from densefield.classes import ClassList
    from densefield.metrics import ConfusionMatrix, SegMeasure, TrimapCurve
    from densefield.runs.evaluate import Evaluation
    from densefield.runs.recipe import Recipe


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Data:
    """What is measured on.

    Args:
        split: train, val or test, as far as the data has them.
        recipe: The recipe whose data is measured on; by default the run's own.
        data: Where that data lies, when not where the recipe says.
    """

    split: str = "val"
    recipe: str | None = None
    data: Path | None = None
    pixels: Pixels = Pixels()

    def chosen(self, run: Path, say: Callable[[str], object]) -> Recipe:
        """The recipe whose data it is, with these flags laid over it."""
        from densefield.recipes import find_recipe
        from densefield.runs.folder import RECIPE

        known = self.recipe is not None or (run / RECIPE).exists()
        check(known, f"{run}: holds no {RECIPE}; name the data to measure on with --recipe, or give a run's folder")
        _ = self.pixels.reading  # a slip of the pen is told in its own words
        bands, range = (None if words is None else f"[{words}]" for words in (self.pixels.bands, self.pixels.range))
        flags = {"--data.root": self.data, "--data.bands": bands, "--data.range": range}
        overrides = [str(word) for flag in flags.items() if flag[1] is not None for word in flag]
        return find_recipe(self.recipe or str(run / RECIPE), overrides, say=say)


def evaluate(
    run: Path,
    *,
    on: Data = Data(),
    out: Path | None = None,
    device: Device = "auto",
    tile: Tile = None,
    seen: Seen = Seen(),
    crf: CRF = CRF(),
    sweep: bool = False,
    trust: Trust = None,
) -> int:
    """Measure RUN on one split of its data: one confusion matrix summed over all images.

    A model with a refinement is measured without and with it. --preset puts a dense CRF behind any model, in place of
    its own refinement.

    Args:
        run: A training run's folder, or a .safetensors file (then say which --recipe's data).
        out: The report; by default report-SPLIT.html in the run's folder, or NAME-SPLIT.html beside the file.
        sweep: For a model with learned embeddings: also the mean IoU for windows of several sizes, applied several
            times.
    """
    from densefield.devices import device_named
    from densefield.refine import DenseCRF
    from densefield.runs.evaluate import evaluate as measure
    from densefield.runs.evaluate import write_report
    from densefield.runs.sweep import sweep_filter, swept_refinement
    from densefield.segmenter import Segmenter

    console = plain_console()
    views = seen.views
    recipe = on.chosen(run, console.print)
    segmenter = Segmenter.load(run, trust=trusted(trust))
    if crf.preset is not None:
        segmenter.refinement = DenseCRF(len(segmenter.classes), crf.kernels, iterations=crf.updates)
    else:
        check(crf == CRF(), "alpha, ..., iterations: are the dense CRF's; wanted a --preset with them")
    check(tile is None or tile >= 1, f"tile: wanted at least one pixel, received {tile}")
    check(out is None or not out.is_dir(), f"{out}: is a folder; wanted an HTML file")
    if sweep:
        swept_refinement(segmenter)  # better said now than after all images
    segmenter.to(device_named(device))
    segmenter.tile, segmenter.views = segmenter.tile if tile is None else tile, views
    pairs = recipe.pairs(on.split)
    what = f"{recipe.data.kind} {on.split}"
    shown = functools.partial(tracked, title=what, total=len(pairs))
    evaluation = measure(segmenter, pairs, progress=shown)
    _show(console, evaluation, segmenter.classes)
    if sweep:
        console.print(sweep_table(sweep_filter(segmenter, pairs, progress=shown)))
    path = out or (run / f"report-{on.split}.html" if run.is_dir() else run.with_name(f"{run.stem}-{on.split}.html"))
    facts = (
        ("images", f"{len(pairs)} ({recipe.data.kind}, {on.split})"),
        ("model", str(run)),
        ("network", f"{sum(p.numel() for p in segmenter.network.parameters()) / 1e6:.2f} M parameters"),
        ("seen at", f"{', '.join(f'{scale:g}' for scale in views.scales)}{' and mirrored' if views.flip else ''}"),
        *(("SEG", line) for line in seg_line(evaluation.counts.cells)),
    )
    write_report(path, evaluation, segmenter, title=f"{run.stem} on {what}", facts=facts, run=run)
    console.print(f"report: {path}")
    return 0


def _show(console: Console, evaluation: Evaluation, classes: ClassList) -> None:
    """Print the table of classes and the figures, those without the refinement first."""
    counts, alone = evaluation.counts, evaluation.alone
    console.print(class_table(counts.confusion, classes, alone.confusion if alone else None))
    measured = {"": counts} if alone is None else {"network alone: ": alone, "refined:       ": counts}
    for title, one in measured.items():
        console.print(f"{title}{four_metrics(one.confusion)}")
    for title, one in measured.items():
        console.print(f"mean IoU near boundaries{', ' if title else ': '}{title}{near_boundaries(one.trimap)}")
    for title, one in measured.items():
        for line in seg_line(one.cells):
            console.print(f"{title}SEG {line}")


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


def seg_line(cells: SegMeasure) -> list[str]:
    """SEG with the number of cells, as papers give it; nothing where the data numbers none."""
    return [f"{cells.mean():.4f} over {counted(cells.cells, 'cell')}"] if cells.cells else []


def class_table(confusion: ConfusionMatrix, classes: ClassList, alone: ConfusionMatrix | None = None) -> Table:
    """IoU, accuracy and frequency of each class; what is in neither target nor prediction has no figure.

    `alone` is what the network does without its refinement, whose IoU then stands first.
    """
    columns = {
        "IoU": confusion.iou_per_class(),
        "accuracy": confusion.accuracy_per_class(),
        "frequency": confusion.frequency_per_class(),
    }
    if alone is not None:
        columns = {"IoU alone": alone.iou_per_class(), "IoU refined": columns.pop("IoU"), **columns}
    laid = table("class", *columns)
    for name, *values in zip(classes.names, *(column.tolist() for column in columns.values()), strict=True):
        laid.add_row(name, *("-" if value != value else f"{100 * value:.1f} %" for value in values))
    return laid


def sweep_table(found: dict[tuple[int, int], float]) -> Table:
    """Mean IoU for each window (a row) and number of applications (a column), in percent."""
    counts = sorted({iterations for _, iterations in found})
    laid = table("window", *(f"{count} x" for count in counts), title="mean IoU by window and iterations")
    for window in sorted({window for window, _ in found}):
        laid.add_row(f"{window} x {window}", *(f"{100 * found[window, count]:.1f} %" for count in counts))
    return laid
