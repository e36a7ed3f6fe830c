"""What is fuzzed: for each kind of file a sound one, and the function that must read it or refuse it in one line."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import tifffile
import torch
import yaml
from brushes import packed
from caffemodels import blob, caffemodel, layer
from mutations import altered, damaged
from PIL import Image

from densefield.classes import ClassList
from densefield.cli.guesses import Guess, scores_of
from densefield.data import voc
from densefield.data.imports import import_data
from densefield.images import read_image, read_labels
from densefield.images.listing import Picture
from densefield.networks import VGG, unet
from densefield.networks.pretrained import preprocessor
from densefield.recipes import find_recipe
from densefield.refine import DenseCRF
from densefield.runs.files import read_recipe
from densefield.segmenter import Segmenter
from densefield.segmenter.pixels import as_pixels
from densefield.training.checkpoints import AtomicCheckpointIO
from densefield.weights import import_weights, read_checkpoint

CLASSES = """classes:
  - {index: 0, name: road, color: [128, 64, 128]}
  - {index: 1, name: tree, color: "#008000"}
ignore_index: 255
ignore_colors: [[0, 0, 0]]
"""
RECIPE = """name: own
network: {kind: unet, padding: same, width: 2}
data: {kind: folder, root: data, val: 0.2}
loss: {cross_entropy: 1.0, dice: 1.0, class_weights: median_frequency}
refinement: {kind: dense_crf, theta_alpha: 50, theta_beta: 10, iterations: 5, learn: true}
stages:
  - epochs: 3
    batch_size: 2
    augmentation: {scale: [0.75, 1.5], rotation: 5, crop: [32, 32], flip: true, jitter: 0.2}
    optimizer: {kind: sgd, rate: 1e-2, weight_decay: 5e-4, groups: [{pattern: classifier, factor: 10}]}
    schedule: {kind: poly, power: 0.9}
seed: 0
"""


PREPROCESSOR = (
    b'{"do_rescale": true, "rescale_factor": 0.0039, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}'
)


@dataclasses.dataclass(frozen=True)
class Target:
    """One kind of input: `make(rng, folder)` writes a case, `read(path)` reads it; memory may grow by `mebibytes`."""

    make: Callable[[random.Random, Path], Path]
    read: Callable[[Path], object]
    mebibytes: int = 300


def targets() -> dict[str, Target]:
    """All targets by name."""
    pictures = {
        f"{what} of {name}": Target(_bytes(f"a.{name}", sound), read, 1200)
        for name, sound in _pictures().items()
        for what, read in (
            ("image", read_image),
            ("mask", lambda path: read_labels(path, ClassList(("a",), ((0, 0, 0),)))),
        )
    }
    recipe = yaml.safe_load(RECIPE)
    return {
        "checkpoint": Target(_repacked(_checkpoint()), read_checkpoint),
        "checkpoint of training": Target(_repacked(_checkpoint()), AtomicCheckpointIO().load_checkpoint),
        "checkpoint's bytes": Target(_bytes("a.ckpt", _checkpoint()), read_checkpoint),
        "old checkpoint": Target(_bytes("a.pth", _old_checkpoint()), read_checkpoint),
        "released checkpoint": Target(_bytes("a.pth", _old_checkpoint()), _imported),
        **{
            f"caffemodel V{age}": Target(_bytes("a.caffemodel", _caffemodel(age, packed)), _imported)
            for age, packed in ((0, True), (1, False), (2, True))
        },
        "scores": Target(_bytes("a.npy", _npy()), lambda path: scores_of(Guess(Picture(path), scores=True), (6, 7))),
        "scores as npz": Target(
            _bytes("a.npy", _npz()), lambda path: scores_of(Guess(Picture(path), scores=True), (6, 7))
        ),
        "classes": Target(_bytes("classes.yaml", CLASSES.encode()), ClassList.read),
        "classes' values": Target(_tree("classes.yaml", yaml.safe_load(CLASSES), _yaml), ClassList.read),
        "VOC's list": Target(_voc, lambda path: voc(root=str(path.parents[2]))),
        "recipe": Target(_bytes("recipe.yaml", RECIPE.encode()), read_recipe),
        "recipe's values": Target(_tree("recipe.yaml", recipe, _yaml), read_recipe),
        "recipe's flags": Target(_bytes("flag.txt", b"--stages.0.optimizer.rate 1e-3 --seed 4"), _flags),
        "preprocessor": Target(_bytes("a.json", PREPROCESSOR), preprocessor),
        "preprocessor's values": Target(
            _tree("a.json", json.loads(PREPROCESSOR), lambda value: json.dumps(value).encode()), preprocessor
        ),
        "segmenter's description": Target(_described(), _segmented),
        "segmenter's tensors": Target(_bytes("a.safetensors", _segmenter()[0]), Segmenter.load),
        "labelme's file": Target(_bytes("a.json", json.dumps(_labelme()).encode()), _as("labelme")),
        "labelme's values": Target(_tree("a.json", _labelme(), _json), _as("labelme")),
        "CVAT's label map": Target(_bytes("labelmap.txt", b"# a:b\nsky:0,0,0::\ncat:250,50,83::\n"), _as("cvat")),
        "Roboflow's classes": Target(_bytes("_classes.csv", b"Pixel Value, Class\n0, sky\n1, cat\n"), _as("roboflow")),
        "Label Studio's values": Target(_tree("a.json", _label_studio(), _json), _as("label_studio")),
        "COCO's values": Target(_tree("a.json", _coco(), _json), _as("coco")),
        **{f"SBD's {kind} labels": Target(_mat(kind == "packed"), _as("sbd")) for kind in ("packed", "plain")},
        **pictures,
        "picture in memory": Target(_bytes("a.exif", _orientation()), _turned),
    }


def _bytes(name: str, sound: bytes) -> Callable[[random.Random, Path], Path]:
    def make(rng: random.Random, folder: Path) -> Path:
        (folder / name).write_bytes(damaged(sound, rng))
        return folder / name

    return make


def _tree(name: str, sound: Any, write: Callable[[Any], bytes]) -> Callable[[random.Random, Path], Path]:
    def make(rng: random.Random, folder: Path) -> Path:
        (folder / name).write_bytes(write(altered(sound, rng)))
        return folder / name

    return make


def _voc(rng: random.Random, folder: Path) -> Path:
    """VOC's folders with a list in both its forms."""
    for place in ("JPEGImages/a.jpg", "SegmentationClass/a.png", "ImageSets/Segmentation/train.txt"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).touch()
    (folder / place).write_bytes(damaged(b"a\n/JPEGImages/a.jpg /SegmentationClass/a.png\n", rng))
    return folder / place


