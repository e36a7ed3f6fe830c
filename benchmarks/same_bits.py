"""Hashes of what every op, a saved segmenter and a short training give, to hold against those from before a change.

    python benchmarks/same_bits.py [--threads 1] [--only filter crf] > before.txt    # then change something
    python benchmarks/same_bits.py | diff before.txt -

Outputs and gradients over sizes, label counts and options. DENSEFIELD_CPU=avx2 takes the kernels of a smaller CPU.
torch's own sums, in some gradients, round otherwise with other threads and on other machines.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from densefield.classes import ClassList, default_colors
from densefield.losses import embedding_loss
from densefield.networks import deeplab_largefov, embedding_network
from densefield.ops.gaussian import gaussian_filter
from densefield.ops.local_filter import Distance, affinity_filter
from densefield.ops.permutohedral import build_lattice, lattice_filter
from densefield.refine import (
    BilateralKernel,
    Compatibility,
    DenseCRF,
    Diagonal,
    EmbeddingFilter,
    EmbeddingRefinement,
    Matrix,
    Potts,
    SpatialKernel,
)
from densefield.runs.files import validated
from densefield.runs.machine import Machine
from densefield.runs.train import train
from densefield.segmenter import Segmenter

Case = tuple[str, list[Tensor | None]]
TYPES = (torch.float32, torch.float64)
RANDOM = torch.Generator().manual_seed(3)


def drawn(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers in [0, 1), the same in every run."""
    return torch.rand(size, generator=RANDOM, dtype=torch.float64).to(dtype)


def backward(result: Tensor, *inputs: Tensor) -> list[Tensor | None]:
    """The result and its gradients by the inputs."""
    result.backward(drawn(*result.shape, dtype=result.dtype))
    return [result, *(each.grad for each in inputs)]


def filters() -> Iterator[Case]:
    """The embedding filter."""
    options: tuple[tuple[int, int, int, int, Distance], ...] = (
        (1, 9, 1, 1, "l1"),
        (3, 7, 1, 3, "l2"),
        (8, 5, 2, 2, "dot"),
        (21, 9, 1, 2, "l1"),
        (14, 3, 1, 10, "l1"),
    )
    for dtype, option in itertools.product(TYPES, options):
        channels, window, rate, iterations, distance = option
        embeddings = drawn(2, 17, 37, 41, dtype=dtype).requires_grad_()
        scores = drawn(2, channels, 37, 41, dtype=dtype).requires_grad_()
        scale = torch.tensor(0.3, dtype=dtype, requires_grad=True)
        result = affinity_filter(
            scores, embeddings, scale, window=window, rate=rate, iterations=iterations, distance=distance
        )
        yield (
            f"filter {dtype} {channels} {window} {rate} {iterations} {distance}",
            backward(result, embeddings, scores, scale),
        )


def losses() -> Iterator[Case]:
    """The pair loss."""
    distances: tuple[Distance, ...] = ("l1", "l2", "dot")
    for dtype, distance, squared in itertools.product(TYPES, distances, (False, True)):
        embeddings, labels = drawn(2, 9, 33, 29, dtype=dtype).requires_grad_(), (drawn(2, 33, 29) * 4).long()
        loss = embedding_loss(embeddings, labels, window=7, rate=1 + squared, distance=distance, squared=squared)
        yield f"loss {dtype} {distance} {squared}", backward(loss, embeddings)


def grids() -> Iterator[Case]:
    """The Gaussian on a grid."""
    shapes = ((2, 3, 45), (1, 2, 33, 47), (1, 7, 20, 21, 22), (3, 5, 64, 64))
    for dtype, shape, width in itertools.product(TYPES, shapes, (0.3, 2.0, 9.0)):
        values = drawn(*shape, dtype=dtype).requires_grad_()
        widths = torch.full((len(shape) - 2,), width, dtype=torch.float64).requires_grad_()
        yield f"gaussian {dtype} {shape} {width}", backward(gaussian_filter(values, widths), values, widths)


