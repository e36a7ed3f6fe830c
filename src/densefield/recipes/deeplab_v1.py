r"""PASCAL VOC by DeepLab's first networks: fc6 of 7×7, 4×4 (rates 4 and 8) and 3×3 taps (LargeFOV).

Chen, Papandreou, Kokkinos, Murphy, Yuille, ICLR 2015, tables 1 and 2, mean IoU on VOC 2012's 1,449 validation images,
without and with the dense CRF: 7×7 64.38, 67.64; 4×4 at rate 4 59.80, 63.74; 4×4 at rate 8 (with it) 67.14; LargeFOV
62.25, 67.64. Section 4.1: momentum 0.9, decay 5e-4, 1e-3 falling to a tenth every 2,000 steps of 6,000, ten times as
much for the layer of scores; biases twice as fast, by the released definitions. Crops of 321 in batches of 30
(7×7, 4×4: 306, 20), mirrored at random, the loss at the scores' own pixels: with 7×7 and 4×4 taps the authors take
labels at 8 i + 1, ours are those of 8 i. They learn from 10,582 images.

    densefield weights import VGG_ILSVRC_16_layers.caffemodel --network.kind deeplab_largefov --classes CLASSES \
        --partial --out START
    densefield train voc_deeplab_largefov --data.root VOC --weights START
    densefield evaluate runs/voc_deeplab_largefov --preset deeplab-v1
"""

from __future__ import annotations

from densefield import networks, training
from densefield.built import words
from densefield.recipes.voc import BIASES, DATA, MEAN, SCORES, SCORES_BIASES, STD
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Augmentation, Loss

LARGEFOV = Stage(
    steps=6000,
    batch_size=30,
    augmentation=Augmentation(crop=(321, 321), flip=True),
    optimizer=words(
        training.sgd,
        learning_rate=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        groups=(SCORES_BIASES, SCORES, BIASES),
    ),
    schedule=words(training.step, every=2000, gamma=0.1),
    validate_every=1000,
)
FIRST = LARGEFOV.changed(batch_size=20, augmentation=Augmentation(crop=(306, 306), flip=True))

voc_deeplab_largefov = Recipe(
    name="voc_deeplab_largefov",
    network=words(networks.deeplab_largefov),
    data=DATA,
    loss=Loss(at="scores"),
    stages=(LARGEFOV,),
    mean=MEAN,
    std=STD,
)
voc_deeplab_7x7 = voc_deeplab_largefov.changed(
    name="voc_deeplab_7x7", network=words(networks.deeplab_7x7), stages=(FIRST,)
)
voc_deeplab_4x4 = voc_deeplab_largefov.changed(
    name="voc_deeplab_4x4", network=words(networks.deeplab_4x4, rate=8), stages=(FIRST,)
)
voc_deeplab_4x4_rate4 = voc_deeplab_largefov.changed(
    name="voc_deeplab_4x4_rate4", network=words(networks.deeplab_4x4, rate=4), stages=(FIRST,)
)
