from __future__ import annotations

import types
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.networks.adapted import Adapted, adapted, multiple_of
from densefield.protocols import all_scores, geometry
from densefield.segmenter import Segmenter
from drawing import seeded

CLASSES = ClassList(names=("sky", "road", "car"), colors=((0, 0, 255), (128, 128, 128), (255, 0, 0)))
IMAGE = torch.rand(2, 3, 13, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(seeded(0)))


class Halving(nn.Module):
    """Scores at stride 4 of images whose sides divide by 8, as others' encoders want them."""

    requires_divisible_input_shape = True
    stride, reach = 4, 10

    def __init__(self, says: Callable[[Tensor], object] = lambda scores: scores) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 3, 4, stride=4, dtype=torch.float64)
        self.encoder.output_stride = 8
        self.says = says

    def forward(self, image: Tensor) -> object:
        if image.shape[2] % 8 or image.shape[3] % 8:
            raise RuntimeError("Wrong input shape")
        return self.says(self.encoder(image))


def by_hand(network: Halving, image: Tensor) -> Tensor:
    """Mirrored by numpy, enlarged by a product with weights of its own, cut."""
    height, width = image.shape[2:]
    sides = ((0, 0), (0, 0), (0, -height % 8), (0, -width % 8))
    scores = network.encoder(torch.from_numpy(np.pad(image.numpy(), sides, mode="reflect"))).detach()

    def weights(count: int) -> Tensor:
        places = ((torch.arange(4 * count, dtype=torch.float64) + 0.5) / 4 - 0.5).clamp(0, count - 1)
        return (1 - (places[:, None] - torch.arange(count)).abs()).clamp(min=0)

    return (weights(scores.shape[2]) @ scores @ weights(scores.shape[3]).T)[:, :, :height, :width]


def test_images_are_mirrored_up_to_the_multiple_and_scores_enlarged_and_cut() -> None:
    network = Halving()
    torch.testing.assert_close(adapted(network, 3, multiple=8)(IMAGE), by_hand(network, IMAGE))
    assert adapted(network, 3, multiple=8)(IMAGE[:, :, :1, :1]).shape == (2, 3, 1, 1)


@pytest.mark.parametrize(
    "says",
    [
        lambda scores: {"out": scores, "loss": None},
        lambda scores: types.SimpleNamespace(logits=scores, loss=None),
        lambda scores: (scores, scores.mean(dim=(2, 3))),  # smp's second answer is of the whole image
        lambda scores: [scores],
    ],
)
def test_scores_are_found_in_what_libraries_answer(says: Callable[[Tensor], object]) -> None:
    network = Halving(says)
    wrapped = adapted(network, 3, multiple=8)
    torch.testing.assert_close(wrapped(IMAGE), by_hand(network, IMAGE))
    assert len(wrapped.all_scores(IMAGE)) == 1


@pytest.mark.parametrize(
    "says",
    [
        lambda scores: {"out": scores, "aux": 2 * functional.avg_pool2d(scores, 2)},
        lambda scores: (scores, 2 * functional.avg_pool2d(scores, 2), scores.mean(dim=(2, 3))),
    ],
)
def test_auxiliary_heads_are_learned_from_at_the_images_own_pixels(says: Callable[[Tensor], object]) -> None:
    wrapped = adapted(Halving(says), 3, multiple=8)
    (scores, first), (auxiliary, second) = all_scores(wrapped, IMAGE)
    assert (first, second) == (1, 1)
    assert scores.shape == auxiliary.shape == (2, 3, 13, 21)
    assert torch.equal(scores, wrapped(IMAGE))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"scores": torch.zeros(1, 3, 2, 2), "n": 1}, r"received dict with scores: \(1, 3, 2, 2\), n: int"),
        ((torch.zeros(1, 3), None), r"received tuple of \(1, 3\), NoneType"),
        (torch.zeros(1, 3), r"received a tensor \(1, 3\)"),
        (None, "received NoneType"),
        (torch.zeros(1, 2, 4, 4), r"wanted scores \(B, 3, h, w\), received \(1, 2, 4, 4\)"),
        (torch.zeros(1, 3, 90, 90), r"wanted scores of \(8, 8\) pixels or fewer, received \(90, 90\)"),
    ],
)
def test_any_other_answer_is_told_by_type_keys_and_shapes(answer: object, told: str) -> None:
    with pytest.raises(InputError, match=f"^network: .*{told}$"):
        adapted(Halving(lambda _scores: answer), 3, multiple=8)(torch.zeros(1, 3, 7, 8, dtype=torch.float64))


def test_an_image_of_other_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"image: wanted shape \(B, 3, H, W\), received \(1, 1, 8, 8\)"):
        adapted(Halving(), 3)(torch.zeros(1, 1, 8, 8))


def test_a_segmenter_adapts_by_itself() -> None:
    network = Halving(lambda scores: {"out": scores})
    segmenter = Segmenter(network, CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert isinstance(segmenter.network, Adapted)
    assert segmenter.network.multiple == 8
    torch.testing.assert_close(segmenter.scores(IMAGE), by_hand(network, IMAGE))
    already = adapted(network, 3, multiple=16)
    assert Segmenter(already, CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3).network is already


def test_tiles_of_an_adapted_network_are_the_whole() -> None:
    image = torch.rand(1, 3, 77, 90, dtype=torch.float64)
    scales = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    network = Halving()
    tiled = Segmenter(network, CLASSES, **scales, tile=48, overlap=network.reach)
    # Tiles begin at multiples of what the network states and of what it wants divided.
    assert geometry(tiled.network)[:3] == (0, 8, 10)
    assert len(list(tiled.score_tiles(image))) > 4
    torch.testing.assert_close(tiled.scores(image), Segmenter(network, CLASSES, **scales).scores(image))


def test_what_a_network_tells_of_sides_is_taken() -> None:
    assert multiple_of(Halving()) == 8
    assert multiple_of(nn.Conv2d(3, 3, 1)) == 1
    theirs = nn.Module()
    theirs.config = types.SimpleNamespace(model_type="segformer")
    assert multiple_of(theirs) == 32


def test_scores_that_are_no_numbers_give_no_labels() -> None:
    network = nn.Conv2d(3, 3, 1)
    nn.init.constant_(network.bias, torch.nan)
    with pytest.raises(InputError, match="network: its scores hold NaN"):
        Segmenter(network, CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3)(np.zeros((4, 5, 3), np.uint8))


@pytest.mark.filterwarnings("ignore")
def test_an_exported_file_pads_and_cuts_as_the_network_does() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from densefield.segmenter.export import check_export, export_onnx

    class Plain(nn.Module):
        requires_divisible_input_shape = True

        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Conv2d(3, 3, 4, stride=4)
            self.encoder.output_stride = 8

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return {"out": self.encoder(image)}

    segmenter = Segmenter(Plain(), CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3)
    found = check_export(segmenter, export_onnx(segmenter))
    assert any(side % 8 for size in found for side in size)
