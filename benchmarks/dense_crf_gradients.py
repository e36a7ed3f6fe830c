"""Gradients of the dense CRF layer against exact float64 autograd of the dense mean field, on a real crop.

Run: python benchmarks/dense_crf_gradients.py [--size 36x48] [--labels 5 21] [--iterations 5] [--weights 1 2 3 10]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import torch
from skimage import data
from torch import Tensor
from torch.nn import functional

from densefield.refine import BilateralKernel, DenseCRF, SpatialKernel

THETA_GAMMA, THETA_ALPHA, THETA_BETA = (3.0, 3.0), (80.0, 80.0), (13.0, 13.0, 13.0)
CORNERS = ((60, 250), (100, 190), (10, 180), (200, 150), (0, 380))


def scene(size: tuple[int, int], labels: int, corner: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """A crop of a photograph (1, 3, H, W), scores (1, K, H, W) and a target (1, H, W)."""
    height, width = size
    top, left = corner
    whole = torch.from_numpy(data.astronaut())
    image = whole[top : top + height, left : left + width].permute(2, 0, 1)[None] / 255
    target = clusters(image, labels)
    # As a network would answer: right in the large, eight times too coarse, a little noisy.
    generator = torch.Generator().manual_seed(labels)
    sure = functional.one_hot(target, labels).movedim(-1, 1).float()
    coarse = functional.avg_pool2d(sure, 4) + 0.1 * torch.randn(1, labels, height // 4, width // 4, generator=generator)
    scores = 6 * functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return image, scores, target


def clusters(image: Tensor, count: int) -> Tensor:  # (1, 3, H, W) -> (1, H, W)
    """Regions of like colour and place: k-means from evenly spread pixels."""
    height, width = image.shape[2:]
    rows, columns = torch.meshgrid(torch.linspace(0, 0.5, height), torch.linspace(0, 0.5, width), indexing="ij")
    points = torch.cat([image[0], rows[None], columns[None]]).flatten(1).T
    centres = points[torch.linspace(0, len(points) - 1, count).long()]
    for _ in range(10):
        nearest = torch.cdist(points, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return nearest.view(1, height, width)


def dense_gradients(
    image: Tensor, scores: Tensor, target: Tensor, weights: tuple[float, float], iterations: int
) -> tuple[Tensor, Tensor]:  # (K, H, W), (7,)
    """Gradients by the unary energies and the logarithms of the seven widths, through whole float64 kernels."""
    unary = (-scores.double()).requires_grad_()
    log_widths = torch.tensor([*THETA_GAMMA, *THETA_ALPHA, *THETA_BETA], dtype=torch.float64).log().requires_grad_()
    widths = log_widths.exp()
    height, width = image.shape[2:]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).T.double()
    features = [places / widths[:2, None]]
    features.append(torch.cat([places, 255 * image[0].flatten(1).double()]) / widths[2:, None])
    kernels = []
    for weight, each in zip(weights, features, strict=True):
        squares = torch.zeros(places.shape[1], places.shape[1], dtype=torch.float64)
        for feature in each:
            squares = squares + (feature[:, None] - feature).square()
        kernel = torch.exp(-0.5 * squares)
        root = kernel.sum(1).rsqrt()
        kernels.append(weight * root[:, None] * kernel * root)
    kernel = kernels[0] + kernels[1]
    log_q = torch.log_softmax(-unary[0].flatten(1), 0)
    for _ in range(iterations):
        log_q = torch.log_softmax(-unary[0].flatten(1) + log_q.exp() @ kernel, 0)
    functional.nll_loss(log_q[None], target.flatten(1)).backward()
    assert unary.grad is not None
    assert log_widths.grad is not None
    return unary.grad[0], log_widths.grad


def layer_gradients(
    image: Tensor,
    scores: Tensor,
    target: Tensor,
    weights: tuple[float, float],
    iterations: int,
    *,
    accurate: bool = False,
    dense: bool = False,
) -> tuple[Tensor, Tensor]:
    """The same gradients through the layer."""
    kernels = (SpatialKernel(THETA_GAMMA, weights[0]), BilateralKernel(THETA_ALPHA, THETA_BETA, weights[1]))
    crf = DenseCRF(
        scores.shape[1], kernels, iterations=iterations, learn_widths=True, accurate=accurate, dense=dense
    ).to(scores.dtype)
    scores = scores.clone().requires_grad_()
    functional.nll_loss(crf(scores, image), target).backward()
    assert scores.grad is not None
    by_width = [p.grad.double() for p in crf.parameters() if p.grad is not None]
    return -scores.grad[0].double(), torch.cat(by_width)


def compared(got: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Relative error and cosine."""
    error = float((got - wanted).norm() / wanted.norm())
    return error, float(torch.cosine_similarity(got.flatten(), wanted.flatten(), dim=0))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="36x48", help="height x width")
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 21])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[1, 2, 3, 5, 3, 10], help="pairs: spatial, bilateral"
    )
    options = parser.parse_args(arguments)
    height, width = map(int, options.size.split("x"))
    print(
        f"{height} x {width}, {options.iterations} iterations, {len(CORNERS)} crops; medians of error and cosine"
    )
    print(f"{'weights':>9} {'labels':>6} {'':>9} {'scores':>16} {'seven widths':>16}")
    for weights in zip(options.weights[::2], options.weights[1::2], strict=True):
        for labels in options.labels:
            rows: dict[str, list[tuple[float, ...]]] = {"layer": [], "accurate": [], "dense": []}
            for corner in CORNERS:
                image, scores, target = scene((height, width), labels, corner)
                wanted = dense_gradients(image, scores, target, weights, options.iterations)
                for name, row in rows.items():
                    given = (image.double(), scores.double()) if name == "dense" else (image, scores)
                    got = layer_gradients(
                        *given, target, weights, options.iterations, accurate=name == "accurate", dense=name == "dense"
                    )
                    row.append((*compared(got[0], wanted[0]), *compared(got[1], wanted[1])))
            for name, row in rows.items():
                figures = [statistics.median(column) for column in zip(*row, strict=True)]
                shown = "{:9.2g} {:6.4f} {:9.2g} {:6.4f}".format(*figures)
                print(f"{weights[0]:4g},{weights[1]:4g} {labels:6} {name:>9} {shown}", flush=True)


if __name__ == "__main__":
    main()
