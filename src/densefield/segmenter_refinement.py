"""The words that describe a refinement in a saved segmenter, and the module built again from them. No code in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from densefield.built import built_by
from densefield.checks import InputError, check
from densefield.networks import VGG, EmbeddingNetwork
from densefield.refine import (
    BilateralKernel,
    DenseCRF,
    Diagonal,
    EmbeddingFilter,
    EmbeddingRefinement,
    FeatureKernel,
    Matrix,
    Potts,
    SpatialKernel,
)
from densefield.segmenter_config import build_network

_KERNELS = (SpatialKernel, BilateralKernel, FeatureKernel)
_COMPATIBILITIES = (Potts, Diagonal, Matrix)
_CRF = ("num_classes", "iterations", "normalization", "prune", "accurate", "dense", "recompute")
_FILTER = ("window", "iterations", "rate", "distance", "border")


def describe_refinement(refinement: nn.Module | None, network: nn.Module) -> dict[str, Any] | None:
    """Plain words for a `DenseCRF` (with its current numbers) or an `EmbeddingRefinement`; of others only the kind.

    An embedding network on the trunk of `network` has no name of its own. Raises `InputError` for another one that no
    function of `densefield.networks` built.
    """
    if refinement is None:
        return None
    kind = type(refinement).__name__
    if type(refinement) is DenseCRF:
        chosen = refinement.compatibility
        return {
            "kind": kind,
            **{name: getattr(refinement, name) for name in _CRF},
            "learn_weights": refinement.log_weights is not None,
            "learn_widths": len(refinement.log_widths) > 0,
            "learn_compatibility": len(refinement.raw_energies) > 0,
            "kernels": [_words(kernel) for kernel in refinement.kernels],
            "compatibility": [_words(one) for one in chosen] if isinstance(chosen, Sequence) else _words(chosen),
        }
    if type(refinement) is EmbeddingRefinement:
        function, arguments = _embedder_words(refinement.embedder, network)
        return {
            "kind": kind,
            "network": function,
            "arguments": arguments,
            "mean": list(refinement.mean),
            "std": list(refinement.std),
            "filter": {
                **{name: getattr(refinement.filter, name) for name in _FILTER},
                "learn_lambda": refinement.filter.log_lambda.requires_grad,
                "initial_lambda": float(refinement.filter.scale.detach()),
            },
        }
    return {"kind": kind}


def shares_trunk(refinement: nn.Module | None, network: nn.Module) -> bool:
    """Whether embeddings are made by the layers of `network` itself."""
    return isinstance(refinement, EmbeddingRefinement) and _on_trunk(refinement.embedder, network)


def _on_trunk(embedder: nn.Module, network: nn.Module) -> TypeGuard[EmbeddingNetwork]:
    return isinstance(embedder, EmbeddingNetwork) and embedder.trunk is getattr(network, "trunk", None)


def _embedder_words(embedder: nn.Module, network: nn.Module) -> tuple[str | None, dict[str, Any]]:
    if _on_trunk(embedder, network):
        return None, {"dimension": embedder.dimension, "taps": list(embedder.taps)}
    built = built_by(embedder)
    if built is None:
        name = type(embedder).__name__
        raise InputError(
            f"refinement: a {name} cannot be saved: only what functions of densefield.networks build, "
            "or an EmbeddingNetwork on this network's trunk"
        )
    return built.function, built.arguments


def build_refinement(words: Mapping[str, Any], network: nn.Module, source: str) -> nn.Module:
    """The module that `words` describe behind `network`, fresh tensors; every `InputError` begins with `source`."""
    fields = dict(words)
    kind = fields.pop("kind", None)
    where = f"{source}: refinement"
    try:
        if kind == "DenseCRF":
            with torch.device("cpu"):  # its checks look at numbers, also while shapes alone are sketched
                return _dense_crf(fields, where)
        if kind == "EmbeddingRefinement":
            return _embedding_refinement(fields, network, where)
    except (TypeError, KeyError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(reason if reason.startswith(source) else f"{where}: not as it was saved ({reason})") from error
    raise InputError(f"{source}: was saved with a {kind}; pass it as refinement=, received None")


def _dense_crf(fields: dict[str, Any], where: str) -> DenseCRF:
    kernels = [_built(_KERNELS, each, where) for each in fields.pop("kernels")]
    words = fields.pop("compatibility")
    one_each = [_built(_COMPATIBILITIES, each, where) for each in (words if isinstance(words, list) else [words])]
    return DenseCRF(kernels=kernels, compatibility=one_each if isinstance(words, list) else one_each[0], **fields)


def _embedding_refinement(fields: dict[str, Any], network: nn.Module, where: str) -> EmbeddingRefinement:
    function, arguments = fields.pop("network"), fields.pop("arguments")
    embedder: nn.Module
    if function is None:
        trunk = getattr(network, "trunk", None)
        if not isinstance(trunk, VGG):
            raise InputError(f"{where}: wanted a network with a VGG as its trunk, received {type(network).__name__}")
        embedder = EmbeddingNetwork(trunk, **arguments)
    else:
        embedder = build_network(function, arguments, where)
    return EmbeddingRefinement(embedder, EmbeddingFilter(**fields.pop("filter")), **fields)


def _words(value: Any) -> dict[str, Any]:
    """A frozen dataclass of numbers by its class's name and its fields."""
    fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {"kind": type(value).__name__, **fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().tolist()
    return [_plain(one) for one in value] if isinstance(value, Sequence) else value


def _built(classes: Sequence[type[Any]], words: Mapping[str, Any], where: str) -> Any:
    fields = dict(words)
    kind = fields.pop("kind")
    names = [one.__name__ for one in classes]
    check(kind in names, f"{where}: unknown kind {kind!r}; wanted one of {', '.join(names)}")
    return classes[names.index(kind)](**fields)
