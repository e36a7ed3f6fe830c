"""Runs of older versions: their recipe.yaml holds every key with its default, also those that nothing reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# What an older version read, by kind, of the keys that not all kinds know; and the defaults that it wrote down.
_OPTIMIZERS = {"sgd": ("momentum",), "rmsprop": ("alpha", "eps"), "adam": ("momentum", "eps")}
_OPTIMIZERS["adamw"] = _OPTIMIZERS["adam"]
_SCHEDULES = {"poly": ("power",), "step": ("every", "gamma"), "exponential": ("gamma",), "cosine": ("warmup",)}
_DEFAULTS: dict[str, dict[str, object]] = {
    "optimizer": {"momentum": 0.9, "alpha": 0.9},
    "schedule": {"power": 0.9, "every": 2000, "gamma": 0.995, "warmup": 0.05},
    "loss": {"border_sigma": 5.0},
    "refinement": {
        "width": 64,
        "batch_norm": True,
        "pair_window": 3,
        "pair_rates": [1, 2, 5],
        "pair_labels": "target",
    },
}
_SAYS_NOTHING = (None, False, 0, "none")


def of_older_run(recipe: Path) -> bool:
    """Whether an older version wrote `recipe` into its run's folder: it noted nothing of the data there."""
    beside = recipe.parent
    run = recipe.name == "recipe.yaml" and (beside / "versions.json").exists()
    return run and not (beside / "data.json").exists()


def leave_out_unread(plain: dict[str, Any]) -> list[str]:
    """Take keys that nothing read out of an older run's recipe; gives their dotted names.

    Defaults are taken out too, without a word: they are still the same, and today's recipes do not write them down.
    """
    unread = []
    for where, part in _parts(plain):
        name = where.split(".")[-1]
        for key in sorted(_unread(name, part)):
            if part.pop(key, None) not in _SAYS_NOTHING:
                unread.append(f"{where}.{key}")
        for key, default in _DEFAULTS.get(name, {}).items():
            if part.get(key) == default:
                del part[key]
    return unread


def _parts(plain: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a recipe that have keys which not all kinds read, each by its dotted name."""
    found = [(name, plain.get(name)) for name in ("loss", "refinement")]
    stages = plain.get("stages")
    for number, stage in enumerate(stages if isinstance(stages, list) else []):
        if isinstance(stage, dict):
            parts = ("augmentation", "optimizer", "schedule")
            found += [(f"stages.{number}.{name}", stage.get(name)) for name in parts]
    yield from ((where, part) for where, part in found if isinstance(part, dict))


def _unread(name: str, part: dict[str, Any]) -> Iterable[str]:
    """The keys of a part that an older version did not read, given the others."""
    kind = str(part.get("kind"))
    if name == "optimizer" and kind in _OPTIMIZERS:
        return {"momentum", "alpha", "eps"} - set(_OPTIMIZERS[kind])
    if name == "schedule":
        return _DEFAULTS["schedule"].keys() - set(_SCHEDULES.get(kind, ()))
    if name == "augmentation":
        return ("flip",) if part.get("dihedral") else ()
    if name == "loss":
        weighs = ("class_weights", "border") if part.get("cross_entropy") == 0 else ()
        return (*weighs, "border_sigma") if weighs or not part.get("border") else ()
    return (
        *(("width", "batch_norm") if part.get("trunk") == "network" else ()),
        *(("pair_window", "pair_rates", "pair_labels") if part.get("pair_loss") == 0 else ()),
    )
