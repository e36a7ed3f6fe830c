"""Batch normalisation's statistics taken anew over whole images, once the weights are final.

Running averages remember the last few batches: augmented crops, seen with weights that still moved. Wu and Johnson,
"Rethinking 'Batch' in BatchNorm", 2021, section 3, call the plain average over many images precise statistics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from densefield.checks import InputError, check
from densefield.protocols import Pairs, geometry
from densefield.segmenter import Segmenter
from densefield.segmenter.pixels import network_input


def recalibrate(segmenter: Segmenter, pairs: Pairs, count: int) -> None:
    """Replace every running mean and variance by their averages over `count` evenly spaced whole images of `pairs`.

    Weights stay as they are. Raises `InputError` as `check_recalibration` does, and where a layer is normalized over a
    single value, as PSPNet's mean of a whole image is.
    """
    check_recalibration(segmenter, pairs, count)
    network = segmenter.network.eval()
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    device = next(network.parameters()).device
    try:
        for seen, index in enumerate(np.linspace(0, len(pairs) - 1, count).round().astype(int)):
            for norm in norms:
                norm.train()
                norm.momentum = 1.0 / (seen + 1)  # makes the running average the plain one
            pixels = torch.from_numpy(pairs[int(index)][0]).permute(2, 0, 1)[None].to(device)
            with torch.no_grad(), single_values_told("recalibrate", "leave recalibrate out"):
                network(network_input(pixels, mean=segmenter.mean, std=segmenter.std, dtype=torch.float32))
    finally:
        network.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def check_recalibration(segmenter: Segmenter, pairs: Pairs, count: int) -> None:
    """Raise `InputError` where there are no statistics, no whole images, or fewer than `count`; better said at once."""
    network = segmenter.network
    check(bool(batch_norms(network)), "recalibrate: this network has no batch normalisation; leave recalibrate out")
    check(count <= len(pairs), f"recalibrate: wanted at most the {len(pairs)} training images, received {count}")
    check(geometry(network).margin == 0, "recalibrate: wanted a network that takes whole images (padding: same)")
    height, width = pairs[0][0].shape[:2]
    _check_shapes(network, (1, len(segmenter.mean), height, width))


def _check_shapes(network: nn.Module, size: tuple[int, int, int, int]) -> None:
    """Send an image without numbers through: shapes alone tell whether a layer sees a single value a channel."""
    state = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    image = torch.empty(size, device="meta")
    training = [module for module in network.modules() if module.training]
    network.eval()
    for norm in batch_norms(network):
        norm.train()
    try:
        with torch.no_grad(), single_values_told("recalibrate", "leave recalibrate out"):
            torch.func.functional_call(network, state, (image,))
    except (NotImplementedError, RuntimeError):
        pass  # an operation that knows no shapes alone: recalibrating itself will tell
    finally:
        network.eval()
        for module in training:
            module.training = True


@contextlib.contextmanager
def single_values_told(where: str, fix: str) -> Iterator[None]:
    """Raise `InputError` where torch finds but one value a channel to take a variance of."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(f"{where}: a layer is normalized over a single value a channel; {fix}") from error


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers that normalize by statistics of batches."""
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
