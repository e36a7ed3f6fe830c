"""What libraries know of their networks: how images are scaled for their weights, and these weights, fetched.

Only a training run asks: a description never says where weights came from, and loading one never asks a network.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from densefield.built import Built, built_by
from densefield.checks import InputError, check, one_line
from densefield.networks.adapted import Adapted
from densefield.networks.smp import smp_model
from densefield.networks.timm import Encoded
from densefield.networks.torchvision import torchvision_model
from densefield.optional import needed

# Of each kind: the distribution, and the part whose weights the library has.
LIBRARIES = {
    "smp": ("segmentation-models-pytorch", "encoder"),
    "timm": ("timm", "encoder"),
    "torchvision": ("torchvision", "backbone"),
    "transformers": ("transformers", ""),
}
PREPROCESSOR = "preprocessor_config.json"  # which transformers keeps beside a model's weights
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LONGEST = 2**20  # bytes


class Preparation(NamedTuple):
    """(value − mean) / std a channel of RGB in [0, 1], and who says so; `bgr`: weights read channels the other way."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whose: str
    bgr: bool = False


def preparation(network: nn.Module, beside: Path | None = None) -> Preparation | None:
    """How images are scaled for the weights that the library of `network` has; None where no library built it.

    timm's `pretrained_cfg`, torchvision's `weights.transforms()`, smp's `get_preprocessing_params`, transformers'
    `preprocessor_config.json` in the folder `beside`. Where a hub must be asked and cannot, as for most of smp's
    encoders, or no such file is known, ImageNet's. Raises `InputError` for a file that says it otherwise.
    """
    built = built_by(network)
    if built is None or built.kind not in LIBRARIES:
        return None
    distribution = LIBRARIES[built.kind][0]
    whose = f"{distribution} {importlib.metadata.version(distribution)}"
    if built.kind == "transformers" and beside is not None and (beside / PREPROCESSOR).is_file():
        return preprocessor(beside / PREPROCESSOR)
    stated = _stated(built)
    if stated is None:
        return Preparation(*_IMAGENET, f"ImageNet's, as {whose} does not know without its hub")
    mean, std = (tuple(float(value) for value in stated[key]) for key in ("mean", "std"))
    most = float(max(stated.get("input_range") or (1.0,)))
    bgr = stated.get("input_space") == "BGR"
    mean, std = (tuple(value / most for value in (values[::-1] if bgr else values)) for values in (mean, std))
    return Preparation(mean, std, whose, bgr)


def _stated(built: Built) -> Mapping[str, Any] | None:
    """What the library says by itself, as a mapping with mean and std; None where it does not know or cannot ask."""
    arguments = built.arguments
    if built.kind == "torchvision":
        models = needed("torchvision.models", "kind torchvision")
        transforms = models.get_model_weights(arguments["name"]).DEFAULT.transforms()
        return {"mean": transforms.mean, "std": transforms.std}
    if built.kind == "timm":
        return _of_timm(arguments["encoder"])
    if built.kind == "smp" and arguments["encoder"].startswith("tu-"):
        return _of_timm(arguments["encoder"].removeprefix("tu-"))
    if built.kind == "smp":
        encoders = needed("segmentation_models_pytorch", "kind smp").encoders
        try:
            stated: Mapping[str, Any] = encoders.get_preprocessing_params(
                arguments["encoder"], pretrained=_smp_weights(arguments["encoder"])
            )
        except Exception:  # without a network, whatever the hub's client raises; without weights, nothing to be like
            return None
        return stated
    return None


def _of_timm(encoder: str) -> Mapping[str, Any] | None:
    stated = needed("timm", "kind timm").get_pretrained_cfg(encoder)
    return None if stated is None else {"mean": stated.mean, "std": stated.std}


def preprocessor(path: Path) -> Preparation:
    """What transformers' preprocessor_config.json says; mean and std are of values of 0 to 255 times its factor."""
    try:
        with path.open("rb") as file:
            stated = json.loads(file.read(_LONGEST))
        factor = 255 * float(stated.get("rescale_factor", 1 / 255)) if stated.get("do_rescale", True) else 255.0
        mean, std = stated["image_mean"], stated["image_std"]
        if not stated.get("do_normalize", True):
            mean, std = (0.0,) * len(mean), (1.0,) * len(std)
        return Preparation(tuple(value / factor for value in mean), tuple(value / factor for value in std), str(path))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        wanted = "wanted image_mean and image_std, a number a channel"
        raise InputError(f"{path}: {wanted} ({one_line(error)}); give the recipe mean and std") from error


def fetch(network: nn.Module) -> str:
    """Fill the encoder of `network` with the weights that its library fetches; tells whose they are.

    Raises `InputError` where it has none, or they cannot be fetched; then nothing has changed.
    """
    built = built_by(network)
    if built is None or built.kind not in LIBRARIES or not isinstance(network, Adapted):
        raise InputError("weights: library: this network is of no library; wanted a file, or a saved segmenter")
    distribution, part = LIBRARIES[built.kind]
    arguments = built.arguments
    whole = (arguments["num_classes"], arguments["in_channels"])
    try:
        if built.kind == "timm":
            named = _named(arguments, "encoder", "head", "output_stride", "width")
            there: nn.Module = Encoded(*whole, **named, pretrained=True)
        elif built.kind == "torchvision":
            there = torchvision_model(whole[0], arguments["name"], arguments["options"], "DEFAULT")
        elif built.kind == "smp":
            name = arguments["encoder"]
            weights = True if name.startswith("tu-") else _smp_weights(name)
            there = smp_model(*whole, **_named(arguments, "arch", "encoder", "options"), weights=weights)
        else:
            raise InputError("a configuration names no weights")
    except Exception as error:
        line = f"weights: library: {distribution} fetches none ({one_line(error)})"
        raise InputError(f"{line}; give a file as weights, or leave them out") from error
    encoder = there.get_submodule(part)
    stated = preparation(network)
    if stated is not None and stated.bgr:
        _turn(encoder, whole[1])
    network.model.get_submodule(part).load_state_dict(encoder.state_dict())
    return f"weights: the {part}'s of {distribution} {importlib.metadata.version(distribution)}"


def _named(arguments: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: arguments[name] for name in names}


def _smp_weights(encoder: str) -> str:
    """The name of an encoder's weights in segmentation_models.pytorch, ImageNet's where it has these."""
    known: Sequence[str] = list(
        needed("segmentation_models_pytorch", "kind smp").encoders.encoders[encoder]["pretrained_settings"]
    )
    check(bool(known), f"{encoder} has no weights")
    return "imagenet" if "imagenet" in known else known[0]


def _turn(encoder: nn.Module, channels: int) -> None:
    """Let the convolution that reads the image take RGB where its weights are for BGR."""
    first = next(each for each in encoder.modules() if isinstance(each, nn.Conv2d))
    if first.in_channels == channels == 3:
        first.weight.data = first.weight.data.flip(1)