def _yaml(tree: Any) -> bytes:
    return yaml.safe_dump(tree).encode()


def _checkpoint() -> bytes:
    file = io.BytesIO()
    state = {"weight": torch.arange(6.0).reshape(2, 3), "epoch": 3, "names": ["a", "b"], "bias": torch.zeros(2)}
    torch.save(state, file)
    return file.getvalue()


def _old_checkpoint() -> bytes:
    file = io.BytesIO()
    state = {"features.0.weight": torch.ones(2, 3, 3, 3), "features.0.bias": torch.arange(6.0)[::3]}
    torch.save({"state_dict": state, "epoch": 3}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def _caffemodel(age: int, packed: bool) -> bytes:
    blobs = [blob(np.ones((2, 3, 3, 3)), packed=packed, older=age < 2), blob(np.ones(2), packed=packed, double=True)]
    layers = [layer("conv1_1", "Convolution", blobs, age=age, reads="data")]
    if age == 2:
        layers += [
            layer("bn", "BatchNorm", [blob([1, 2]), blob([1, 2]), blob([3])]),
            layer("scale", "Scale", blobs[1:] * 2),
        ]
    return caffemodel(*layers)


def _imported(path: Path) -> object:
    torch.manual_seed(0)
    network = VGG(width=2, blocks=(1,), batch_norm=path.suffix == ".caffemodel" and b"BatchNorm" in path.read_bytes())
    return import_weights(network, path, partial=True)


def _repacked(sound: bytes) -> Callable[[random.Random, Path], Path]:
    """The archive is whole, one of its entries is damaged: checksums would hide the unpickler from plain damage."""

    def make(rng: random.Random, folder: Path) -> Path:
        with zipfile.ZipFile(io.BytesIO(sound)) as old, zipfile.ZipFile(folder / "a.ckpt", "w") as new:
            names = old.namelist()
            chosen = rng.choice([name for name in names if name.endswith("data.pkl")] * 4 + names)
            for name in names:
                data = old.read(name)
                new.writestr(name, damaged(data, rng) if name == chosen else data)
        return folder / "a.ckpt"

    return make


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).normal(size=(2, 6, 7)).astype(np.float32))
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, scores=np.zeros((2, 6, 7), np.float32))
    return file.getvalue()


def _pictures() -> dict[str, bytes]:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8))
    grey = Image.fromarray(np.arange(99, dtype=np.uint8).reshape(9, 11))
    wide = Image.fromarray(600 * np.arange(99, dtype=np.uint16).reshape(9, 11))
    sound = {}
    for name, picture, options in (
        ("png", pixels.quantize(8), {}),
        ("jpg", pixels, {"exif": _orientation()}),
        ("tif", wide, {"compression": "tiff_lzw"}),
        ("tiff", pixels, {"compression": "raw"}),
        ("gif", grey, {}),
        ("bmp", grey, {}),
        ("webp", pixels, {"lossless": True}),
    ):
        file = io.BytesIO()
        picture.save(file, Image.registered_extensions()[f".{name}"], **options)
        sound[name] = file.getvalue()
    colors = np.repeat(np.random.default_rng(1).integers(0, 65536, (9, 11, 1), np.uint16), 3, 2)
    file = io.BytesIO()
    tifffile.imwrite(file, colors, photometric="rgb", compression="zlib")
    sound["wide.tif"] = file.getvalue()
    return sound


