"""`densefield train`: a recipe becomes a run folder with trained weights."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densefield.cli.flags import Trust, trusted
from densefield.cli.terminal import plain_console
from densefield.runs.machine import Machine


def train(
    recipe: str,
    *overrides: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path | None = None,
    resume: bool = False,
    trust: Trust = None,
    machine: Annotated[Machine, Parameter(name="*")] = Machine(),
) -> int:
    """Train RECIPE: a built-in name or a YAML file.

    Any field of the recipe is overridden by its dotted flag: --data.root DIR, --stages.0.epochs 5, --precision
    bf16-mixed, --seed 3. Ctrl-C saves and stops; --resume goes on exactly where the run was.

    Args:
        recipe: Name of a built-in recipe, or a YAML file of the same fields.
        overrides: Dotted flags over the recipe's fields.
        out: The run's folder; runs/NAME by default.
        resume: Continue the run in that folder, or begin it where there is none. More epochs, other workers and
            devices, and the same data in another place are fine; any other difference from what it was begun with is
            named and refused.
    """
    from densefield.recipes import find_recipe, recipe_names
    from densefield.runs.files import read_recipe
    from densefield.runs.folder import RECIPE, SEGMENTER, has_learned
    from densefield.runs.train import train as run
    from densefield.training import Interrupted
    from densefield.training.lightning import rank_zero_only

    # Of several processes, each of which runs this command, the first speaks.
    console = plain_console(quiet=bool(getattr(rank_zero_only, "rank", 0)))
    chosen = find_recipe(recipe, overrides, say=console.print)
    folder = out or Path("runs") / chosen.name
    begun = resume and (folder / RECIPE).exists() and has_learned(folder)
    if begun and recipe in recipe_names() and read_recipe(folder / RECIPE).name == chosen.name:
        # Of a built-in recipe a person asks for its name and for the flags; the run knows the rest.
        chosen = find_recipe(str(folder / RECIPE), overrides, say=console.print)
    try:
        best = run(chosen, folder, resume=resume, trust=trusted(trust), machine=machine, console=console)
    except Interrupted as stop:
        if not has_learned(folder):
            console.print(f"stopped by {stop} before anything was learned; the same command begins again")
            return stop.status
        saved = "saved" if stop.saved else "at once, what came after the last checkpoint is lost"
        again = shlex.join(["densefield", "train", str(folder / RECIPE), "--out", str(folder), "--resume"])
        console.print(f"stopped by {stop}; {saved}. Go on with: {again}")
        return stop.status
    console.print(f"best validation mean IoU {100 * best:.1f} %; weights in {folder / SEGMENTER}")
    return 0
