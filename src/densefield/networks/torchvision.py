"""Segmentation networks of torchvision, by the names of its builders."""

from __future__ import annotations

from torch import nn

from densefield.built import described
from densefield.built.bounds import Channels, Count
from densefield.checks import check
from densefield.networks.adapted import Adapted, adapted
from densefield.networks.libraries import NONE, Options, building, check_known, options_of
from densefield.optional import needed

_GIVEN = ("weights", "weights_backbone", "progress", "num_classes")


@described()
def torchvision(
    num_classes: Count, in_channels: Channels = 3, *, name: str = "deeplabv3_resnet50", options: Options = NONE
) -> Adapted:
    """Any segmentation network of torchvision; its LRASPP has 3,218,478 parameters for 3 classes.

    `name` is its builder (lraspp_mobilenet_v3_large, fcn_resnet50, deeplabv3_resnet101 ...), `options` are the
    builder's other arguments: `aux_loss` gives an auxiliary head, which `loss.auxiliary` weighs. They read three
    channels. Weights are drawn: those of ImageNet are a recipe's `weights: library`.
    """
    three = "torchvision: its networks read 3 channels; give mean and std of three values, and gray images are repeated"
    check(in_channels == 3, f"{three}, received {in_channels}")
    network = torchvision_model(num_classes, name, options)
    return adapted(network, num_classes, in_channels)


def torchvision_model(num_classes: int, name: str, options: Options, weights: str | None = None) -> nn.Module:
    """The library's own network, whose backbone has the `weights` of that name."""
    library = needed("torchvision.models", "kind torchvision")
    check_known("torchvision: name", name, library.list_models(library.segmentation))
    builder = library.get_model_builder(name)
    plain = options_of("torchvision: options", options, builder, _GIVEN)
    with building("torchvision"):
        network: nn.Module = builder(weights=None, weights_backbone=weights, num_classes=num_classes, **plain)
    return network
