"""Short forms of what stands behind the network, and what older versions wrote: both become what recipes hold today.

`dense_crf` without `kernels` is the CRF that Schwing and Urtasun (2015) train: a width for each axis and channel, five
iterations, learned. Its numbers may stand side by side (`theta_alpha: 50`), as may those of an embedding filter.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from densefield.built import words_of
from densefield.checks import InputError, check, likely
from densefield.networks.embedding import IN_VGG
from densefield.refine.kernels import per_axis
from densefield.refine.presets import DEFAULT
from densefield.runs.kinds import REFINEMENTS

# Where each number of the two usual kernels belongs, and how many times: once an axis, or a channel.
_CRF = {
    "theta_gamma": ("spatial", "theta_gamma", 2),
    "spatial_weight": ("spatial", "weight", 0),
    "theta_alpha": ("bilateral", "theta_alpha", 2),
    "theta_beta": ("bilateral", "theta_beta", 3),
    "bilateral_weight": ("bilateral", "weight", 0),
}
_FILTER = ("window", "iterations", "rate", "initial_lambda", "learn_lambda", "distance", "border")
_EMBEDDER = ("taps", "width", "dimension", "batch_norm")
_PAIRS = ("pair_loss", "pair_window", "pair_rates", "pair_labels")
_SHORT = {
    "dense_crf": (*_CRF, "learn"),
    "embedding_filter": ("trunk", *_FILTER, *_EMBEDDER, *_PAIRS),
}
NOTES = {
    "dense_crf": "Without kernels: a width an axis and channel, five iterations, learned (learn: false keeps the "
    f"numbers); then {', '.join(_CRF)} may stand here by themselves.",
    "embedding_filter": f"Short: trunk (own or network), {', '.join((*_EMBEDDER, *_FILTER))} may stand here by "
    "themselves; an own trunk is then normalised, and lambda begins at 8.",
}
# Null meant the default there; that of a step's gamma has since become DeepLab's.
_NULLS = {
    "optimizer": ("momentum", "alpha", "eps"),
    "schedule": ("power", "every", "gamma", "warmup"),
    "refinement": (*_EMBEDDER, *_PAIRS),
}


def expanded(plain: Mapping[str, Any], *, laid_over: bool = False) -> dict[str, Any]:
    """A recipe's keys with short forms written out.

    `laid_over`: they were laid over a recipe that is written out, and count more than what stands there. Otherwise a
    short form beside what it is short for is refused. Raises `InputError` for that, for what is like a short form and
    none, and for short numbers of which there is no kernel.
    """
    whole = copy.deepcopy(dict(plain))
    stages = whole.get("stages")
    for stage in stages if isinstance(stages, list) else []:
        for name in ("optimizer", "schedule"):
            part = stage.get(name) if isinstance(stage, dict) else None
            if isinstance(part, dict):
                if part.get("kind") == "step" and "gamma" in part and part["gamma"] is None:
                    part["gamma"] = 0.995
                _leave_out_nulls(part, name)
                if name == "optimizer" and "rate" in part:  # what older recipes call it
                    check("learning_rate" not in part or laid_over, "optimizer: rate is learning_rate; give it once")
                    part["learning_rate"] = part.pop("rate")
    part = whole.get("refinement")
    if isinstance(part, dict):
        kind = part.get("kind")
        _check_likely(part)
        _leave_out_nulls(part, "refinement")
        if kind == "dense_crf":
            _write_out_crf(part, laid_over)
        if kind == "embedding_filter":
            _write_out_filter(part, whole, laid_over)
    return whole


def _leave_out_nulls(part: dict[str, Any], name: str) -> None:
    for key in _NULLS[name]:
        if key in part and part[key] is None:
            del part[key]


def _check_likely(part: Mapping[str, Any]) -> None:
    kind = part.get("kind")
    if not isinstance(kind, str) or kind not in _SHORT:
        return
    takes = {name: sorted({*model.model_fields, *_SHORT[name]}) for name, model in REFINEMENTS.models.items()}
    for key in part:
        if key not in takes[kind]:
            others = [name for name, known in takes.items() if key in known]
            hint = f": {kind} does not take it, only {others[0]}." if others else likely(str(key), takes[kind])
            raise InputError(f"unknown key 'refinement.{key}'{hint} Wanted one of: {', '.join(takes[kind])}")


def _write_out_crf(part: dict[str, Any], laid_over: bool) -> None:
    short = [key for key in (*_CRF, "learn") if key in part]
    if "kernels" in part and not laid_over:
        for key in short:
            raise InputError(
                f"refinement.{key}: is short for numbers in kernels, which stand beside it; write it there"
            )
    learn = ("learn_weights", "learn_widths")
    if not laid_over and "learn" in part and any(key in part for key in learn):
        raise InputError(f"refinement.learn: is short for {' and '.join(learn)}; write these alone")
    if "kernels" not in part:
        part["kernels"] = [words_of(kernel) for kernel in per_axis(DEFAULT)]
        part.setdefault("iterations", 5)
        for key in learn:
            part.setdefault(key, part.get("learn", True))
    if "learn" in part:
        part.update(dict.fromkeys(learn, part.pop("learn")))
    kernels = part["kernels"] if isinstance(part["kernels"], list) else []
    for key, (kind, name, count) in _CRF.items():
        if key in part:
            value = part.pop(key)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 < value <= 1e12:
                raise InputError(f"refinement.{key}: wanted a positive number, received {value!r}")
            mine = [kernel for kernel in kernels if isinstance(kernel, dict) and kernel.get("kind") == kind]
            if not mine:
                raise InputError(f"refinement.{key}: is of a {kind} kernel, and there is none in kernels")
            for kernel in mine:
                kernel[name] = [value] * count if count else value


def _write_out_filter(part: dict[str, Any], whole: dict[str, Any], laid_over: bool) -> None:
    trunk = part.pop("trunk", None)
    if trunk not in (None, "own", "network"):
        raise InputError(f"refinement.trunk: wanted own or network, received {trunk!r}")
    places = {"embedder": _EMBEDDER, "filter": _FILTER}
    if not laid_over:
        for name, keys in {**places, "embedder": ("trunk", *_EMBEDDER)}.items():
            beside = [key for key in keys if key in part or (key == "trunk" and trunk is not None)]
            if name in part and beside:
                raise InputError(
                    f"refinement.{beside[0]}: is short for what stands in {name} beside it; write it there"
                )
    wanted = {None: None, "own": "embedding_network", "network": "shared_trunk"}[trunk]
    before = part.get("embedder")
    if before is None or (isinstance(before, dict) and wanted not in (None, before.get("kind"))):
        shared = wanted == "shared_trunk"
        usual = {"taps": list(IN_VGG)} if shared else {"batch_norm": True}
        kept = {key: before[key] for key in ("dimension",) if isinstance(before, dict) and key in before}
        part["embedder"] = {"kind": "shared_trunk" if shared else "embedding_network", **usual, **kept}
    part["filter"] = {"initial_lambda": 8.0} if part.get("filter") is None else part["filter"]
    for name, keys in places.items():
        place = part[name]
        for key in keys:
            if key in part and isinstance(place, dict):
                place[key] = part.pop(key)
    pairs = {key: part.pop(key) for key in _PAIRS if key in part}
    if isinstance(pairs.get("pair_loss"), float) and pairs["pair_loss"] == 1.0:
        del pairs["pair_loss"]  # which is meant where there are embeddings
    loss = whole.get("loss") or {}
    if pairs and isinstance(loss, dict):
        for key in pairs.keys() & loss.keys():
            if not laid_over and loss[key] is not None:
                raise InputError(f"refinement.{key}: stands in loss too; write it there alone")
        whole["loss"] = {**loss, **pairs}
    elif pairs:
        raise InputError(f"loss: wanted a mapping of its keys, received {loss!r}")
