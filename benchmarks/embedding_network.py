"""The embedding network mixing taps before it enlarges them, against concatenating them: CPU time, interleaved, memory.

    python benchmarks/embedding_network.py [--size 321] [--rounds 3]

One thread, the published width, forward and backward. Memory is the growth of a fresh process's peak, the network's own
tensors not counted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import torch
from torch import Tensor
from torch.nn import functional

from densefield.networks import EmbeddingNetwork, embedding_network

ARMS = ("ours", "concatenated")


def concatenated(network: EmbeddingNetwork, image: Tensor) -> Tensor:
    """The paper's order: every tap enlarged to the image, all 643 channels side by side, one 1×1 convolution."""
    layers = {"image": image} | dict(network.trunk.layers(image))
    enlarged = []
    for tap in network.taps:
        stride = 1 if tap == "image" else network.trunk.layout[tap].stride
        size = [(length - 1) * stride + 1 for length in layers[tap].shape[2:]]
        large = functional.interpolate(layers[tap], size=size, mode="bilinear", align_corners=True)
        enlarged.append(large[:, :, : image.shape[2], : image.shape[3]])
    mixed: Tensor = network.mix(torch.cat(enlarged, dim=1))
    return mixed


def embed(arm: str, network: EmbeddingNetwork, image: Tensor) -> Tensor:
    embeddings: Tensor = network(image) if arm == "ours" else concatenated(network, image)
    return embeddings


def peak() -> int:
    """This process's resident size at its highest, in KiB: getrusage's would be its parent's."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=321)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", choices=ARMS, help="print one arm's growth of the peak, in MiB, and end")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, image = embedding_network(), torch.rand(1, 3, arguments.size, arguments.size)
    if arguments.memory:
        before = peak()
        embed(arguments.memory, network, image).sum().backward()
        print((peak() - before) // 1024)
        return
    with torch.no_grad():
        torch.testing.assert_close(*(embed(arm, network, image) for arm in ARMS), rtol=1e-4, atol=1e-4)
    taken: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(arguments.rounds):
        for arm in ARMS:
            start = time.process_time()
            embed(arm, network, image).sum().backward()
            taken[arm].append(time.process_time() - start)
    memory = {}
    for arm in ARMS:
        command = [sys.executable, __file__, "--size", str(arguments.size), "--memory", arm]
        memory[arm] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{arm}: {min(taken[arm]):.2f} s, {memory[arm]} MiB")
    ratio = sorted(ours / theirs for ours, theirs in zip(taken["ours"], taken["concatenated"], strict=True))
    print(
        f"ours / concatenated: time {ratio[len(ratio) // 2]:.2f}, memory {memory['ours'] / memory['concatenated']:.2f}"
    )


if __name__ == "__main__":
    main()
