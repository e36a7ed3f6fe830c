r"""PASCAL VOC by fully convolutional networks: FCN-32s, then 16s, then 8s; FCN-8s at once; FCN-32s on AlexNet.

Long, Shelhamer, Darrell, CVPR 2015, table 2 (mean IoU on the 736 images of seg11valid: FCN-32s 59.4, FCN-16s 62.4,
FCN-8s 62.7) and table 1 (FCN-AlexNet 39.8); the released models of PAMI 2017: 63.6, 65.0, 65.5, at once 65.4, AlexNet
48.0. Whole images one at a time, the loss summed over pixels, momentum 0.99, 100,000 steps at 1e-10, 1e-12, 1e-14, each
network from the one before; at once in 300,000 at 1e-10; AlexNet by means over 20 images at 1e-4. Biases learn twice as
fast and do not decay. The authors learn from the 8,498 images of SBD; ours are the augmented set's (`recipes.voc`).

    densefield weights import VGG_ILSVRC_16_layers.caffemodel --network.kind fcn32s --classes CLASSES --partial \
        --out START
    densefield train voc_fcn32s --data.root VOC --weights START
    densefield weights import runs/voc_fcn32s/segmenter.safetensors --network.kind fcn16s --classes CLASSES --partial \
        --out START16
    densefield train voc_fcn16s --data.root VOC --weights START16

Three days a network on the authors' GPU.
"""

from __future__ import annotations

from densefield import networks, training
from densefield.built import words
from densefield.recipes.voc import BIASES, DATA, MEAN, STD
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Loss

FIRST = Stage(
    steps=100_000,
    batch_size=1,
    optimizer=words(training.sgd, learning_rate=1e-10, momentum=0.99, weight_decay=5e-4, groups=(BIASES,)),
    validate_every=4000,
)

voc_fcn32s = Recipe(
    name="voc_fcn32s",
    network=words(networks.fcn32s),
    data=DATA,
    loss=Loss(reduction="sum"),
    stages=(FIRST,),
    mean=MEAN,
    std=STD,
)


def _at(learning_rate: float) -> Stage:
    optimizer = words(training.sgd, learning_rate=learning_rate, momentum=0.99, weight_decay=5e-4, groups=(BIASES,))
    return FIRST.changed(optimizer=optimizer)


voc_fcn16s = voc_fcn32s.changed(name="voc_fcn16s", network=words(networks.fcn16s), stages=(_at(1e-12),))
voc_fcn8s = voc_fcn32s.changed(name="voc_fcn8s", network=words(networks.fcn8s), stages=(_at(1e-14),))
voc_fcn8s_at_once = voc_fcn32s.changed(
    name="voc_fcn8s_at_once", network=words(networks.fcn8s_at_once), stages=(FIRST.changed(steps=300_000),)
)
voc_fcn32s_alexnet = voc_fcn32s.changed(
    name="voc_fcn32s_alexnet",
    network=words(networks.fcn32s_alexnet),
    loss=Loss(),
    stages=(
        FIRST.changed(
            accumulate=20,
            optimizer=words(training.sgd, learning_rate=1e-4, momentum=0.9, weight_decay=5e-4, groups=(BIASES,)),
        ),
    ),
)
