from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.networks import deconvnet, receptive_field
from drawing import seeded
from geometry import assert_tiles_equal_the_whole, awake, seen_by_changes, unsettled

BLOCKS = (2, 2, 3, 3, 3)


def test_parameters_by_hand() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in deconvnet(21).parameters())
    vgg, normalized = 14_714_688, 4_224  # weights, and channels that are normalised
    up = [(512, 512)] * 5 + [(512, 256), (256, 256), (256, 256), (256, 128), (128, 128), (128, 64), (64, 64), (64, 64)]
    deconvolutions = sum((before * 9 + 1) * after for before, after in up)
    normalized += 4096 + 4096 + 512 + sum(after for _, after in up)
    fully = (512 * 49 + 1) * 4096 + (4096 + 1) * 4096 + (4096 * 49 + 1) * 512
    assert count == vgg + fully + deconvolutions + 2 * normalized + (64 + 1) * 21 == 251_805_653


def plainly(network: nn.Module, image: Tensor) -> Tensor:
    """The layers of the published definition in its order, by their names."""
    state = network.state_dict()

    def normalized(norm: str, features: Tensor) -> Tensor:
        arrays = [state[f"{norm}.{array}"] for array in ("running_mean", "running_var", "weight", "bias")]
        return functional.relu(functional.batch_norm(features, *arrays))

    def down(name: str, norm: str, features: Tensor, padding: int = 0) -> Tensor:
        return normalized(
            norm, functional.conv2d(features, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)
        )

    def up(name: str, norm: str, features: Tensor, padding: int) -> Tensor:
        """A deconvolution of stride 1 is a convolution with the kernel turned round."""
        weight = state[f"{name}.weight"].transpose(0, 1).flip(2, 3)
        return normalized(norm, functional.conv2d(features, weight, state[f"{name}.bias"], padding=padding))

    height, width = image.shape[2:]
    after = [max(224, -(-side // 32) * 32) - side for side in (height, width)]
    features = image
    for axis, side, pad in ((2, height, after[0]), (3, width, after[1])):
        pads = [(0, 0)] * 4
        pads[axis] = (0, pad)
        features = torch.from_numpy(np.pad(features.numpy(), pads, mode="reflect" if side > 1 else "edge"))
    indices = []
    for block, count in enumerate(BLOCKS, start=1):
        for i in range(1, count + 1):
            features = down(f"conv{block}_{i}", f"bn{block}_{i}", features, padding=1)
        features, index = functional.max_pool2d(features, 2, 2, return_indices=True)
        indices.append(index)
    features = down("fc7", "bnfc7", down("fc6", "bnfc6", features))
    features = up("fc6_deconv", "fc6_deconv_bn", features, padding=6)
    for block in (5, 4, 3, 2, 1):
        features = functional.max_unpool2d(features, indices.pop(), 2, 2)
        for i in range(1, BLOCKS[block - 1] + 1):
            features = up(f"deconv{block}_{i}", f"debn{block}_{i}", features, padding=1)
    scores = functional.conv2d(features, state["seg_score_voc.weight"], state["seg_score_voc.bias"])
    return scores[:, :, :height, :width]


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96), (250, 20)])
def test_scores_are_those_of_the_layers_written_out(size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    network = unsettled(deconvnet(5, width=2))
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        scores = network(image)
    assert scores.shape == (2, 5, *size)
    assert scores[0].std() > 1e-6
    torch.testing.assert_close(scores, plainly(network, image), rtol=1e-10, atol=1e-10)


def test_224_pixels_become_one_feature_and_larger_images_one_for_each_window() -> None:
    network = deconvnet(2, width=1).eval()
    sizes = []
    network.fc7.register_forward_hook(lambda _, read, made: sizes.append(tuple(made.shape[2:])))
    with torch.no_grad():
        network(torch.rand(1, 3, 224, 224))
        network(torch.rand(1, 3, 225, 256))
    assert sizes == [(1, 1), (2, 2)]


def test_reach_is_how_far_a_score_sees() -> None:
    torch.manual_seed(seeded())
    network = deconvnet(2, width=1).double().eval()
    assert network.reach == 403
    assert 403 - network.stride <= seen_by_changes(network, 896, 8, step=5) <= 403


def test_a_score_sees_these_many_pixels() -> None:
    """Convolutions and their undoing at their spacings; unpooled features are read from each place of their cells."""
    network = deconvnet(2, width=1)
    coder, poolings = sum(2 * count * 2**level for level, count in enumerate(BLOCKS)) + 6 * 32, 31
    assert receptive_field(network) == 776 == 1 + 2 * coder + poolings
    assert 2 * network.reach + 1 == 776 + poolings


def test_tiles_equal_the_whole() -> None:
    torch.manual_seed(seeded())
    assert_tiles_equal_the_whole(awake(deconvnet(3, width=1)), torch.rand(3, 950, 9, dtype=torch.float64), 880)


def test_every_weight_learns() -> None:
    torch.manual_seed(seeded())
    network = deconvnet(3, width=4)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.any() for name, p in network.named_parameters() if name.endswith("weight"))
