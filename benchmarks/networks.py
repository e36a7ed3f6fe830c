"""The networks' forward passes beside their layers called by hand, in another memory order, and compiled, as ratios.

    python benchmarks/networks.py [--networks segnet ...] [--size 96] [--width 16] [--batch 1] [--rounds 5]
                                  [--threads 1] [--compile] [--table]

"By hand" is a straight line of torch.nn.functional calls on the network's own weights, for the networks that have one
below; its scores are checked to be the same first. `channels_last` keeps a pixel's channels together, `--compile` adds
torch.compile (minutes a network, where a C++ compiler is). `--table` instead takes, in full width, DeepLab's networks
of table 2 (Chen et al. 2015), whose published speeds, a GPU's, are as 1 : 2.01 : 2.01 : 3.36. Forward passes only: the
weight gradient of 7×7's fc6 can take 70 times its forward pass on a CPU (4,096 channels, padded by 12, 9×9 features).

Times are taken in turns, A B C A B C, in one process, and compared by their medians; of one thread it is the
processor's time, which other programs disturb less, of several the clock's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield import networks
from densefield.mirroring import mirrored_window

CLASSES = 21
BLOCKS = (2, 2, 3, 3, 3)  # VGG-16's convolutions
ARRAYS = ("running_mean", "running_var", "weight", "bias")
CONTEXT = {"conv1_1": 1, "conv1_2": 1, "conv2_1": 2, "conv3_1": 4, "conv4_1": 8, "conv5_1": 16, "fc1": 1}  # and rates
TABLE = {  # builder, its arguments, published images a second
    "7×7": ("deeplab_7x7", {}, 1.44),
    "4×4": ("deeplab_4x4", {}, 2.90),
    "4×4, rate 8": ("deeplab_4x4", {"rate": 8}, 2.90),
    "3×3, rate 12": ("deeplab_largefov", {}, 4.84),
}
State = Mapping[str, Tensor]


def convolved(state: State, name: str, features: Tensor, padding: int = 0, rate: int = 1) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.conv2d(features, weight, bias, padding=padding, dilation=rate)


def normalized(state: State, name: str, features: Tensor) -> Tensor:
    mean, variance, weight, bias = (state[f"{name}.{array}"] for array in ARRAYS)
    return functional.relu(functional.batch_norm(features, mean, variance, weight, bias))


def segnet(state: State, image: Tensor) -> Tensor:
    features, sizes, places = image, [], []
    for block, count in enumerate(BLOCKS, start=1):
        for i in range(1, count + 1):
            features = normalized(state, f"conv{block}_{i}_bn", convolved(state, f"conv{block}_{i}", features, 1))
        sizes.append(features.shape[2:])
        features, indices = functional.max_pool2d(features, 2, 2, ceil_mode=True, return_indices=True)
        places.append(indices)
    for block in (5, 4, 3, 2, 1):
        features = functional.max_unpool2d(features, places.pop(), (2, 2), output_size=sizes.pop())
        for i in range(BLOCKS[block - 1], 0, -1):
            features = convolved(state, f"conv{block}_{i}_D", features, 1)
            if (block, i) != (1, 1):
                features = normalized(state, f"conv{block}_{i}_D_bn", features)
    return features


def deconvnet(state: State, image: Tensor) -> Tensor:
    height, width = image.shape[2:]
    after = [max(224, -(-side // 32) * 32) for side in (height, width)]
    features, places = mirrored_window(image, (0, after[0]), (0, after[1])), []
    for block, count in enumerate(BLOCKS, start=1):
        for i in range(1, count + 1):
            features = normalized(state, f"bn{block}_{i}", convolved(state, f"conv{block}_{i}", features, 1))
        features, indices = functional.max_pool2d(features, 2, 2, return_indices=True)
        places.append(indices)
    for name in ("fc6", "fc7"):
        features = normalized(state, f"bn{name}", convolved(state, name, features))
    features = functional.conv_transpose2d(features, state["fc6_deconv.weight"], state["fc6_deconv.bias"])
    features = normalized(state, "fc6_deconv_bn", features)
    for block in (5, 4, 3, 2, 1):
        features = functional.max_unpool2d(features, places.pop(), (2, 2))
        for i in range(1, BLOCKS[block - 1] + 1):
            weight, bias = state[f"deconv{block}_{i}.weight"], state[f"deconv{block}_{i}.bias"]
            features = functional.conv_transpose2d(features, weight, bias, padding=1)
            features = normalized(state, f"debn{block}_{i}", features)
    return convolved(state, "seg_score_voc", features)[:, :, :height, :width]


def dilation8(state: State, image: Tensor) -> Tensor:
    height, width = image.shape[2:]
    after = [8 * ((side + 7) // 8 + 1) + 186 for side in (height, width)]
    features = mirrored_window(image, (-186, after[0]), (-186, after[1]))
    for block, count in enumerate(BLOCKS, start=1):
        for i in range(1, count + 1):
            features = convolved(state, f"conv{block}_{i}", features, rate=2 if block == 5 else 1).relu()
        features = functional.max_pool2d(features, 2) if block <= 3 else features
    features = convolved(state, "fc7", convolved(state, "fc6", features, rate=4).relu()).relu()
    scores = convolved(state, "final", features)
    for name, rate in CONTEXT.items():
        scores = convolved(state, f"ctx_{name}", scores, rate, rate).relu()
    scores = convolved(state, "ctx_final", scores)
    size = [8 * (side - 1) + 1 for side in scores.shape[2:]]
    scores = functional.interpolate(scores, size=size, mode="bilinear", align_corners=True)
    return scores[:, :, :height, :width].contiguous()


def deeplab_largefov(state: State, image: Tensor) -> Tensor:
    features = image
    for block, count in enumerate(BLOCKS, start=1):
        if block > 1:
            stride = 2 if block <= 4 else 1
            features = functional.max_pool2d(features, 3, stride, padding=1, ceil_mode=True)
        rate = 2 if block == 5 else 1
        for i in range(1, count + 1):
            features = convolved(state, f"trunk.conv{block}_{i}.convolution", features, rate, rate).relu()
    features = functional.avg_pool2d(functional.max_pool2d(features, 3, 1, padding=1), 3, 1, padding=1)
    features = convolved(state, "fc7.0", convolved(state, "fc6.0", features, 12, 12).relu()).relu()
    scores = convolved(state, "fc8", features)
    size = [8 * (side - 1) + 1 for side in scores.shape[2:]]
    scores = functional.interpolate(scores, size=size, mode="bilinear", align_corners=True)
    return scores[:, :, : image.shape[2], : image.shape[3]].contiguous()


BY_HAND: dict[str, Callable[[State, Tensor], Tensor]] = {
    each.__name__: each for each in (segnet, deconvnet, dilation8, deeplab_largefov)
}


def medians(arms: Mapping[str, Callable[[], object]], rounds: int, threads: int) -> dict[str, float]:
    clock = time.process_time if threads == 1 else time.perf_counter
    taken: dict[str, list[float]] = {arm: [] for arm in arms}
    for turn in range(rounds + 1):
        for arm, call in arms.items():
            start = clock()
            call()
            if turn:  # the first round warms up
                taken[arm].append(clock() - start)
    return {arm: statistics.median(times) for arm, times in taken.items()}


def report(name: str, arguments: argparse.Namespace) -> None:
    """Print the forward pass's time and those of its other forms, as ratios to it."""
    torch.manual_seed(0)
    network: nn.Module = getattr(networks, name)(CLASSES, width=arguments.width).eval()
    image = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
    arms: dict[str, Callable[[], object]] = {"ours": lambda: network(image)}
    if name in BY_HAND:
        state, by_hand = network.state_dict(), BY_HAND[name]
        torch.testing.assert_close(by_hand(state, image), network(image))
        arms["by hand"] = lambda: by_hand(state, image)
    turned = getattr(networks, name)(CLASSES, width=arguments.width).eval().to(memory_format=torch.channels_last)
    turned.load_state_dict(network.state_dict())
    other = image.contiguous(memory_format=torch.channels_last)
    arms["channels_last"] = lambda: turned(other)
    if arguments.compile:
        compiled = torch.compile(network)
        arms["compiled"] = lambda: compiled(image)
    times = medians(arms, arguments.rounds, arguments.threads)
    for arm, seconds in times.items():
        print(f"{name:18} {arm:14} {seconds:8.4f} s  {times['ours'] / seconds:5.2f} x as fast", flush=True)


def report_table(arguments: argparse.Namespace) -> None:
    """Print the speeds of table 2's networks, one network in memory at a time."""
    image = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
    slowest = 0.0
    for label, (builder, options, published) in TABLE.items():
        network = getattr(networks, builder)(CLASSES, **options).eval()
        times = medians({"pass": partial(network, image)}, arguments.rounds, arguments.threads)
        slowest = slowest or times["pass"]
        ratio = slowest / times["pass"]
        print(f"{label:14} {times['pass']:8.3f} s  speed {ratio:5.2f}, published {published / 1.44:5.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(BY_HAND), help="builders of densefield.networks")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="add torch.compile")
    parser.add_argument("--table", action="store_true", help="the kernel sizes of DeepLab's table 2 instead")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.no_grad():
        if arguments.table:
            report_table(arguments)
            return
        for name in arguments.networks:
            report(name, arguments)


if __name__ == "__main__":
    main()
