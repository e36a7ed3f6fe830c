"""From a recipe to trained weights: its stages one after another, and what they leave in the run's folder."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from densefield import training
from densefield.built import kind_of
from densefield.checks import InputError, check
from densefield.files import atomic_write
from densefield.metrics import ConfusionMatrix
from densefield.networks.adapted import Adapted
from densefield.networks.python import check_trusted, python
from densefield.protocols import geometry
from densefield.runs.folder import (
    LAST,
    RECALIBRATED,
    RECIPE,
    SEGMENTER,
    begin,
    best_so_far,
    complete,
    data_facts,
    go_on,
    has_learned,
    held,
    keep,
    note_complete,
)
from densefield.runs.machine import Machine, check_machine
from densefield.runs.objective import counted_class_weights
from densefield.runs.recalibrate import check_recalibration, recalibrate
from densefield.runs.recipe import Recipe
from densefield.runs.stage import Run, StageRun
from densefield.runs.start import channels, go_on_from, start
from densefield.runs.trainable import check_trainable
from densefield.segmenter import Segmenter
from densefield.segmenter.description import shares_trunk
from densefield.training.lightning import rank_zero_only
from densefield.weights import Scaling, check_fit


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    trust: str | None = None,
    machine: Machine | None = None,
    console: Console,
) -> float:
    """Run all stages of `recipe` in `folder`; returns the best validation mean IoU.

    The folder gets recipe.yaml, data.json, versions.json, segmenter.safetensors + .json (the best weights), and for
    every stage last.ckpt, metrics.csv and TensorBoard's log. With `resume` a run there goes on, where `recipe` and its
    data ask for nothing else than it was begun with, or for more epochs or steps. Raises `InputError` when the folder
    holds another run, or the network is code (kind `python`) that is not the `trust`ed one, and `training.Interrupted`
    after Ctrl-C or SIGTERM, with everything saved.
    """
    if recipe.network.kind == kind_of(python):
        check_trusted(getattr(recipe.network, "target", None), trust, f"{recipe.name}: network.target")
    machine = machine or Machine()
    processes = check_machine(machine, recipe.precision)
    with training.StopSignals() as signals, contextlib.ExitStack() as stack:
        run = Run(recipe, folder, machine, console, signals, recipe.pairs("train"), recipe.pairs("val"), trust)
        check_trainable(recipe, run.train_pairs, run.val_pairs, processes)
        torch.manual_seed(recipe.seed)
        segmenter = _segmenter(run, fresh=not has_learned(folder))
        # From here on as numbers, whatever a library's next release says.
        run = run._replace(recipe=recipe.changed(mean=segmenter.mean, std=segmenter.std))
        stages = _rehearsed_stages(run, segmenter)
        leader = not getattr(rank_zero_only, "rank", 0)  # of several processes the first looks after the folder
        if leader:
            stack.enter_context(held(folder))
            _enter(run, resume)
        class_weights = counted_class_weights(recipe.loss, run.train_pairs, len(segmenter.classes), console)
        _introduce(run, segmenter)
        if recipe.channels_last:
            _lay_channels_last(segmenter)
        best = float(best_so_far(folder)["mean_iou"])
        for stage in stages:
            stage.assemble(segmenter)
            if not complete(stage.home, stage.stage.length):
                best = _go_through(stage, segmenter, class_weights)
        if leader and recipe.recalibrate and not (folder / RECALIBRATED).exists():
            best = _keep_recalibrated(run, segmenter, best)
    return best


def _rehearsed_stages(run: Run, segmenter: Segmenter) -> list[StageRun]:
    """The stages, each tried as far as that takes no time: better refused than found after hours."""
    recipe, refinement = run.recipe, segmenter.refinement
    if recipe.recalibrate:
        check_recalibration(segmenter, run.train_pairs, recipe.recalibrate)
    stages = [StageRun(run, number, refinement) for number in range(1, len(recipe.stages) + 1)]
    for stage in stages:
        stage.rehearse(segmenter)
    segmenter.refinement = refinement
    return stages


def _enter(run: Run, resume: bool) -> None:
    """Begin a run in its folder, or see that the run there can go on."""
    folder, say = run.folder, run.console.print
    data = data_facts(run.train_pairs, run.val_pairs)
    if (folder / RECIPE).exists() and has_learned(folder):
        check(resume, f"{folder}: holds a run already; continue it with --resume, or choose another --out")
        for line in go_on(folder, run.recipe, data):
            say(f"{folder}: {line}")
        return
    if (folder / RECIPE).exists():
        say(f"{folder}: the run there ended before it had learned anything; it begins anew")
    else:
        left = f"{folder}: holds weights or checkpoints, but no {RECIPE} that says of what"
        check(not has_learned(folder), f"{left}; put it back, or choose another --out")
        if resume:
            say(f"{folder}: there is no run to go on with; it begins")
    begin(folder, run.recipe, data)


def _introduce(run: Run, segmenter: Segmenter) -> None:
    """Say what learns from what, and where."""
    recipe = run.recipe
    parameters = sum(parameter.numel() for parameter in segmenter.parameters())
    behind = f" + {recipe.refinement.kind}" if recipe.refinement else ""
    run.console.print(
        f"{recipe.name}: {recipe.network.kind}{behind}, {parameters / 1e6:.2f} M parameters, "
        f"{len(segmenter.classes)} classes, {len(run.train_pairs)} training and {len(run.val_pairs)} validation images "
        f"-> {run.folder}"
    )


def _lay_channels_last(segmenter: Segmenter) -> None:
    for parameter in segmenter.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _go_through(stage: StageRun, segmenter: Segmenter, class_weights: Tensor | None) -> float:
    """Train a stage to its end, from its own checkpoint or from the best weights before it."""
    folder = stage.run.folder
    (folder / RECALIBRATED).unlink(missing_ok=True)
    if stage.number > 1 and not (stage.home / LAST).exists():
        _take(segmenter, Segmenter.load(folder / SEGMENTER, trust=stage.run.trust), str(folder / SEGMENTER))
    best = stage.fit(segmenter, class_weights, _floor(stage))
    note_complete(stage.home, stage.stage)
    return best


def _segmenter(run: Run, *, fresh: bool) -> Segmenter:
    """Network and refinement of the recipe, for a `fresh` run with the weights that it starts from."""
    recipe, pairs = run.recipe, run.train_pairs
    classes = pairs.classes
    network = recipe.network.build(num_classes=len(classes), in_channels=channels(recipe))
    begun = start(recipe, network, run.trust, run.console.print) if fresh else go_on_from(recipe, run.folder)
    segmenter = Segmenter(
        network,
        classes,
        mean=begun.scaling.mean,
        std=begun.scaling.std,
        refinement=_refinement(recipe, network, len(classes), begun.scaling),
        tile=recipe.tile,
        reading=pairs.reading,
    )
    whole = recipe.refinement is None or geometry(segmenter.network).margin == 0
    check(whole, "refinement: wanted a network that scores every pixel (padding: same)")
    if segmenter.refinement is not None:
        _rehearse(segmenter)
    if isinstance(network, Adapted):  # what others' networks answer is seen when they are asked
        segmenter.network_scores(run.val_pairs[0].image)
    if begun.saved is not None:
        _check_alike(begun.saved, segmenter, str(recipe.weights))
        _take(segmenter, begun.saved, f"weights: {recipe.weights}")
    return segmenter


def _refinement(recipe: Recipe, network: nn.Module, num_classes: int, scaling: Scaling) -> nn.Module | None:
    """What stands behind `network`, fresh; embeddings see color, whatever the network sees."""
    if recipe.refinement is None:
        return None
    mean, std = (values if len(values) == 3 else (*values,) * 3 for values in scaling)
    trunk = getattr(network, "trunk", None)
    built: nn.Module = recipe.refinement.build(num_classes=num_classes, mean=mean, std=std, in_channels=3, trunk=trunk)
    return built


def _rehearse(segmenter: Segmenter) -> None:
    """Refine a small image once: numbers that do not fit are better refused before the network has learned."""
    try:
        segmenter.refine(torch.zeros(len(segmenter.classes), 16, 16), torch.zeros(3, 16, 16))
    except InputError as error:
        raise InputError(f"refinement: {error}") from error


def _check_alike(start: Segmenter, segmenter: Segmenter, source: str) -> None:
    """Raise where weights were learned for other classes, or for images scaled otherwise."""
    theirs, ours = start.classes.names, segmenter.classes.names
    check(
        theirs == ours,
        f"weights: {source} knows {len(theirs)} classes ({_some(theirs)}), the data has {len(ours)} ({_some(ours)}); "
        "wanted the same names in the same order: change the class list, or leave weights out",
    )
    for name, a, b in (("mean", start.mean, segmenter.mean), ("std", start.std, segmenter.std)):
        check(
            a == b, f"weights: {source} was trained with {name} {list(a)}, the recipe has {list(b)}; take over {name}"
        )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _take(segmenter: Segmenter, other: Segmenter, source: str) -> None:
    """The other's weights: the network's, and the refinement's where both have one of a kind."""
    parts = [(segmenter.network, other.network)]
    alike = [(type(one.refinement), shares_trunk(one.refinement, one.network)) for one in (segmenter, other)]
    if segmenter.refinement is not None and other.refinement is not None and alike[0] == alike[1]:
        parts.append((segmenter.refinement, other.refinement))
    for mine, theirs in parts:
        check_fit(mine.state_dict(), theirs.state_dict(), source)
        mine.load_state_dict(theirs.state_dict())


