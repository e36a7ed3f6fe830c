"""Networks of libraries as segmenters: any size, in tiles, saved, and loaded where there is no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import densefield
from densefield.classes import ClassList
from densefield.optional import declare_torchvision
from densefield.segmenter import Segmenter
from densefield.segmenter.description import NETWORKS

declare_torchvision()
for library in ("segmentation_models_pytorch", "timm", "torchvision", "transformers"):
    pytest.importorskip(library)
pytestmark = pytest.mark.filterwarnings("ignore")

CLASSES = ClassList(names=("sky", "road", "car"), colors=((0, 0, 255), (128, 128, 128), (255, 0, 0)))
RESNET = {"model_type": "resnet", "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "embedding_size": 8}
STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
THIN = {"decoder_channels": [16, 16, 8, 8, 8]}
USUAL: list[dict[str, Any]] = [
    {"kind": "smp", "encoder": "resnet18", "options": THIN},
    {"kind": "smp", "encoder": "resnet18", "options": {**THIN, "aux_params": {"classes": 4}}},
    {"kind": "smp", "arch": "FPN", "encoder": "mobilenet_v2", "options": {"decoder_dropout": 0.1}},
    {"kind": "smp", "arch": "Segformer", "encoder": "mit_b0"},
    {"kind": "smp", "encoder": "tu-tf_efficientnet_lite0", "options": THIN},
    {"kind": "torchvision", "name": "lraspp_mobilenet_v3_large"},
    {"kind": "torchvision", "name": "deeplabv3_mobilenet_v3_large", "options": {"aux_loss": True}},
    {"kind": "transformers", "config": {"model_type": "segformer", "depths": [1, 1, 1, 1]}},
    {
        "kind": "transformers",
        "config": {"model_type": "upernet", "hidden_size": 8, "backbone_config": {**RESNET, **STAGES}},
    },
    {"kind": "timm"},
    {"kind": "timm", "encoder": "resnet18", "head": "deeplab", "output_stride": 16, "width": 8},
]
AGAIN = """
import socket, sys, torch
def refused(*_arguments, **_named):
    raise OSError("a network was asked for")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from densefield import Segmenter
for place in sys.argv[2:]:
    segmenter = Segmenter.load(place)
    torch.save([segmenter(image) for image in torch.load(sys.argv[1])], place + "/labels.pt")
"""


def test_every_usual_model_says_the_same_in_a_fresh_process_without_a_network(tmp_path: Path) -> None:
    images = [torch.rand(3, *size) for size in ((1, 1), (90, 121), (200, 300))]
    torch.save(images, tmp_path / "images.pt")
    labels = {}
    for number, words in enumerate(USUAL):
        network = NETWORKS.build({**words, "num_classes": 3}, "here")
        segmenter = Segmenter(network, CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3, tile=160, overlap=32)
        place = tmp_path / str(number)
        segmenter.save(place)
        labels[place] = [segmenter(image) for image in images]
    home = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(densefield.__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-W", "ignore", "-c", AGAIN, str(tmp_path / "images.pt"), *map(str, labels)]
    ran = subprocess.run(command, env=home, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for place, before in labels.items():
        for one, other in zip(before, torch.load(place / "labels.pt"), strict=True):
            assert torch.equal(one, other)
