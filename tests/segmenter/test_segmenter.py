from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from densefield import networks
from densefield.built import Kinds, described
from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.images.bands import Reading
from densefield.networks.fc_densenet import FCDenseNet
from densefield.refine import DenseCRF
from densefield.segmenter import Segmenter, description
from densefield.segmenter.description import SegmenterConfig
from densefield.segmenter.pixels import as_pixels
from densefield.weights import read_tensors, write_tensors

CLASSES = ClassList(names=("sky", "road", "car"), colors=((0, 0, 255), (128, 128, 128), (255, 0, 0)))
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class Tiny(nn.Module):
    """Two convolutions with batch normalisation between them; a score sees two pixels around it."""

    margin, stride, reach = 0, 1, 2

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.num_classes, self.in_channels = num_classes, in_channels
        self.first, self.norm = nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.dropout, self.last = nn.Dropout(0.5), nn.Conv2d(4, num_classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.dropout(functional.relu(self.norm(self.first(image)))))


class Remembers(nn.Module):
    """A refinement with a tensor of its own, for images of three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([0.0, 5.0, 0.0]))

    def forward(self, scores: Tensor, image: Tensor) -> Tensor:
        assert image.shape == (scores.shape[0], 3, *scores.shape[2:])
        return scores + self.shift[:, None, None] * image.mean(dim=1, keepdim=True)


@described()
def tiny(num_classes: int, in_channels: int = 3) -> Tiny:
    return Tiny(num_classes, in_channels)


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    known = Kinds([*description.NETWORKS.builders.values(), tiny])
    monkeypatch.setattr(description, "NETWORKS", known)


def segmenter(dtype: torch.dtype = torch.float32, **arguments: Any) -> Segmenter:
    network = tiny(3).to(dtype)
    network.norm.running_mean = torch.rand(4, dtype=dtype)
    return Segmenter(network, CLASSES, mean=MEAN, std=STD, **arguments)


@pytest.fixture
def photo() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)


def by_hand(whole: Segmenter, photo: np.ndarray[Any, Any]) -> Tensor:
    """The network's scores in evaluation mode, computed without the segmenter's own code."""
    scaled = (photo / 255 - np.array(MEAN)) / np.array(STD)
    whole.network.eval()
    with torch.no_grad():
        return whole.network(torch.tensor(scaled, dtype=whole.network.last.weight.dtype).permute(2, 0, 1)[None])[0]


def test_every_form_of_an_image_gives_the_same_labels(photo: np.ndarray[Any, Any], tmp_path: Path) -> None:
    whole = segmenter(torch.float64)
    Image.fromarray(photo).save(tmp_path / "a.png")
    tensor = torch.from_numpy(photo).permute(2, 0, 1).double() / 255
    scores = by_hand(whole, photo)
    for image in (photo, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(photo), tensor):
        torch.testing.assert_close(whole.scores(image), scores)
        labels = whole(image)
        assert labels.dtype == torch.int64
        assert labels.tolist() == scores.argmax(dim=0).tolist()
    batch = whole(torch.stack([tensor, tensor.flip(2)]))
    assert batch.shape == (2, 13, 17)
    assert batch[0].tolist() == whole(tensor).tolist()
    assert batch[1].tolist() == whole(tensor.flip(2)).tolist()
    assert whole.scores(tensor[None]).shape == (1, 3, 13, 17)


def test_rotation_palette_and_alpha_follow_the_rules_of_files(photo: np.ndarray[Any, Any], tmp_path: Path) -> None:
    whole = segmenter()
    picture = Image.fromarray(photo)
    picture.getexif()[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=picture.getexif())
    with Image.open(tmp_path / "turned.png") as turned:
        assert torch.equal(whole(turned), whole(np.ascontiguousarray(np.rot90(photo, -1))))
    plain = Image.fromarray(photo)
    for picture in (plain.quantize(7), plain.convert("RGBA"), Image.new("I;16", (9, 8))):
        picture.save(tmp_path / "a.png")
        assert whole(picture).tolist() == whole(tmp_path / "a.png").tolist()


def test_a_broken_rotation_entry_says_nothing_about_the_pixels(photo: np.ndarray[Any, Any]) -> None:
    picture = Image.fromarray(photo)
    picture.info["exif"] = b"Exif\x001MM damaged"
    np.testing.assert_array_equal(as_pixels(picture).values, as_pixels(photo).values)


def test_grey_networks_read_luminance(photo: np.ndarray[Any, Any]) -> None:
    network = tiny(3, in_channels=1).double()
    grey = Segmenter(network, CLASSES, mean=[0.5], std=[0.25])
    light = torch.tensor(photo @ np.array([0.299, 0.587, 0.114]) / 255)
    with torch.no_grad():
        expected = network.eval()((light[None, None] - 0.5) / 0.25)[0]
    torch.testing.assert_close(grey.scores(photo), expected)
    torch.testing.assert_close(grey.scores(light[None]), expected)
    alike = np.repeat(photo[:, :, :1], 3, axis=2)
    torch.testing.assert_close(grey.scores(photo[:, :, 0]), grey.scores(alike))


@pytest.mark.parametrize(("tile", "overlap"), [(7, None), (8, 2), (9, 3), (17, None), (12, 5)])
def test_tiles_equal_the_whole(photo: np.ndarray[Any, Any], tile: int, overlap: int | None) -> None:
    tiled = segmenter(torch.float64, tile=tile, overlap=2 if overlap is None else overlap)
    whole = by_hand(tiled, photo)
    torch.testing.assert_close(tiled.scores(photo), whole)
    tiles = list(tiled.score_tiles(photo))
    assert (len(tiles) == 1) == (tile == 17)
    for top, left, scores in tiles:
        place = whole[None, :, top : top + scores.shape[2], left : left + scores.shape[3]]
        torch.testing.assert_close(scores, place)
    assert tiled(photo).tolist() == whole.argmax(dim=0).tolist()


@pytest.mark.parametrize(("size", "tile"), [((97, 150), 80), ((101, 79), 76)])
def test_tiles_of_a_dense_network_equal_the_whole(size: tuple[int, int], tile: int) -> None:
    network = FCDenseNet(3, layers=(2, 1, 1, 1, 2), growth_rate=4, first_channels=6).double()
    network.train()
    network(torch.rand(2, 3, 32, 32, dtype=torch.float64))
    image = torch.rand(3, *size, dtype=torch.float64)
    whole = Segmenter(network, CLASSES, mean=MEAN, std=STD, tile=1000).scores(image)
    tiled = Segmenter(network, CLASSES, mean=MEAN, std=STD, tile=tile, overlap=network.reach)
    assert len(list(tiled.score_tiles(image))) > 1
    torch.testing.assert_close(tiled.scores(image), whole)


def test_tiles_of_the_papers_unet_equal_the_mirrored_whole() -> None:
    network = networks.unet(3, width=2).double()
    image = torch.rand(1, 70, 90, dtype=torch.float64)
    whole = Segmenter(network, CLASSES, mean=[0.5], std=[0.25], tile=1000).scores(image)
    padded = np.pad(image.numpy(), ((0, 0), (92, 92 + 14), (92, 92 + 10)), mode="reflect")  # sides 16 k + 12
    with torch.no_grad():
        expected = network.eval()((torch.from_numpy(padded)[None] - 0.5) / 0.25)[0, :, :70, :90]
    torch.testing.assert_close(whole, expected)
    tiled = Segmenter(network, CLASSES, mean=[0.5], std=[0.25], tile=210)
    assert len(list(tiled.score_tiles(image))) > 4
    torch.testing.assert_close(tiled.scores(image), whole)


def test_large_images_are_tiled_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    network = nn.Conv2d(3, 3, 1)
    network.register_forward_hook(lambda _module, inputs, _output: sizes.append(tuple(inputs[0].shape[2:])))
    large = Segmenter(network, CLASSES, mean=MEAN, std=STD)
    large(np.zeros((1000, 2000, 3), np.uint8))
    assert sizes == [(1000, 2000)]
    large(np.zeros((1100, 2000, 3), np.uint8))
    assert len(sizes) > 2
    assert max(max(size) for size in sizes[1:]) == 1024


def test_refinement_sees_the_whole_image_in_its_own_colors(photo: np.ndarray[Any, Any]) -> None:
    refined = segmenter(torch.float64, refinement=Remembers(), tile=8, overlap=2)
    plain = by_hand(refined, photo)
    expected = plain + torch.tensor([0.0, 5.0, 0.0])[:, None, None] * torch.tensor(photo / 255).mean(dim=2)
    torch.testing.assert_close(refined.scores(photo), expected)
    assert len(list(refined.score_tiles(photo))) == 1


def test_dropout_sleeps_and_each_part_gets_its_mode_back(photo: np.ndarray[Any, Any]) -> None:
    whole = segmenter()
    whole.train()
    whole.network.norm.eval()
    assert torch.equal(whole.scores(photo), whole.scores(photo))
    assert whole.network.dropout.training
    assert not whole.network.norm.training


def test_scores_can_be_learned_from(photo: np.ndarray[Any, Any]) -> None:
    shift = torch.zeros(3, 1, 1, requires_grad=True)
    for _, _, scores in segmenter().score_tiles(photo):
        (scores * shift).sum().backward()
    assert shift.grad is not None


def test_coarse_scores_are_enlarged(photo: np.ndarray[Any, Any]) -> None:
    coarse = Segmenter(nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 3, 1)), CLASSES, mean=MEAN, std=STD)
    scores = coarse.scores(photo)
    assert scores.shape == (3, 13, 17)
    assert len(torch.unique(scores)) > 12


@pytest.mark.parametrize("name", ["model", "a.safetensors"])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_saved_and_loaded_it_says_the_same(
    name: str, dtype: torch.dtype | None, photo: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    saved = segmenter(tile=11, overlap=2)
    saved.save(tmp_path / name, dtype=dtype)
    state = torch.get_rng_state()
    loaded = Segmenter.load(tmp_path / name)
    assert torch.equal(torch.get_rng_state(), state)
    assert (loaded.classes, loaded.mean, loaded.std) == (CLASSES, MEAN, STD)
    assert (loaded.tile, loaded.overlap) == (11, 2)
    assert not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    saved.network.to(dtype).float()  # rounds what the file rounded, and nothing else
    assert torch.equal(loaded.scores(photo), saved.scores(photo))
    loaded.save(tmp_path / "again")
    assert torch.equal(Segmenter.load(tmp_path / "again").scores(photo), loaded.scores(photo))


def test_the_safetensors_file_loads_alone(photo: np.ndarray[Any, Any], tmp_path: Path) -> None:
    saved = segmenter()
    saved.save(tmp_path / "a.safetensors")
    (tmp_path / "a.json").unlink()
    assert Segmenter.load(tmp_path / "a.safetensors")(photo).tolist() == saved(photo).tolist()


def test_a_run_folder_loads(photo: np.ndarray[Any, Any], tmp_path: Path) -> None:
    saved = segmenter()
    saved.save(tmp_path / "segmenter.safetensors")
    assert Segmenter.load(tmp_path)(photo).tolist() == saved(photo).tolist()


def test_the_hubs_mixin_works_offline(
    photo: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_arguments: object, **_named: object) -> None:
        raise AssertionError("no network here")

    monkeypatch.setattr("socket.socket.connect", offline)
    saved = segmenter()
    saved.save_pretrained(tmp_path / "hub")
    assert {p.name for p in (tmp_path / "hub").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert "image-segmentation" in (tmp_path / "hub" / "README.md").read_text()
    loaded = Segmenter.from_pretrained(tmp_path / "hub")
    assert loaded(photo).tolist() == saved(photo).tolist()
    with pytest.raises(InputError, match="takes no tile"):
        Segmenter.from_pretrained(tmp_path / "hub", tile=3)


def test_push_to_hub_uploads_what_load_reads(
    photo: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Hub:
        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, repo_id: str, **_: object) -> Any:
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, folder_path: Path, **_: object) -> str:
            seen.append(Segmenter.load(folder_path))
            return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    saved = segmenter()
    assert saved.push_to_hub("somebody/streets") == "done"
    assert seen[0](photo).tolist() == saved(photo).tolist()


def test_a_refinement_is_asked_for_again(photo: np.ndarray[Any, Any], tmp_path: Path) -> None:
    saved = segmenter(refinement=Remembers())
    nn.init.constant_(saved.refinement.shift, -3.0)
    saved.save(tmp_path)
    with pytest.raises(InputError, match="was saved with a Remembers; pass it as refinement=, received None"):
        Segmenter.load(tmp_path)
    loaded = Segmenter.load(tmp_path, refinement=Remembers())
    assert torch.equal(loaded.scores(photo), saved.scores(photo))


def test_of_a_strangers_network_the_file_has_the_tensors_and_another_is_handed_over(
    photo: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    foreign = Segmenter(nn.Conv2d(3, 3, 1), CLASSES, mean=MEAN, std=STD)
    foreign.save(tmp_path)
    with pytest.raises(InputError, match=r"unknown network 'torch.nn.modules.conv.Conv2d'; .* takes as network=$"):
        Segmenter.load(tmp_path)
    loaded = Segmenter.load(tmp_path, network=nn.Conv2d(3, 3, 1))
    assert torch.equal(loaded.scores(photo), foreign.scores(photo))
    with pytest.raises(InputError, match=r"model.safetensors: .*network.model.weight"):
        Segmenter.load(tmp_path, network=nn.Conv2d(3, 3, 3))


def damaged(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A saved segmenter whose description was changed."""
    segmenter().save(tmp_path / "a.safetensors")
    description = json.loads((tmp_path / "a.json").read_text())
    change(description["segmenter"])
    (tmp_path / "a.json").write_text(json.dumps(description))
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(network="os.system"), "unknown network 'os.system'; wanted one of .*tiny"),
        (lambda d: d.update(network="annotations"), "unknown network"),
        (
            lambda d: d["arguments"].update(layers=3),
            "arguments: layers: tiny does not take it|arguments: unknown key 'layers'",
        ),
        (lambda d: d["arguments"].update(num_classes="3"), "arguments: num_classes: .*integer, received '3'"),
        (lambda d: d["arguments"].update(num_classes=10**12), "classes: wanted 1000000000000|does not accept"),
        (lambda d: d["arguments"].update(in_channels=10**6), "mean: wanted 1000000 values"),
        (lambda d: d.update(network=["tiny"]), "network: wanted a name"),
        (lambda d: d.update(extra=1), "unknown field 'extra'"),
        (lambda d: d.pop("mean"), "misses the field 'mean'"),
        (lambda d: d.update(mean=[0.5, None, 0.1]), "mean: wanted a list of finite numbers"),
        (lambda d: d.update(std=[0.5, 0.0, 0.1]), "std: wanted positive values"),
        (lambda d: d.update(tile=-4), "tile: wanted a whole number"),
        (lambda d: d.update(classes={"classes": []}), "classes: "),
        (lambda d: d.update(classes=7), "classes: "),
        (lambda d: d["classes"]["classes"].pop(), "classes: wanted 3 for this network, received 2"),
    ],
)
def test_a_wrong_description_is_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = damaged(tmp_path, change)
    with pytest.raises(InputError, match=message) as caught:
        Segmenter.load(path)
    assert str(caught.value).startswith(str(tmp_path / "a.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scaling", [{"mean": (0.5, float("nan"), 0.1)}, {"std": (0.5, float("inf"), 0.1)}])
def test_scaling_that_is_no_number_is_refused_before_it_is_saved(scaling: dict[str, Any]) -> None:
    given = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)} | scaling
    with pytest.raises(InputError, match=f"{next(iter(scaling))}: wanted "):
        Segmenter(networks.unet(3, 3, width=1), CLASSES, **given)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"segmenter": 1}', '{"format": "other"}', "\xff", "[" * 9999])
