"""CamVid by SegNet as released: whole frames of 480×360 in batches of 4, 40,000 steps at 1e-3.

Badrinarayanan, Kendall, Cipolla, TPAMI 2017, section 4; by their published definition for Caffe: momentum 0.9, decay
5e-4, biases twice as fast, values from 0 to 255 without a mean, VGG-16's weights in the encoder. The class weights are
written there: they are not the median frequencies of the 367 frames (Sign 9.6446, counted 3.85). On the 233 test
frames, mean IoU 46.4 and pixel accuracy 62.5, as Jégou et al. 2017 quote them (table 3). Scales of normalisation do not
decay here.

    densefield weights import VGG_ILSVRC_16_layers.caffemodel --network.kind segnet --classes CLASSES --partial \\
        --mean 0 0 0 --std 0.00392156862745098 0.00392156862745098 0.00392156862745098 --out START
    densefield train camvid_segnet --data.root CAMVID --weights START
"""

from __future__ import annotations

from densefield import data, networks, training
from densefield.built import words
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Loss
from densefield.training import ParameterGroup

# Sky, Building, Pole, Road, Sidewalk, Tree, Sign, Fence, Car, Pedestrian, Bicyclist
CLASS_WEIGHTS = (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614)

camvid_segnet = Recipe(
    name="camvid_segnet",
    network=words(networks.segnet),
    data=words(data.CamVid),
    loss=Loss(class_weights=CLASS_WEIGHTS),
    stages=(
        Stage(
            steps=40_000,
            batch_size=4,
            optimizer=words(
                training.sgd,
                learning_rate=1e-3,
                momentum=0.9,
                weight_decay=5e-4,
                groups=(ParameterGroup(r"(?<!_bn)\.bias$", 2.0),),
            ),
            validate_every=1000,
        ),
    ),
    mean=(0.0, 0.0, 0.0),
    std=(1 / 255, 1 / 255, 1 / 255),
)
