"""A run's folder: who may write there, what an earlier run left, and whether a request goes on with that run."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.files import atomic_write
from densefield.networks.pretrained import LIBRARIES
from densefield.protocols import Pairs
from densefield.runs.files import read_recipe, write_recipe
from densefield.runs.older import of_older_run
from densefield.runs.recipe import Recipe, Stage

if TYPE_CHECKING:
    from densefield.segmenter import Segmenter

SEGMENTER = "segmenter.safetensors"  # the best weights so far, ready for `predict`
RECIPE = "recipe.yaml"
DATA = "data.json"
VERSIONS = "versions.json"
BEST = "best.json"
RECALIBRATED = "recalibrated"
LAST = "last.ckpt"
METRICS = "metrics.csv"
DONE = "done"
_LOCK = ".lock"
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # what POSIX and Windows say of a lock that another holds
_WRITTEN = (SEGMENTER, "segmenter.json", RECIPE, DATA, VERSIONS, BEST, RECALIBRATED, LAST, METRICS, DONE)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder`; the lock dies with this process. Sweeps what a killed run left half written.

    Raises `InputError` where another process holds the folder, and where it cannot be one.
    """
    path = folder / _LOCK
    while True:
        file = _opened(path)
        if not _locked(file):
            file.seek(0)
            holder = file.read(32).decode(errors="replace").strip()
            file.close()
            raise InputError(
                f"{folder}: process {holder or '(unknown)'} trains there; wait for its end, or choose another --out"
            )
        # Who held it before may have removed the file between our opening and our locking it.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()
    try:
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        for place in (folder, *folder.glob("stage-*")):
            for name in _WRITTEN:
                for left in place.glob(f".{name}.*.part"):
                    left.unlink(missing_ok=True)
        yield
    finally:
        if sys.platform == "win32":
            file.close()  # an open file cannot be removed there
        path.unlink(missing_ok=True)
        file.close()


def _opened(lock: Path) -> BinaryIO:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock.open("a+b")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # another place is no better
        reason = "is a file" if error.errno == errno.EEXIST else f"cannot be a run's folder ({error.strerror})"
        raise InputError(f"{lock.parent}: {reason}; choose another --out") from error


def _locked(file: BinaryIO) -> bool:
    """Whether this process now holds `file`. POSIX's record locks, unlike flock's, do not live on in forked workers."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1 << 20)  # a byte that is not there, so that others can read the number
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN  # a file system without locks: better train than refuse
    return True


def has_learned(folder: Path) -> bool:
    """Whether there is anything to go on with: a checkpoint, or a stage's result."""
    return (folder / SEGMENTER).exists() or any(folder.glob(f"stage-*/{LAST}"))


def begin(folder: Path, recipe: Recipe, data: dict[str, Any]) -> None:
    """Note what is trained on what, and with what."""
    write_recipe(recipe, folder / RECIPE)
    write_json(folder / DATA, data)
    write_json(folder / VERSIONS, versions())


def go_on(folder: Path, request: Recipe, data: dict[str, Any]) -> list[str]:
    """Hold `request` and `data` against the run in `folder`; the differences that it can go on with, each as a line.

    These are more epochs or steps in a stage behind which none has begun, and the same data in another place. They
    become the run's own. Of an older version's run, which noted nothing of its data, the classes are compared. Raises
    `InputError` naming every other difference.
    """
    older = of_older_run(folder / RECIPE)
    noted = {**data, **_older_classes(folder)} if older else read_json(folder / DATA)
    begun = read_recipe(folder / RECIPE)
    before = _flat(begun.model_dump(mode="json"))
    after = _flat(request.model_dump(mode="json"))
    taken: list[str] = []
    refused = _other_data(noted, data)
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        line = f"{key} was {_shown(old)}, now {_shown(new)}"
        moved = _moves_rounds(key, begun, request)
        line += ", so that validations would fall on other steps" if moved else ""
        (taken if _can_change(folder, key, old, new) and not moved else refused).append(line)
    advice = (
        f"begin it in another --out, or go on as it was: densefield train {folder / RECIPE} --out {folder} --resume"
    )
    check(not refused, f"{folder}: cannot go on with another request: {'; '.join(refused)}; {advice}")
    if older:
        for number, stage in enumerate(begun.stages, start=1):
            if (folder / f"stage-{number}" / DONE).exists():
                note_complete(folder / f"stage-{number}", stage)
    if taken or older:
        write_recipe(request, folder / RECIPE)
    if older:  # the last: with it the run is one of today's
        write_json(folder / DATA, data)
        taken.append("begun by an older version, which noted no images: taken to be those of today")
    return taken


def _older_classes(folder: Path) -> dict[str, Any]:
    """The classes of an older version's run, as its segmenter's description has them."""
    path = folder / "segmenter.json"
    if not path.exists():  # it had never validated
        return {}
    described = read_json(path).get("segmenter")
    return {"classes": described.get("classes") if isinstance(described, dict) else None}


