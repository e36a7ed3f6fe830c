"""Short forms of what stands behind the network, and what older versions wrote: both become what recipes hold today.

`dense_crf` without `kernels` is the CRF that Schwing and Urtasun (2015) train: a width for each axis and channel, five
iterations, learned. Its numbers may stand side by side (`theta_alpha: 50`), as may those of an embedding filter.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from densefield.built import words_of
from densefield.checks import InputError
from densefield.explained import likely
from densefield.networks.embedding import IN_VGG
from densefield.recipes.kinds import REFINEMENTS
from densefield.refine.kernels import per_axis
from densefield.refine.presets import DEFAULT

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
# Null meant the default there; that of a step's gamma has since become DeepLab's.
_NULLS = {
    "optimizer": ("momentum", "alpha", "eps"),
    "schedule": ("power", "every", "gamma", "warmup"),
    "refinement": (*_EMBEDDER, *_PAIRS),
}


def expanded(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's keys with short forms written out. Raises `InputError` for what is like a short form, and none."""
    whole = copy.deepcopy(dict(plain))
    stages = whole.get("stages")
    for stage in stages if isinstance(stages, list) else []:
        for name in ("optimizer", "schedule"):
            part = stage.get(name) if isinstance(stage, dict) else None
            if isinstance(part, dict):
                if part.get("kind") == "step" and "gamma" in part and part["gamma"] is None:
                    part["gamma"] = 0.995
                _leave_out_nulls(part, name)
    part = whole.get("refinement")
    if isinstance(part, dict):
        kind = part.get("kind")
        _check_likely(part)
        _leave_out_nulls(part, "refinement")
        if kind == "dense_crf":
            _write_out_crf(part)
        if kind == "embedding_filter":
            _write_out_filter(part, whole)
    return whole


def _leave_out_nulls(part: dict[str, Any], name: str) -> None:
    for key in _NULLS[name]:
        if key in part and part[key] is None:
            del part[key]


def _check_likely(part: Mapping[str, Any]) -> None:
    kind = part.get("kind")
    if not isinstance(kind, str) or kind not in _SHORT:
        return
    fields = REFINEMENTS.models[kind].model_fields
    known = sorted({*fields, *_SHORT[kind]})
    for key in part:
        if key not in known:
            raise InputError(
                f"unknown key 'refinement.{key}'{likely(str(key), known)} Wanted one of: {', '.join(known)}"
            )


def _write_out_crf(part: dict[str, Any]) -> None:
    if "kernels" not in part:
        part["kernels"] = [words_of(kernel) for kernel in per_axis(DEFAULT)]
        part.setdefault("iterations", 5)
        part.setdefault("learn", True)
    if "learn" in part:
        learn = part.pop("learn")
        part["learn_weights"] = part["learn_widths"] = learn
    for key, (kind, name, count) in _CRF.items():
        if key in part:
            value = part.pop(key)
            for kernel in part["kernels"] if isinstance(part["kernels"], list) else []:
                if isinstance(kernel, dict) and kernel.get("kind") == kind:
                    kernel[name] = [value] * count if count else value


def _write_out_filter(part: dict[str, Any], whole: dict[str, Any]) -> None:
    trunk = part.pop("trunk", "own")
    if "embedder" not in part:
        shared = trunk == "network"
        if trunk not in ("own", "network"):
            raise InputError(f"refinement.trunk: wanted own or network, received {trunk!r}")
        usual = {"taps": list(IN_VGG)} if shared else {"batch_norm": True}
        part["embedder"] = {"kind": "shared_trunk" if shared else "embedding_network", **usual}
        part["filter"] = {"initial_lambda": 8.0, **(part.get("filter") or {})}
    for name, keys in (("embedder", _EMBEDDER), ("filter", _FILTER)):
        place = part.setdefault(name, {})
        for key in keys:
            if key in part and isinstance(place, dict):
                place[key] = part.pop(key)
    pairs = {key: part.pop(key) for key in _PAIRS if key in part}
    if pairs.get("pair_loss") == 1.0:
        del pairs["pair_loss"]  # which is meant where there are embeddings
    if pairs:
        loss = whole.get("loss")
        whole["loss"] = {**(loss if isinstance(loss, dict) else {}), **pairs}
