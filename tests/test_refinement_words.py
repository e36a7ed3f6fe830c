"""Refinements in saved segmenters: what is written is built again, and files that lie are explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from densefield.checks import InputError
from densefield.classes import ClassList, default_colors
from densefield.networks import EmbeddingNetwork, deeplab_largefov, embedding_network, unet
from densefield.networks.embedding import IN_VGG
from densefield.refine import (
    BilateralKernel,
    DenseCRF,
    Diagonal,
    EmbeddingFilter,
    EmbeddingRefinement,
    Matrix,
    Potts,
    SpatialKernel,
)
from densefield.segmenter import Segmenter
from densefield.segmenter.description import build_refinement, refinement_words, shares_trunk
from drawing import seeded

CLASSES = ClassList(("sky", "road", "tree"), default_colors(3))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
NETWORK = nn.Identity()


def learned_crf() -> DenseCRF:
    crf = DenseCRF(
        3,
        (SpatialKernel((2.0, 4.0), 1.5), BilateralKernel(20.0, (9.0, 10.0, 11.0), 2.5)),
        [Potts(0.5), Matrix(((0.0, 1.0, 2.0), (1.0, 0.0, 0.5), (2.0, 0.5, 0.0)))],
        iterations=3,
        normalization="after",
        learn_weights=True,
        learn_widths=True,
        learn_compatibility=True,
        accurate=True,
    )
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter += 0.1
    return crf


def embedded() -> EmbeddingRefinement:
    torch.manual_seed(seeded(1))
    network = embedding_network(3, dimension=5, taps=("image", "conv1_1", "conv2_1"), width=2)
    chosen = EmbeddingFilter(5, 2, 2, False, initial_lambda=0.3, distance="l2", border="zero")
    return EmbeddingRefinement(network, chosen, mean=MEAN, std=STD)


def plain_crf() -> DenseCRF:
    return DenseCRF(3, compatibility=Diagonal((-1.0, -2.0, -3.0)))


@pytest.mark.parametrize("make", [learned_crf, embedded, plain_crf])
def test_a_saved_refinement_is_built_again(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(seeded())
    network = unet(3, 3, padding="same", width=2)
    saved = Segmenter(network, CLASSES, mean=MEAN, std=STD, refinement=make()).eval()
    saved.save(tmp_path)
    loaded = Segmenter.load(tmp_path)
    assert type(loaded.refinement) is type(saved.refinement)
    assert [p.requires_grad for p in loaded.refinement.parameters()] == [
        p.requires_grad for p in saved.refinement.parameters()
    ]
    image = torch.rand(3, 24, 30)
    assert torch.equal(loaded.scores(image), saved.scores(image))
    assert torch.equal(loaded.refine(loaded.network_scores(image), image), loaded.scores(image))
    assert float((loaded.network_scores(image).softmax(0) - loaded.scores(image).softmax(0)).abs().max()) > 1e-4


def test_embeddings_on_the_networks_own_trunk_are_saved_once(tmp_path: Path) -> None:
    network = deeplab_largefov(3, width=2, rate=2)
    embedder = EmbeddingNetwork(network.trunk, dimension=4, taps=IN_VGG)
    refinement = EmbeddingRefinement(embedder, EmbeddingFilter(5, 2), mean=MEAN, std=STD)
    saved = Segmenter(network, CLASSES, mean=MEAN, std=STD, refinement=refinement).eval()
    saved.save(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert names == {f"network.{name}" for name in network.state_dict()} | {
        "refinement.embedder.mix.weight",
        "refinement.embedder.mix.bias",
        "refinement.filter.log_lambda",
    }
    loaded = Segmenter.load(tmp_path)
    assert shares_trunk(loaded.refinement, loaded.network)
    image = torch.rand(3, 24, 30)
    assert torch.equal(loaded.scores(image), saved.scores(image))
    words = refinement_words(refinement, network)
    assert words is not None
    with pytest.raises(InputError, match="trunk: wanted a VGG, such as the trunk of deeplab_largefov, received none"):
        build_refinement(words, NETWORK, "model.json")


def test_the_description_tells_the_learned_numbers(tmp_path: Path) -> None:
    words = refinement_words(learned_crf(), NETWORK)
    assert words is not None
    spatial = words["kernels"][0]
    assert spatial["kind"] == "spatial"
    # A logarithm, a sum and an exponential of numbers up to 1.5: 12 units roundoff, 7e-7.
    grown = torch.tensor([2.0, 4.0]) * torch.tensor(0.1).exp()
    assert list(spatial["theta_gamma"]) == pytest.approx(grown.tolist(), rel=1e-6)
    assert words["compatibility"][0] == {"kind": "potts", "weight": pytest.approx(0.5 * 1.1051709, rel=1e-6)}
    assert type(build_refinement(json.loads(json.dumps(words)), NETWORK, "model.json")) is DenseCRF


def test_a_refinement_may_be_put_behind_a_saved_network(tmp_path: Path) -> None:
    Segmenter(unet(3, 3, padding="same", width=2), CLASSES, mean=MEAN, std=STD).save(tmp_path)
    assert isinstance(Segmenter.load(tmp_path, refinement=DenseCRF(3)).refinement, DenseCRF)
    with pytest.raises(InputError, match="misses 1 tensors"):
        Segmenter.load(tmp_path, refinement=DenseCRF(3, learn_weights=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "Gaussian"}, "was saved with a Gaussian; pass it as refinement="),
        ({"kernels": [{"kind": "sphere"}]}, "kernels.0.kind: there is no 'sphere'; did you mean 'feature'"),
        ({"kernels": [{"kind": "spatial", "theta_gamma": -1.0}]}, "theta_gamma: wanted positive finite numbers"),
        ({"kernels": [{"kind": "SpatialKernel", "sigma": 1.0}]}, "unknown key 'kernels.0.sigma'"),
        ({"kernels": 3}, "kernels: wanted a list"),
        ({"iterations": "many"}, "iterations: .*integer"),
        ({"surprise": 1}, "unknown key 'surprise'"),
    ],
)
def test_a_lying_description_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    words = refinement_words(DenseCRF(3), NETWORK)
    assert words is not None
    with pytest.raises(InputError, match=message) as raised:
        build_refinement({**words, **change}, NETWORK, "model.json")
    assert str(raised.value).startswith("model.json: ")
    assert "\n" not in str(raised.value)


def test_an_unknown_embedding_network_is_not_built() -> None:
    words = refinement_words(embedded(), NETWORK)
    assert words is not None
    with pytest.raises(InputError, match=r"embedder\.kind: there is no 'system'"):
        build_refinement({**words, "embedder": {**words["embedder"], "kind": "system"}}, NETWORK, "model.json")


def test_a_strangers_embedding_network_is_not_saved() -> None:
    foreign = EmbeddingRefinement(nn.Conv2d(3, 4, 1), EmbeddingFilter(), mean=MEAN, std=STD)
    with pytest.raises(InputError, match="a Conv2d cannot be saved"):
        refinement_words(foreign, NETWORK)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DenseCRF(3, iterations=2000, prune=False),
        lambda: DenseCRF(3, (SpatialKernel(1e15), BilateralKernel(np.float64(20.0), weight=np.float32(1e13)))),
        lambda: DenseCRF(3, (SpatialKernel(np.array([3.0, 4.0])),), Matrix(np.eye(3))),
    ],
)
def test_whatever_could_be_built_is_loaded_again(make: Any, tmp_path: Path) -> None:
    saved = Segmenter(unet(3, 3, padding="same", width=1), CLASSES, mean=MEAN, std=STD, refinement=make())
    saved.save(tmp_path)
    assert refinement_words(Segmenter.load(tmp_path).refinement, NETWORK) == refinement_words(saved.refinement, NETWORK)


def test_a_filter_of_another_class_is_not_saved() -> None:
    class Sieve(EmbeddingFilter):
        pass

    refinement = embedded()
    refinement.filter = Sieve()
    with pytest.raises(InputError, match="a Sieve cannot be saved"):
        refinement_words(refinement, NETWORK)


def test_huge_numbers_in_a_description_are_refused(tmp_path: Path) -> None:
    Segmenter(unet(3, 3, padding="same", width=1), CLASSES, mean=MEAN, std=STD).save(tmp_path)
    sound = (tmp_path / "config.json").read_text()
    for name, value in (("mean", [10**400] * 3), ("range", [0, 10**400])):
        plain = json.loads(sound)
        plain["segmenter"][name] = value
        (tmp_path / "config.json").write_text(json.dumps(plain))
        with pytest.raises(InputError, match=name):
            Segmenter.load(tmp_path)


def test_refine_wants_scores_of_the_image(tmp_path: Path) -> None:
    segmenter = Segmenter(unet(3, 3, padding="same", width=2), CLASSES, mean=MEAN, std=STD, refinement=DenseCRF(3))
    with pytest.raises(InputError, match=r"scores: wanted \(3, 8, 9\), received"):
        segmenter.refine(torch.zeros(3, 8, 8), torch.rand(3, 8, 9))