def lattices() -> Iterator[Case]:
    """Lattices, plain and filled, and filters over them."""
    for dtype, dimension, fill in itertools.product(TYPES, (1, 2, 3, 5, 6, 9), (0, 10**6)):
        features = (drawn(1, dimension, 3000, dtype=dtype) * 4).requires_grad_()
        lattice = build_lattice(features, fill)
        yield f"lattice {dtype} {dimension} {fill}", list(lattice)
        for channels in (1, 3, 7, 20, 40):
            values, features.grad = drawn(1, channels, 3000, dtype=dtype).requires_grad_(), None
            result = lattice_filter(values, lattice, features=features)
            yield f"lattice filter {dtype} {dimension} {fill} {channels}", backward(result, values, features)


def crfs() -> Iterator[Case]:
    """The dense CRF: label counts, compatibilities, wide kernels, without and with gradients."""
    for labels, size in itertools.product((2, 3, 4, 5, 8, 13, 21, 24, 30, 40), ((41, 43), (130, 97))):
        image, scores = drawn(1, 3, *size), drawn(1, labels, *size) * 6
        apart = tuple(tuple(float(abs(a - b)) for b in range(labels)) for a in range(labels))
        kinds: tuple[Compatibility, ...] = (Potts(3.0), Diagonal(tuple(map(float, range(labels)))), Matrix(apart))
        for chosen, learn, gamma in itertools.product(kinds, (False, True), (2.0, 7.0)):
            crf = DenseCRF(
                labels,
                (SpatialKernel(theta_gamma=gamma), BilateralKernel()),
                chosen,
                iterations=3,
                learn_weights=learn,
                learn_widths=learn,
                learn_compatibility=learn,
            )
            given = scores.clone().requires_grad_(learn)
            result = crf(given, image)
            found = backward(result, given, *crf.parameters()) if learn else [result]
            yield f"crf {labels} {size} {type(chosen).__name__} {learn} {gamma}", found


def segmenters() -> Iterator[Case]:
    """Scores of segmenters that were saved and loaded, one with a CRF, one with embeddings."""
    torch.manual_seed(5)
    classes, mean, std = ClassList(("a", "b", "c"), default_colors(3)), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    embedder = embedding_network(3, dimension=5, taps=("image", "conv1_1", "conv2_1"), width=2)
    filtered = EmbeddingRefinement(embedder, EmbeddingFilter(5, 2, initial_lambda=0.3), mean=mean, std=std)
    image = (drawn(47, 61, 3) * 255).to(torch.uint8).numpy()
    for refinement in (None, DenseCRF.nine_parameters(3), filtered):
        network = deeplab_largefov(3, width=2, rate=2)
        with tempfile.TemporaryDirectory() as folder:
            Segmenter(network, classes, mean=mean, std=std, refinement=refinement).save(folder)
            yield f"segmenter {type(refinement).__name__}", [Segmenter.load(folder).scores(image)]


def trainings() -> Iterator[Case]:
    """The weights after a short training of network and CRF."""
    stage = {"epochs": 2, "batch_size": 3, "optimizer": {"kind": "adam", "rate": 1e-2}}
    plain = {
        "name": "short",
        "network": {"kind": "deeplab_largefov", "width": 2, "rate": 2, "dropout": 0.1, "batch_norm": True},
        "refinement": {"kind": "dense_crf", "theta_alpha": 20.0, "bilateral_weight": 2.0, "spatial_weight": 1.0},
        "data": {"kind": "samples", "size": 32, "scenes": 12, "held_out_size": 32, "held_out_scenes": 4},
        "stages": [{**stage, "trains": "network"}, {**stage, "trains": "all", "schedule": {"kind": "poly"}}],
    }
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(accelerator="cpu", devices=1, workers=0, bar=False)
        train(validated(plain, "short"), Path(folder), machine=machine, console=Console(quiet=True))
        weights = torch.load(Path(folder) / "stage-2" / "last.ckpt", weights_only=True)["state_dict"]
    yield "training", [weights[name] for name in sorted(weights)]


PARTS = {
    "filter": filters,
    "loss": losses,
    "gaussian": grids,
    "lattice": lattices,
    "crf": crfs,
    "segmenter": segmenters,
    "training": trainings,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    warnings.simplefilter("ignore")
    for part in asked.only:
        RANDOM.manual_seed(3)
        for name, tensors in PARTS[part]():
            digest = hashlib.sha256()
            for tensor in tensors:
                if tensor is not None:
                    digest.update(np.ascontiguousarray(tensor.detach().numpy()).tobytes())
            print(digest.hexdigest()[:16], name, flush=True)


if __name__ == "__main__":
    main()