def _can_change(folder: Path, key: str, old: Any, new: Any) -> bool:
    first, *rest = key.split(".")
    if first == "stages" and rest[1:] in (["epochs"], ["steps"]) and old is not None and new is not None:
        return new > old and not (folder / f"stage-{int(rest[0]) + 2}" / LAST).exists()
    return key == "data.root" and None not in (old, new)  # what lies there is compared on its own


def _moves_rounds(key: str, begun: Recipe, request: Recipe) -> bool:
    """Whether another number of steps is another number from one validation to the next, where none is written."""
    first, number, *rest = (*key.split("."), "", "")
    if first != "stages" or rest[0] != "steps" or int(number) >= min(len(begun.stages), len(request.stages)):
        return False
    before, after = (recipe.stages[int(number)] for recipe in (begun, request))
    return None not in (before.steps, after.steps) and before.round_steps != after.round_steps


def data_facts(train_pairs: Pairs, val_pairs: Pairs) -> dict[str, Any]:
    """What a run notes of its data: the class list, and of each split how many images of which names."""

    def split(pairs: Pairs) -> dict[str, Any]:
        names = "\n".join(pairs.names)
        return {"images": len(pairs), "names": hashlib.sha256(names.encode()).hexdigest()[:16]}

    return {"classes": train_pairs.classes.to_dict(), "training": split(train_pairs), "validation": split(val_pairs)}


def _other_data(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The differences of two `data_facts`, each as a line."""
    if before == after:
        return []
    found = []
    try:
        names = [[entry["name"] for entry in facts["classes"]["classes"]] for facts in (before, after)]
        if len(names[0]) != len(names[1]):
            found.append(f"classes were {len(names[0])} ({', '.join(names[0])}), now {len(names[1])}")
        elif names[0] != names[1]:
            pairs = [
                f"{i} was {old!r}, now {new!r}" for i, (old, new) in enumerate(zip(*names, strict=True)) if old != new
            ]
            found.append(f"class {', '.join(pairs)}")
        elif ClassList.from_dict(before["classes"]) != ClassList.from_dict(after["classes"]):
            found.append("the class list's colors or label values are others")
        for split in ("training", "validation"):
            old, new = before[split], after[split]
            if old["images"] != new["images"]:
                found.append(f"{split} images were {old['images']}, now {new['images']}")
            elif old["names"] != new["names"]:
                found.append(f"the {split} images are others")
    except (KeyError, TypeError) as error:
        raise InputError(f"{DATA} of the run: unreadable ({error!r}); begin in another --out") from error
    return found


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """A nested recipe as dotted keys."""
    if isinstance(value, dict | list) and value:
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for name, below in entries for k, v in _flat(below, f"{key}.{name}" if key else str(name)).items()}
    return {key: value}


def _shown(value: Any) -> str:
    return "not there" if value is None else str(value)


def versions() -> dict[str, str]:
    """What a run was made with."""
    names = ("densefield", "torch", "pytorch-lightning", "numpy", "opencv-python-headless", "pillow")
    found: dict[str, str] = {"python": platform.python_version(), "platform": platform.platform()}
    installed = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    installed = {name.replace("_", "-"): version for name, version in installed.items()}
    libraries = {name: installed[name] for name, _ in LIBRARIES.values() if name in installed}
    return {**found, **{name: installed.get(name, "not installed") for name in names}, **libraries}


def write_json(path: Path, value: object) -> None:
    """Write `value`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2).encode() + b"\n")


def read_json(path: Path, remedy: str = "begin in another --out") -> dict[str, Any]:
    """The object in `path`; raises `InputError` naming a file that cannot be read."""
    try:
        value = json.loads(path.read_bytes())
        check(isinstance(value, dict), "wanted an object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {remedy}") from error
    return dict(value)


def keep(folder: Path, segmenter: Segmenter, figures: dict[str, Any]) -> None:
    """Keep the best weights so far, and what is known of them: `mean_iou`, stage and epoch."""
    segmenter.save(folder / SEGMENTER)
    write_json(folder / BEST, figures)


def best_so_far(folder: Path) -> dict[str, Any]:
    """Validation mean IoU of the best weights, with stage and epoch; minus infinity before there are any."""
    path, remedy = folder / BEST, "delete it, and the best is found anew"
    best = read_json(path, remedy) if path.exists() else {"mean_iou": -math.inf}
    check(isinstance(best.get("mean_iou"), int | float), f"{path}: cannot be read (no mean_iou); {remedy}")
    return best


def note_complete(home: Path, stage: Stage) -> None:
    """Note that the stage in `home` has been trained for as many epochs or steps as it wants."""
    with atomic_write(home / DONE) as file:
        file.write(f"{stage.length} {'steps' if stage.steps else 'epochs'}\n".encode())


def complete(home: Path, length: int) -> bool:
    """Whether the stage in `home` has been trained for so many epochs or steps (or as its patience wanted)."""
    path = home / DONE
    try:
        return path.exists() and int(path.read_text().split()[0]) >= length
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: cannot be read; delete it, and the stage's end is found anew") from error
