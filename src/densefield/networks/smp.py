"""Networks of segmentation_models.pytorch (Iakubovskii), by the name of the architecture and of its encoder."""

from __future__ import annotations

from torch import nn

from densefield.built import described
from densefield.built.bounds import Channels, Count
from densefield.networks.adapted import Adapted, adapted, multiple_of
from densefield.networks.libraries import NONE, Options, building, check_known, options_of
from densefield.networks.timm import check_encoder
from densefield.optional import needed

# Said by our own arguments, or not to be had: weights are the recipe's, and scores stand before any activation.
_GIVEN = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation")


@described()
def smp(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    arch: str = "Unet",
    encoder: str = "resnet34",
    options: Options = NONE,
) -> Adapted:
    """Any network of segmentation_models.pytorch; its Unet on resnet34 has 24,436,659 parameters for 3 classes.

    `arch` is its class (Unet, FPN, DeepLabV3Plus ...), `encoder` as it names them (`tu-` and one of timm's), `options`
    are the class's other arguments. Weights are drawn: those of ImageNet are a recipe's `weights: library`. Images of
    any size are mirrored up to what the class wants divided.
    """
    network = smp_model(num_classes, in_channels, arch=arch, encoder=encoder, options=options)
    return adapted(network, num_classes, in_channels, multiple=multiple_of(network))


def smp_model(
    num_classes: int, in_channels: int, *, arch: str, encoder: str, options: Options, weights: str | bool | None = None
) -> nn.Module:
    """The library's own network, whose encoder has the `weights` of that name."""
    library = needed("segmentation_models_pytorch", "kind smp")
    classes = {each.__name__: each for each in library.MODEL_ARCHITECTURES_MAPPING.values()}
    check_known("smp: arch", arch, classes)
    if encoder.startswith("tu-"):
        check_encoder("smp: encoder", encoder.removeprefix("tu-"))
    else:
        check_known("smp: encoder", encoder, library.encoders.get_encoder_names())
    plain = options_of("smp: options", options, classes[arch], _GIVEN)
    with building("smp"):
        network: nn.Module = classes[arch](
            encoder_name=encoder, encoder_weights=weights, in_channels=in_channels, classes=num_classes, **plain
        )
    return network
