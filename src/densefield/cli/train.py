"""`densefield train`: a recipe becomes a run folder with trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densefield.cli.terminal import plain_console


def train(
    recipe: str,
    *overrides: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path | None = None,
    resume: bool = False,
    accelerator: str = "auto",
    devices: str = "auto",
    nodes: int = 1,
    workers: int = 2,
    threads: int | None = None,
    bar: bool = True,
    checkpoint_minutes: float = 10.0,
) -> int:
    """Train RECIPE: a built-in name or a YAML file.

    Any field of the recipe is overridden by its dotted flag: --data.root DIR, --stages.0.epochs 5, --precision
    bf16-mixed, --seed 3. Ctrl-C saves and stops; --resume goes on exactly where the run was.

    Parameters
    ----------
    recipe
        Name of a built-in recipe, or a YAML file of the same fields.
    overrides
        Dotted flags over the recipe's fields.
    out
        The run's folder; runs/NAME by default.
    resume
        Continue the run in that folder with the recipe it was begun with.
    accelerator
        auto, cpu, gpu, mps ... as Lightning names them.
    devices
        How many devices a node, or a list such as 0,1.
    nodes
        How many nodes.
    workers
        Processes that read and augment.
    threads
        CPU threads of this process.
    bar
        A progress bar where the output is a terminal.
    checkpoint_minutes
        At most so long between two checkpoints.
    """
    from pytorch_lightning.utilities import rank_zero_only

    from densefield.recipes.files import find_recipe, read_recipe
    from densefield.recipes.train import RECIPE, SEGMENTER, Machine
    from densefield.recipes.train import train as run
    from densefield.training import Interrupted

    # Of several processes, each of which runs this command, the first speaks.
    console = plain_console(quiet=bool(getattr(rank_zero_only, "rank", 0)))
    chosen = find_recipe(recipe, overrides)
    folder = out or Path("runs") / chosen.name
    if resume and (folder / RECIPE).exists():
        chosen = read_recipe(folder / RECIPE)
    machine = Machine(
        accelerator=accelerator,
        devices=int(devices) if devices.isdigit() else devices,
        nodes=nodes,
        workers=workers,
        threads=threads,
        bar=bar,
        checkpoint_minutes=checkpoint_minutes,
    )
    try:
        best = run(chosen, folder, resume=resume, machine=machine, console=console)
    except Interrupted as interrupted:
        console.print(f"stopped by {interrupted}; saved. Go on with: densefield train {recipe} --out {folder} --resume")
        return interrupted.status
    console.print(f"best validation mean IoU {100 * best:.1f} %; weights in {folder / SEGMENTER}")
    return 0
