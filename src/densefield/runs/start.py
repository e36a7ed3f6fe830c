"""What a run starts from: first weights, and how pixels are scaled where the recipe leaves it open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from densefield.networks.pretrained import fetch, preparation
from densefield.runs.files import read_recipe
from densefield.runs.folder import RECIPE
from densefield.runs.recipe import Recipe
from densefield.segmenter import Segmenter
from densefield.segmenter.description import holds_segmenter
from densefield.weights import Scaling, import_weights

LIBRARY = "library"  # as weights: what the network's library fetches
_USUAL = 0.5, 0.25


class Start(NamedTuple):
    """How pixels are scaled, and the saved segmenter whose weights are to be taken, where the recipe names one."""

    scaling: Scaling
    saved: Segmenter | None = None


def channels(recipe: Recipe) -> int:
    """How many the network reads: as many as there are means, or three."""
    return len(recipe.mean or recipe.std or (0, 0, 0))


def go_on_from(recipe: Recipe, folder: Path) -> Start:
    """The start of a run that has learned already: what its own recipe says is what a request leaves open."""
    begun = read_recipe(folder / RECIPE) if (folder / RECIPE).exists() else recipe
    known = None if begun.mean is None or begun.std is None else Scaling(begun.mean, begun.std)
    return Start(_scaling(recipe, known))


def start(recipe: Recipe, network: nn.Module, trust: str | None, say: Callable[[str], object]) -> Start:
    """Fill `network` with the recipe's first weights; a saved segmenter is given back, to be held against the data.

    Says what came from where. Raises `InputError` where there are none, and before anything has changed.
    """
    weights, known, saved = recipe.weights, None, None
    beside = None if weights in (None, LIBRARY) else Path(str(weights)).parent
    stated = preparation(network, beside) if recipe.mean is None or recipe.std is None else None
    if stated is not None:
        known = Scaling(stated.mean, stated.std)
        say(f"mean {listed(stated.mean)}, std {listed(stated.std)}, where the recipe says none: {stated.whose}")
    if weights == LIBRARY:
        say(fetch(network))
    elif weights is not None and holds_segmenter(Path(weights)):
        saved = Segmenter.load(weights, trust=trust)
        known = Scaling(saved.mean, saved.std)
    elif weights is not None:
        imported = import_weights(network, weights, partial=True)
        drawn = [*imported.missing, *(match.ours for match in imported.misshapen)]
        left = f"; drawn anew: {', '.join(drawn[:4])}{' ...' if len(drawn) > 4 else ''}" if drawn else ""
        say(f"weights: {weights}: {len(imported.matched)} layers filled{left}")
        known = known or imported.scaling
    return Start(_scaling(recipe, known), saved)


def _scaling(recipe: Recipe, known: Scaling | None) -> Scaling:
    """What the recipe says, and where it says nothing what is `known`, or the usual."""
    usual = Scaling(*((value,) * channels(recipe) for value in _USUAL))
    return Scaling(*(own or other for own, other in zip((recipe.mean, recipe.std), known or usual, strict=True)))


def listed(values: Sequence[float]) -> str:
    """Numbers in a line."""
    return ", ".join(f"{value:.4g}" for value in values)
