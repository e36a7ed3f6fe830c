r"""PASCAL VOC by DeconvNet: crops of 224, 64 a step, 0.01 falling to a tenth every 10,000 of 40,000 steps.

Noh, Hong, Han, ICCV 2015, section 4.2, and table 1 (mean IoU on VOC 2012's test images: DeconvNet 69.6, with CRF 70.5);
momentum 0.9, decay 5e-4. The authors learn from boxes of single objects, then from boxes that proposals give, and take
the maximum over 50 boxes an image; here crops of whole images are seen at random, so their figures are not what to
expect. A step's 64 images are eight batches of eight.

    densefield weights import VGG_ILSVRC_16_layers.caffemodel --network.kind deconvnet --classes CLASSES --partial \
        --out START
    densefield train voc_deconvnet --data.root VOC --weights START
"""

from __future__ import annotations

from densefield import networks, training
from densefield.built import words
from densefield.recipes.voc import DATA, MEAN, STD
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Augmentation

voc_deconvnet = Recipe(
    name="voc_deconvnet",
    network=words(networks.deconvnet),
    data=DATA,
    stages=(
        Stage(
            steps=40_000,
            batch_size=8,
            accumulate=8,
            augmentation=Augmentation(crop=(224, 224), flip=True),
            optimizer=words(training.sgd, learning_rate=0.01, momentum=0.9, weight_decay=5e-4),
            schedule=words(training.step, every=10_000, gamma=0.1),
            validate_every=2000,
        ),
    ),
    mean=MEAN,
    std=STD,
)
