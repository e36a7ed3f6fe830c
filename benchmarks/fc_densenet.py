"""FC-DenseNet's training step beside a plain textbook version: time, peak memory, saved bytes, as ratios.

    python benchmarks/fc_densenet.py [--network 56|67|103] [--size 224] [--batch 1] [--rounds 5] [--threads 1]

The textbook version (below) concatenates out of place and lets autograd keep everything. Both have the same weights and
are checked to give the same scores first. Times are taken in turns, A B C A B C, in one process, and compared by their
medians; of one thread it is the processor's time, which other programs disturb less, of several the clock's. Peak
memory is a fresh process's highest resident size over two steps, less its size before the first.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.networks import fc_densenet56, fc_densenet67, fc_densenet103

BUILDERS = {"56": fc_densenet56, "67": fc_densenet67, "103": fc_densenet103}
LAYERS = {"56": (4,) * 11, "67": (5,) * 11, "103": (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)}
GROWTH = {"56": 12, "67": 16, "103": 16}
ARMS = ("textbook", "ours", "ours, checkpointing")
CLASSES = 11


class Textbook(nn.Module):
    """Figure 1 of the paper written out with `nn.Sequential` and `torch.cat`."""

    def __init__(self, layers: Sequence[int], growth: int) -> None:
        super().__init__()

        def layer(channels: int, made: int, size: int) -> nn.Sequential:
            conv = nn.Conv2d(channels, made, size, padding=size // 2)
            return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), conv, nn.Dropout(0.2))

        def block(channels: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(layer(channels + index * growth, growth, 3) for index in range(count))

        pools = len(layers) // 2
        self.first = nn.Conv2d(3, 48, 3, padding=1)
        channels, skips = 48, []
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for count in layers[:pools]:
            self.down.append(block(channels, count))
            channels += count * growth
            skips.append(channels)
            self.shrink.append(nn.Sequential(*layer(channels, channels, 1), nn.MaxPool2d(2)))
        self.middle = block(channels, layers[pools])
        made = layers[pools] * growth
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        for count in layers[pools + 1 :]:
            self.grow.append(nn.ConvTranspose2d(made, made, 3, stride=2))
            channels = made + skips.pop()
            self.up.append(block(channels, count))
            made = count * growth
        self.last = nn.Conv2d(channels + made, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        stack = self.first(image)
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            stack = torch.cat([stack, self.made(block, stack)], dim=1)
            skips.append(stack)
            stack = shrink(stack)
        new = self.made(self.middle, stack)
        for grow, block in zip(self.grow, self.up, strict=True):
            skip = skips.pop()
            stack = torch.cat([grow(new)[:, :, : skip.shape[2], : skip.shape[3]], skip], dim=1)
            new = self.made(block, stack)
        return self.last(torch.cat([stack, new], dim=1))

    def made(self, block: nn.Module, stack: Tensor) -> Tensor:
        """What a block's layers add to the stack."""
        new: list[Tensor] = []
        for layer in block.children():
            new.append(layer(torch.cat([stack, *new], dim=1) if new else stack))
        return torch.cat(new, dim=1)


def build(arm: str, network: str) -> nn.Module:
    torch.manual_seed(0)
    if arm == "textbook":
        return Textbook(LAYERS[network], GROWTH[network])
    return BUILDERS[network](CLASSES, checkpointing=arm.endswith("checkpointing"))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, image: Tensor, target: Tensor) -> None:
    optimizer.zero_grad()
    functional.cross_entropy(model(image), target).backward()
    optimizer.step()


def batch_of(arguments: argparse.Namespace) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (arguments.batch, arguments.size, arguments.size)
    image = torch.rand((shape[0], 3, *shape[1:]), generator=generator)
    return image, torch.randint(0, CLASSES, shape, generator=generator)


def check_equal(network: str) -> None:
    """Raise unless both versions give the same scores, training and evaluating (without dropout)."""
    textbook, ours = build("textbook", network), build("ours", network)
    with torch.no_grad():
        for mine, theirs in zip(ours.state_dict().values(), textbook.state_dict().values(), strict=True):
            theirs.copy_(mine)
    for module in (*textbook.modules(), *ours.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(image), textbook(image), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.eval()(image), textbook.eval()(image), rtol=1e-3, atol=1e-3)


def times(arguments: argparse.Namespace) -> dict[str, list[float]]:
    models = {arm: build(arm, arguments.network) for arm in ARMS}
    optimizers = {arm: torch.optim.RMSprop(model.parameters(), lr=1e-3) for arm, model in models.items()}
    image, target = batch_of(arguments)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    taken: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for turn in range(arguments.rounds + 1):
        for arm in ARMS:
            start = clock()
            step(models[arm], optimizers[arm], image, target)
            if turn:  # the first round warms up
                taken[arm].append(clock() - start)
    return taken


def resident(field: str) -> float:
    """This process's resident size in MiB: now (VmRSS), or at its highest (VmHWM; getrusage's may be its parent's)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field + ":"))


def memory(arguments: argparse.Namespace) -> tuple[float, float]:
    """Peak resident growth over two steps and bytes saved for the backward pass, in MiB, of this (fresh) process."""
    model = build(arguments.arm, arguments.network)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    image, target = batch_of(arguments)
    small = functional.interpolate(image, size=(64, 64))
    step(model, optimizer, small, target[:, :64, :64].contiguous())  # libraries, optimizer state
    before = resident("VmRSS")
    for _ in range(2):
        step(model, optimizer, image, target)
    peak = resident("VmHWM") - before

    storages: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = functional.cross_entropy(model(image), target)
    saved = sum(storages.values()) / 2**20
    del loss
    return peak, saved


def measured_elsewhere(arm: str) -> tuple[float, float]:
    """`memory` of one version, in a fresh process."""
    command = [sys.executable, *sys.argv, "--arm", arm]
    peak, saved = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(peak), float(saved)


def print_ratios(what: str, figures: dict[str, float]) -> None:
    for arm, figure in figures.items():
        print(f"{what:10} {arm:20} {figure:10.3f}  {figure / figures[ARMS[0]]:5.2f} x textbook", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=BUILDERS, default="56")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("time", "memory"), help="leave the other measurement out")
    parser.add_argument("--arm", choices=ARMS, help="measure only this version's memory, in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.arm:
        print(*memory(arguments))
        return

    check_equal(arguments.network)
    print(f"FC-DenseNet{arguments.network}, {arguments.size}², batch {arguments.batch}, {arguments.threads} threads")
    if arguments.only != "memory":
        print_ratios("step s", {arm: statistics.median(taken) for arm, taken in times(arguments).items()})
    if arguments.only != "time":
        figures = {arm: measured_elsewhere(arm) for arm in ARMS}
        print_ratios("peak MiB", {arm: peak for arm, (peak, _) in figures.items()})
        print_ratios("saved MiB", {arm: saved for arm, (_, saved) in figures.items()})


if __name__ == "__main__":
    main()
