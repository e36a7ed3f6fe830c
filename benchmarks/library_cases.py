"""What `libraries.py` times: every kernel, in both types where it has them, at the sizes that it knows apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from crf_scene import WIDTHS, network_like_scores, photograph, terms_of
from torch import Tensor

from densefield.losses import embedding_loss
from densefield.ops.gaussian import gaussian_filter
from densefield.ops.local_filter import affinity_filter
from densefield.ops.mean_field import GridTerm, LatticeTerm, mean_field
from densefield.ops.permutohedral import build_lattice, lattice_filter

Case = Callable[[], list[Tensor]]
F32, F64 = torch.float32, torch.float64
Distance = Literal["l1", "l2", "dot"]


def plain(run: Callable[..., Tensor], *tensors: Tensor) -> Case:
    """Give `run` of the tensors as a case."""
    return lambda: [run(*tensors)]


def gradients(run: Callable[..., Tensor], *tensors: Tensor) -> Case:
    """Give `run` of the tensors and the gradients by all of them as a case."""

    def both() -> list[Tensor]:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        result = run(*leaves)
        result.backward(torch.ones_like(result))
        return [result.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    return both


def filter_cases(side: int) -> dict[str, Case]:
    """Give the affinity filter and the pair loss."""
    cases: dict[str, Case] = {}

    def embeddings(depth: int, dtype: torch.dtype) -> Tensor:
        torch.manual_seed(0)
        size = side if dtype == F32 else side * 5 // 8
        return torch.rand(1, depth, size, size, dtype=dtype)

    def add(
        name: str,
        dtype: torch.dtype = F32,
        classes: int = 21,
        depth: int = 64,
        window: int = 9,
        rate: int = 1,
        iterations: int = 1,
        distance: Distance = "l1",
    ) -> None:
        learned = embeddings(depth, dtype)
        scores = torch.randn(1, classes, *learned.shape[2:], dtype=dtype)
        tensors = (scores, learned, torch.tensor(0.3, dtype=dtype))

        def run(*tensors: Tensor) -> Tensor:
            return affinity_filter(*tensors, window=window, rate=rate, iterations=iterations, distance=distance)

        cases[f"filter {name}"] = plain(run, *tensors)
        cases[f"filter {name} +grad"] = gradients(run, *tensors)

    def add_loss(name: str, dtype: torch.dtype = F32, depth: int = 64, squared: bool = False) -> None:
        learned = embeddings(depth, dtype)
        size = learned.shape[2]
        blocks = torch.randint(0, 21, (1, size // 8 + 1, size // 8 + 1))
        target = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :size, :size].contiguous()
        cases[f"pair loss{name}"] = gradients(lambda x: embedding_loss(x, target, squared=squared), learned)

    add("x1")
    add("x7", iterations=7)
    add("x1 f64", F64)
    add("x7, 2 classes", classes=2, depth=8, iterations=7)
    add("rate 2", rate=2)
    add("5 x 5", window=5)
    add("L2", distance="l2")
    add("dot", distance="dot")
    add_loss("")
    add_loss(" f64", F64)
    add_loss(", 3 channels", depth=3)
    add_loss(" squared", squared=True)
    return cases


def grid_and_lattice_cases() -> dict[str, Case]:
    """Give the Gaussian of a grid, and a lattice's construction and filter."""
    cases: dict[str, Case] = {}
    values = network_like_scores(21, 188, 250)
    _, term = terms_of(photograph("80x13")[:188, :250].copy(), *WIDTHS["80x13"])
    assert isinstance(term, LatticeTerm)
    for name, dtype in ("f32", F32), ("f64", F64):
        scores, features = values.to(dtype), (term.features / term.widths[:, None]).to(dtype)
        lattice = build_lattice(features)
        cases[f"gaussian {name}"] = plain(lambda x: gaussian_filter(x, 3.0), scores)
        cases[f"lattice {name} build"] = plain(lambda x: build_lattice(x).weights, features)
        cases[f"lattice {name}"] = plain(lambda x, lattice=lattice: lattice_filter(x, lattice), scores.flatten(2))
    return cases


def crf_cases() -> dict[str, Case]:
    """Give the dense CRF: the benchmark's scenes, and a quarter of one for each number of labels laid out apart."""
    cases: dict[str, Case] = {}

    def add(labels: int, scene: str, whole: bool) -> tuple[Tensor, list[GridTerm | LatticeTerm]]:
        image = photograph(scene) if whole else photograph(scene)[:188, :250].copy()
        scores = torch.log_softmax(network_like_scores(labels, *image.shape[:2]), 1)
        terms = terms_of(image, *WIDTHS[scene])
        name = f"crf {scene}" if whole else f"crf {labels} labels"
        cases[name] = plain(lambda x: mean_field(x, terms, iterations=10), scores)
        return scores, terms

    for scene in WIDTHS:
        add(2 if scene == "1080p" else 21, scene, True)
    for labels in 2, 3, 4, 8, 16, 21, 32, 40:
        scores, terms = add(labels, "80x13", False)
        if labels not in (2, 8, 21, 40):
            continue

        def by_all(scores: Tensor, *learned: Tensor, terms: list[GridTerm | LatticeTerm] = terms) -> Tensor:
            pairs = zip(terms, learned[::2], learned[1::2], strict=True)
            return mean_field(scores, [replace(t, widths=w, compatibility=c) for t, w, c in pairs], iterations=5)

        learned = [tensor for term in terms for tensor in (term.widths, term.compatibility)]
        cases[f"crf {labels} labels +grad"] = gradients(lambda x, run=by_all, rest=learned: run(x, *rest), scores)
        cases[f"crf {labels} labels +widths"] = gradients(by_all, scores, *learned)
    return cases
