"""Marginals and gradients of the dense CRF layer against exact float64 sums over all pairs, on crops of a photograph.

Run: python benchmarks/dense_crf_exactness.py [--only marginals] [--labels 2 5 21] [--iterations 5] [--weights 1 2 3 10]
The whole photograph, 500 x 375 (the exact marginals take minutes and are kept in a file):
     python benchmarks/dense_crf_exactness.py --only full [--case 80x13] [--reference build/exact.npy]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from crf_scene import WIDTHS, network_like_scores, photograph
from exact_mean_field import exact_marginals
from skimage import data
from torch import Tensor
from torch.nn import functional

from densefield.refine import BilateralKernel, DenseCRF, SpatialKernel
from densefield.refine.pydensecrf import densecrf as drop_in

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
    """Regions of like color and place: k-means from evenly spread pixels."""
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


def print_gradients(labels: Sequence[int], iterations: int, weights: Sequence[tuple[float, float]]) -> None:
    """Medians over the crops of relative error and cosine of the gradients."""
    print(f"gradients: 36 x 48, {iterations} iterations, {len(CORNERS)} crops; medians of error and cosine")
    print(f"{'weights':>9} {'labels':>6} {'':>9} {'scores':>16} {'seven widths':>16}")
    for pair in weights:
        for count in labels:
            rows: dict[str, list[tuple[float, ...]]] = {"layer": [], "accurate": [], "dense": []}
            for corner in CORNERS:
                image, scores, target = scene((36, 48), count, corner)
                wanted = dense_gradients(image, scores, target, pair, iterations)
                for name, row in rows.items():
                    given = (image.double(), scores.double()) if name == "dense" else (image, scores)
                    got = layer_gradients(
                        *given, target, pair, iterations, accurate=name == "accurate", dense=name == "dense"
                    )
                    row.append((*compared(got[0], wanted[0]), *compared(got[1], wanted[1])))
            for name, row in rows.items():
                figures = [statistics.median(column) for column in zip(*row, strict=True)]
                shown = "{:9.2g} {:6.4f} {:9.2g} {:6.4f}".format(*figures)
                print(f"{pair[0]:4g},{pair[1]:4g} {count:6} {name:>9} {shown}", flush=True)


def print_marginals(labels: Sequence[int], iterations: int) -> None:
    """Medians over the crops of the marginals' mean absolute error and of the labels that differ, default kernels."""
    print(f"marginals: 60 x 80, {iterations} iterations, {len(CORNERS)} crops; medians of mean error and labels")
    for count in labels:
        rows: dict[str, list[tuple[float, float]]] = {}
        for corner in CORNERS:
            image, scores, _ = scene((60, 80), count, corner)
            image = (255 * image).round().to(torch.uint8)
            exact = DenseCRF(count, iterations=iterations, dense=True)(scores.double(), image).exp()
            found = {
                "layer": DenseCRF(count, iterations=iterations)(scores, image).exp(),
                "accurate": DenseCRF(count, iterations=iterations, accurate=True)(scores, image).exp(),
            }
            original = by_pydensecrf(image, scores, iterations)
            if original is not None:
                found["pydensecrf"] = original
            for name, got in found.items():
                error = float((got.double() - exact).abs().mean())
                rows.setdefault(name, []).append((error, float((got.argmax(1) != exact.argmax(1)).double().mean())))
        for name, row in rows.items():
            error, differing = (statistics.median(column) for column in zip(*row, strict=True))
            print(f"{count:6} labels {name:>10} {error:9.1e} {100 * differing:7.2f} %", flush=True)


def by_pydensecrf(
    image: Tensor, scores: Tensor, iterations: int, alpha: float = 80, beta: float = 13, *, ours: bool = False
) -> Tensor | None:
    """The original's marginals, where it is installed, or those of `ours` with the same face."""
    try:
        from pydensecrf import densecrf
    except ImportError:
        if not ours:
            return None
    _, labels, height, width = scores.shape
    model = (drop_in if ours else densecrf).DenseCRF2D(width, height, labels)
    model.setUnaryEnergy(np.ascontiguousarray((-scores[0]).flatten(1).numpy()))
    model.addPairwiseGaussian(sxy=3, compat=3)
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    model.addPairwiseBilateral(sxy=alpha, srgb=beta, rgbim=pixels, compat=10)
    return torch.from_numpy(np.array(model.inference(iterations))).view(scores.shape)


def print_whole(case: str, iterations: int, reference: Path) -> None:
    """Errors on a whole photograph of 187,500 pixels, 21 labels, and how far ours are from pydensecrf's marginals."""
    pixels = photograph(case)
    scores = torch.log_softmax(network_like_scores(21, *pixels.shape[:2]), 1)
    alpha, beta = WIDTHS[case]
    if not reference.exists():
        exact = exact_marginals(-scores, pixels, alpha, beta, iterations, torch.get_num_threads())
        reference.parent.mkdir(parents=True, exist_ok=True)
        np.save(reference, exact.numpy())
    exact = torch.from_numpy(np.load(reference)).view(scores.shape)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    kernels = (SpatialKernel(), BilateralKernel(alpha, beta))
    found = {
        "layer": DenseCRF(21, kernels, iterations=iterations)(scores, image).exp(),
        "accurate": DenseCRF(21, kernels, iterations=iterations, accurate=True)(scores, image).exp(),
        "drop-in": by_pydensecrf(image, scores, iterations, alpha, beta, ours=True),
    }
    original = by_pydensecrf(image, scores, iterations, alpha, beta)
    if original is not None:
        found["pydensecrf"] = original
    print(f"{case}, 500 x 375, 21 labels, {iterations} iterations: mean error and labels against the exact mean field")
    for name, got in found.items():
        print(f"{name:>10} {apart(got, exact)}", flush=True)
    if original is not None:
        for name in ("layer", "drop-in"):
            print(f"{name:>10} from pydensecrf: {apart(found[name], original)}", flush=True)


def apart(got: Tensor | None, wanted: Tensor) -> str:
    assert got is not None
    error = float((got.double() - wanted).abs().mean())
    differing = float((got.argmax(1) != wanted.argmax(1)).double().mean())
    return f"{error:9.2e} {100 * differing:7.3f} %"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, nargs="+", default=[2, 5, 21])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[1, 2, 3, 5, 3, 10], help="pairs: spatial, bilateral"
    )
    parser.add_argument("--only", choices=["marginals", "gradients", "full"])
    parser.add_argument("--case", choices=[case for case in WIDTHS if case != "1080p"], default="80x13")
    parser.add_argument("--reference", type=Path, help="file of the exact marginals, build/exact_CASE.npy by default")
    options = parser.parse_args(arguments)
    if options.only == "full":
        reference = options.reference or Path("build", f"exact_{options.case}.npy")
        return print_whole(options.case, options.iterations, reference)
    if options.only != "gradients":
        print_marginals(options.labels, options.iterations)
    if options.only != "marginals":
        pairs = list(zip(options.weights[::2], options.weights[1::2], strict=True))
        print_gradients([count for count in options.labels if count > 2], options.iterations, pairs)


if __name__ == "__main__":
    main()
