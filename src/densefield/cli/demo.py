"""`densefield demo`: what the project is for, in minutes and offline: a network alone, and with its dense CRF."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

from densefield.cli.terminal import plain_console

if TYPE_CHECKING:
    from densefield.metrics import ConfusionMatrix, TrimapCurve


def demo(out: Path | None = None, *, quick: bool = False) -> int:
    """Train a coarse network on embedded scenes, alone and with a dense CRF, and report both: minutes, offline.

    Args:
        out: The folder for the runs and the report, runs/demo by default; a finished demo there is measured again, an
            interrupted one goes on.
        quick: A few steps on a few scenes, to see that everything works: the figures then mean nothing
            (runs/demo-quick).
    """
    console = plain_console()
    console.print("densefield demo: a coarse network learns to find handwriting on photographs, from nothing, offline;")
    console.print("then it learns together with a dense CRF, which makes its masks sharp. Two minutes on two cores.")
    console.print("loading PyTorch ...")
    from densefield.recipes.samples import sample_demo, sample_demo_quick
    from densefield.runs.evaluate import evaluate, write_report
    from densefield.runs.folder import has_learned
    from densefield.runs.machine import Machine
    from densefield.runs.train import train
    from densefield.segmenter import Segmenter
    from densefield.training import Interrupted

    times = [time.monotonic()]
    home = out or Path("runs") / ("demo-quick" if quick else "demo")
    recipe = sample_demo_quick if quick else sample_demo
    first, second = recipe.stages
    alone = recipe.model_copy(update={"refinement": None, "stages": (first,)})
    together = recipe.model_copy(update={"weights": str(home / "network"), "stages": (second,)})
    # The scenes are composed once and kept: on two cores processes that read would only be in the way.
    machine = Machine(workers=0)
    try:
        console.print("\n1 of 3: the network learns alone")
        train(alone, home / "network", resume=has_learned(home / "network"), machine=machine, console=console)
        times.append(time.monotonic())
        console.print("\n2 of 3: the network and a dense CRF behind it learn together")
        train(together, home, resume=has_learned(home), machine=machine, console=console)
    except Interrupted as interrupted:
        flags = f"{' --quick' if quick else ''}{f' --out {out}' if out else ''}"
        console.print(f"stopped by {interrupted}; saved. Go on with: densefield demo{flags}")
        return interrupted.status
    times.append(time.monotonic())
    pairs = recipe.pairs("test")
    console.print(f"\n3 of 3: measuring on {len(pairs)} scenes whose digits and photographs training never saw")
    segmenter = Segmenter.load(home)
    evaluation = evaluate(segmenter, pairs, alone=Segmenter.load(home / "network"))
    assert evaluation.alone is not None
    report = home / "report.html"
    write_report(
        report,
        evaluation,
        segmenter,
        title="A coarse network alone, and with its dense CRF",
        facts=(
            ("scenes", f"{len(pairs)}, of digits and photographs that training never saw"),
            ("network", f"DeepLab-LargeFOV, {sum(p.numel() for p in segmenter.network.parameters()) / 1e6:.2f} M"),
            ("epochs alone", str(first.epochs)),
            ("epochs more, with the CRF", str(second.epochs)),
        ),
        run=home,
    )
    before, after = evaluation.alone, evaluation.counts
    gain = 100 * (after.confusion.mean_iou() - before.confusion.mean_iou())
    console.print(f"network alone:      {_figures(before.confusion, before.trimap)}")
    console.print(f"with its dense CRF: {_figures(after.confusion, after.trimap)}")
    console.print(f"gain:               {gain:+.1f} points of mean IoU")
    seconds = [round(later - one) for one, later in itertools.pairwise([*times, time.monotonic()])]
    console.print("time:               {} s alone, {} s together, {} s to measure".format(*seconds))
    console.print(f"report, with pictures before and after: {report}")
    console.print(f"next: densefield predict {home} YOUR_IMAGE.jpg --out segmented")
    return 0


def _figures(confusion: ConfusionMatrix, trimap: TrimapCurve) -> str:
    nearest, value = trimap.points()[0]
    return f"mean IoU {100 * confusion.mean_iou():.1f} %, within {nearest:.0f} px of boundaries {100 * value:.1f} %"