def _json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _as(format: str) -> Callable[[Path], object]:
    """Reads by importing the file, or its folder, with an image and a mask wherever one is looked for."""

    def read(path: Path) -> object:
        for place in ("a.png", "a_mask.png", "JPEGImages/a.png", "SegmentationClass/a.png"):
            (path.parent / place).parent.mkdir(exist_ok=True)
            Image.new("RGB", (11, 9)).save(path.parent / place)
        return import_data(path.parent, format, path.parent / "out")

    return read


def _labelme() -> dict[str, Any]:
    stamp = base64.b64encode(_pictures()["bmp"]).decode()
    shapes = [
        {"label": "cat", "points": [[0, 0], [5, 0.5], [4, 6]], "shape_type": "polygon"},
        {"label": "cat", "points": [[1, 1], [3, 2]], "shape_type": "circle"},
        {"label": "dog", "points": [[1, 1], [3, 2]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[0, 0], [8, 6]], "shape_type": "mask", "mask": stamp},
    ]
    return {"shapes": shapes, "imagePath": "a.png", "imageHeight": 9, "imageWidth": 11, "imageData": None}


def _label_studio() -> list[Any]:
    values = [
        ("polygonlabels", {"points": [[10, 10], [90, 20], [50, 80]]}),
        ("rectanglelabels", {"x": 10, "y": 10, "width": 20, "height": 30, "rotation": 10}),
        ("ellipselabels", {"x": 50, "y": 50, "radiusX": 20, "radiusY": 30, "rotation": 10}),
        ("brushlabels", {"format": "rle", "rle": packed(np.eye(9, 11, dtype=bool))}),
    ]
    results = [
        {"type": kind, "original_width": 11, "original_height": 9, "value": {**value, kind: ["cat"]}}
        for kind, value in values
    ]
    return [{"annotations": [{"result": results}], "data": {"image": "/data/local-files/?d=JPEGImages/a.png"}}]


def _coco() -> dict[str, Any]:
    parts: list[Any] = [
        [[0, 0, 5, 0.5, 4, 6], [1, 1, 3, 1, 3, 3]],
        {"size": [9, 11], "counts": [10, 20, 69]},
        {"size": [9, 11], "counts": ":d0U2"},
    ]
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 9, "width": 11}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"image_id": 7, "category_id": 3, "segmentation": part, "iscrowd": 0} for part in parts],
    }


def _mat(packed: bool) -> Callable[[random.Random, Path], Path]:
    file = io.BytesIO()
    scipy.io.savemat(file, {"GTcls": {"Segmentation": np.eye(9, 11, dtype=np.uint8)}}, do_compression=packed)

    def make(rng: random.Random, folder: Path) -> Path:
        for place in ("cls", "img"):
            (folder / place).mkdir()
        Image.new("RGB", (11, 9)).save(folder / "img" / "a.png")
        (folder / "cls" / "a.mat").write_bytes(damaged(file.getvalue(), rng))
        return folder / "cls"

    return make


def _orientation() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    return exif.tobytes()


def _segmented(path: Path) -> object:
    return Segmenter.load(path)(Image.new("RGB", (21, 20)))


def _turned(path: Path) -> object:
    """A Pillow image, never in a file, whose EXIF block is damaged."""
    picture = Image.new("RGB", (5, 4))
    picture.info["exif"] = path.read_bytes()
    return as_pixels(picture)


def _flags(path: Path) -> object:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return find_recipe("sample_deeplab_crf", text.split())


def _segmenter() -> tuple[bytes, dict[str, Any]]:
    """A saved segmenter's file of tensors, and its description."""
    torch.manual_seed(0)
    classes = ClassList(("a", "b"), ((0, 0, 0), (9, 9, 9)))
    segmenter = Segmenter(unet(2, 3, padding="same", width=1), classes, mean=(0.5,) * 3, std=(0.2,) * 3)
    segmenter.refinement = DenseCRF(2, iterations=2, learn_widths=True)
    with tempfile.TemporaryDirectory() as folder:
        segmenter.save(Path(folder) / "a.safetensors")
        return (Path(folder) / "a.safetensors").read_bytes(), json.loads((Path(folder) / "a.json").read_text())


def _described() -> Callable[[random.Random, Path], Path]:
    tensors, words = _segmenter()

    def make(rng: random.Random, folder: Path) -> Path:
        (folder / "a.safetensors").write_bytes(tensors)
        (folder / "a.json").write_text(json.dumps(altered(words, rng)))
        return folder / "a.safetensors"

    return make
