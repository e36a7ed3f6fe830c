"""Segmentation networks of transformers (Hugging Face), by their configuration: SegFormer, UperNet, DPT ..."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from densefield.built import described
from densefield.built.bounds import Channels, Count
from densefield.checks import check
from densefield.networks.adapted import Adapted, adapted, multiple_of
from densefield.networks.libraries import Options, building, check_known, plain_options
from densefield.networks.timm import check_encoder
from densefield.optional import needed

SEGFORMER: Options = {"model_type": "segformer"}
# Beside the arguments of the base class, what `to_diff_dict` may write that says nothing of the network.
_UNREAD = ("_name_or_path", "num_labels", "output_attentions")
_OF_BACKBONES = ("out_features", "out_indices", "stage_names")
_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")


@described()
def transformers(num_classes: Count, in_channels: Channels = 3, *, config: Options = SEGFORMER) -> Adapted:
    """Any semantic segmentation network of transformers; SegFormer-B0, the default, has 3,714,915 parameters.

    (For 3 classes.) `config` is what a model's `config.to_diff_dict()` gives: `model_type` and the arguments of that
    configuration's class; a `backbone_config` stands inside in the same way. Classes are ours. Weights are drawn;
    nothing is fetched, and no code that a configuration names (`auto_map`) is run.
    """
    library = needed("transformers", "kind transformers")
    known = needed("transformers.models.auto.modeling_auto", "kind transformers")
    plain = _checked(library, "config", config, known.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES)
    if not _put(plain, "num_channels", in_channels, library):
        three = "transformers: in_channels: this configuration has no num_channels; wanted 3"
        check(in_channels == 3, f"{three}, received {in_channels}")
    with building("transformers"):
        made = library.AutoConfig.for_model(**plain, num_labels=num_classes)
        network = library.AutoModelForSemanticSegmentation.from_config(made, trust_remote_code=False)
    return adapted(network, num_classes, in_channels, multiple=multiple_of(network))


def _checked(library: ModuleType, place: str, config: Mapping[str, Any], known: Mapping[str, Any]) -> Options:
    """What the configuration's class takes of `config`; `InputError` for what it does not, and for what runs code."""
    for key in _CODE:
        check(key not in config, f"transformers: {place}.{key}: names code to be run, which a configuration may not")
    check(not config.get("use_pretrained_backbone"), f"transformers: {place}: use_pretrained_backbone: none is fetched")
    kind = config.get("model_type")
    check(isinstance(kind, str), f"transformers: {place}.model_type: wanted one of {', '.join(sorted(known))}")
    check_known(f"transformers: {place}.model_type", str(kind), known)
    made = library.CONFIG_MAPPING[kind]
    taken = _own(made, library.PreTrainedConfig)
    unread = {*_UNREAD, *inspect.signature(library.PreTrainedConfig).parameters} - taken
    read = {key: value for key, value in config.items() if key not in unread}
    read = plain_options(f"transformers: {place}", f"model_type {kind}", read, {*taken, *_OF_BACKBONES, "model_type"})
    inner = read.get("backbone_config")
    if inner is not None:
        check(isinstance(inner, Mapping), f"transformers: {place}.backbone_config: wanted its keys, received {inner!r}")
        auto = needed("transformers.models.auto.modeling_auto", "kind transformers")
        read["backbone_config"] = _checked(
            library, f"{place}.backbone_config", inner, auto.MODEL_FOR_BACKBONE_MAPPING_NAMES
        )
    if isinstance(backbone := read.get("backbone"), str):
        check_encoder(f"transformers: {place}.backbone", backbone)
    return read


def _own(made: Any, base: Any) -> set[str]:
    """The arguments of a configuration's class that are not every configuration's."""
    own = set(inspect.signature(made).parameters) - set(inspect.signature(base).parameters)
    return {name for name in own if not name.startswith("_")}


def _put(config: Options, key: str, value: int, library: ModuleType) -> bool:
    """Set the number of channels where the configuration, or its backbone's, has it."""
    if key in _own(library.CONFIG_MAPPING[config["model_type"]], library.PreTrainedConfig):
        config[key] = value
        return True
    inner = config.get("backbone_config")
    return isinstance(inner, dict) and _put(inner, key, value, library)