def _floor(stage: StageRun) -> float:
    """The best mean IoU so far of the same model: with a refinement behind it, it is another one."""
    recipe, best = stage.run.recipe, best_so_far(stage.run.folder)
    if recipe.refinement is None or "stage" not in best:
        return float(best["mean_iou"])
    bare = [recipe.stages[int(number) - 1].trains == "network" for number in (stage.number, best["stage"])]
    return float(best["mean_iou"]) if bare[0] == bare[1] else -math.inf


def _keep_recalibrated(run: Run, segmenter: Segmenter, best: float) -> float:
    """Take the best weights' statistics anew, and keep them where validation is the better for it."""
    folder, count = run.folder, run.recipe.recalibrate
    run.console.print(f"taking normalisation statistics over {count} whole training images ...")
    segmenter.load_state_dict(Segmenter.load(folder / SEGMENTER, trust=run.trust).state_dict())
    recalibrate(segmenter, run.train_pairs, count)
    confusion = ConfusionMatrix(len(segmenter.classes))
    for index in range(len(run.val_pairs)):
        image, target, _ = run.val_pairs[index]
        confusion.update(segmenter(image).cpu(), target)
    value = confusion.mean_iou()
    run.console.print(f"val mean IoU {100 * value:.1f} % with them, {100 * best:.1f} % before")
    if value > best:
        keep(folder, segmenter, {**best_so_far(folder), "mean_iou": value, "recalibrated": True})
    with atomic_write(folder / RECALIBRATED) as file:
        file.write(b"done\n")
    return max(value, best)