def test_a_damaged_description_is_one_line(tmp_path: Path, text: str) -> None:
    path = damaged(tmp_path, lambda _: None)
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"a\.json: ") as caught:
        Segmenter.load(path)
    assert "\n" not in str(caught.value)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = damaged(tmp_path, lambda _: None)
    tensors, header = read_tensors(path)
    write_tensors(path, {**tensors, "network.last.bias": torch.zeros(4)}, header)
    with pytest.raises(InputError, match=r"tensor network\.last\.bias: wanted shape \(3,\), received \(4,\)"):
        Segmenter.load(path)
    write_tensors(path, {}, header)
    with pytest.raises(InputError, match="misses 9 tensors"):
        Segmenter.load(path)


def test_what_is_no_segmenter_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no segmenter; wanted model\.safetensors or segmenter\.safetensors"):
        Segmenter.load(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        Segmenter.load(tmp_path / "none")
    (tmp_path / "a.ckpt").touch()
    with pytest.raises(InputError, match=r"a\.ckpt: wanted a \.safetensors file"):
        Segmenter.load(tmp_path / "a.ckpt")
    write_tensors(tmp_path / "b.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(InputError, match=r"b\.safetensors: holds no description of a segmenter"):
        Segmenter.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), r"received float64 \(4, 4, 3\)"),
        (np.zeros((4, 4, 2), np.uint8), r"received uint8 \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"received uint8 \(0, 4, 3\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), r"received torch.uint8 \(3, 4, 4\)"),
        (torch.zeros(4, 4), r"received torch.float32 \(4, 4\)"),
        (torch.full((3, 4, 4), 255.0), r"float values in \[0, 1\], received 255 to 255"),
        (torch.full((3, 4, 4), float("nan")), "received nan to nan"),
        (torch.zeros(2, 4, 4), "wanted 3 channels for this network, received 2"),
        (7, "received int"),
    ],
)
def test_images_of_another_kind_are_named(image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmenter()(image)


def test_arguments_that_do_not_fit_are_named(photo: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InputError, match="mean: wanted 3 values, one a channel, received 1"):
        Segmenter(tiny(3), CLASSES, mean=[0.5], std=STD)
    with pytest.raises(InputError, match="classes: wanted 4 for this network, received 3"):
        Segmenter(tiny(4), CLASSES, mean=MEAN, std=STD)
    with pytest.raises(InputError, match=r"network: wanted scores \(B, 3, h, w\), received \(1, 5, 13, 17\)"):
        Segmenter(nn.Conv2d(3, 5, 1), CLASSES, mean=MEAN, std=STD)(photo)
    with pytest.raises(InputError, match=r"tile: wanted at least 9 .*received 8"):
        segmenter(tile=8, overlap=4)(photo)
    with pytest.raises(InputError, match=r"tile: wanted a whole number, 1 or more, received 9\.5"):
        segmenter(tile=9.5)(photo)
    with pytest.raises(InputError, match="overlap: wanted 0 or more, received -1"):
        segmenter(tile=20, overlap=-1)(photo)


def test_what_would_not_be_a_segmenter_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dtype: wanted a floating-point type, .* received torch\.int8"):
        segmenter().save(tmp_path / "a.safetensors", dtype=torch.int8)
    with pytest.raises(InputError, match=r"a\.pt: wanted a \.safetensors file, or a folder"):
        segmenter().save(tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


def of_mode(mode: str) -> Image.Image:
    """A small picture of a Pillow mode; of wide ones with values that need no range."""
    grey = Image.fromarray(np.arange(0, 240, 4, dtype=np.uint8).reshape(6, 10))
    if mode.startswith("I;16"):
        order = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, grey.size, (np.asarray(grey).astype(np.uint16) * 257).astype(order).tobytes())
    if mode == "F":
        return Image.fromarray(np.asarray(grey, np.float32) / 255)
    if mode in ("La", "RGBa"):
        return grey.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode in ("HSV", "LAB", "CMYK", "YCbCr"):
        return grey.convert("RGB").convert(mode) if mode != "LAB" else Image.new("LAB", grey.size, (200, 128, 128))
    if mode == "PA":
        return grey.convert("P").convert("PA")
    return grey.convert(mode)


@pytest.mark.parametrize(
    "mode",
    [
        "1",
        "L",
        "P",
        "RGB",
        "RGBA",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
        "F",
        "LA",
        "PA",
        "RGBX",
        "RGBa",
        "La",
        "I;16",
        "I;16B",
    ],
)
@pytest.mark.filterwarnings("error")
def test_every_mode_of_pillow_is_read(mode: str) -> None:
    picture = of_mode(mode)
    assert picture.mode == mode
    pixels = as_pixels(picture).values
    assert pixels.shape == (1, 3, 6, 10)
    if mode not in ("1", "LAB", "CMYK", "YCbCr", "HSV"):
        wanted = np.arange(0, 240, 4).reshape(6, 10)
        np.testing.assert_allclose(pixels[0, 0].numpy(), wanted, atol=1)


def test_integers_of_32_bits_need_a_range() -> None:
    picture = Image.fromarray(np.arange(60, dtype=np.int32).reshape(6, 10) * 100)
    with pytest.raises(InputError, match="image: holds int32 values from 0 to 5900, and nothing says which are black"):
        as_pixels(picture)
    assert as_pixels(picture, Reading(range=(0, 5900))).values.max() == 255


@pytest.mark.filterwarnings("error")
def test_read_only_arrays_are_read_without_a_warning(photo: np.ndarray[Any, Any]) -> None:
    fixed = photo.copy()
    fixed.flags.writeable = False
    whole = segmenter()
    assert torch.equal(whole(fixed), whole(photo))
    assert torch.equal(whole(fixed[::-1]), whole(photo[::-1].copy()))


def test_values_bands_and_range_are_saved(tmp_path: Path) -> None:
    classes = ClassList.from_dict(["back", {"name": "cell", "value": 255}])
    network = networks.unet(2, 3, padding="same", width=2)
    whole = Segmenter(network, classes, mean=(0.0,) * 3, std=(1.0,) * 3, reading=Reading((4, 3, 2), (0.0, 4095.0)))
    whole.save(tmp_path / "s.safetensors")
    again = Segmenter.load(tmp_path / "s.safetensors")
    assert again.classes.values == (0, 255)
    assert again.reading == Reading((4, 3, 2), (0.0, 4095.0))
    bands = np.full((16, 16, 4), 4095, np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", bands, photometric="minisblack", planarconfig="contig")
    assert again(tmp_path / "b.tif").shape == (16, 16)
    text = (tmp_path / "s.json").read_text().replace('"bands": [\n      4,', '"bands": [\n      0,')
    with pytest.raises(InputError, match=r"s\.json: bands, range: bands: wanted one or three numbers"):
        SegmenterConfig.from_json(text, "s.json")


def test_a_dense_crf_takes_the_pixels_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    classes = ClassList(names=["a", "b"], colors=[(0, 0, 0), (1, 1, 1)])
    crf = DenseCRF(2)
    taken = []
    monkeypatch.setattr(crf, "forward", lambda scores, pixels: taken.append(pixels) or scores)
    network = networks.unet(2, 3, width=1, padding="same")
    Segmenter(network, classes, mean=MEAN, std=STD, refinement=crf).scores(image)
    assert torch.equal(taken[0], torch.from_numpy(image).permute(2, 0, 1)[None])
