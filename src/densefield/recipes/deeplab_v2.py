r"""PASCAL VOC by DeepLab v2: LargeFOV under the poly schedule, ASPP on VGG-16, ASPP on ResNet-101.

Chen, Papandreou, Kokkinos, Murphy, Yuille, PAMI 2017, mean IoU on VOC 2012's 1,449 validation images. Table 2: LargeFOV
by poly, batches of 10, 20,000 steps 65.88, where steps of v1 give 62.25. Table 3, without and with the dense CRF:
LargeFOV 65.76, 69.84; ASPP-S 66.98, 69.73; ASPP-L 68.96, 71.57. Table 4, ResNet-101 with ASPP, from weights of MS-COCO:
76.35, 77.69. Section 4: poly of power 0.9, VGG at 1e-3, ResNet at 2.5e-4 with its batch normalisation frozen, scores
ten times as fast; ResNet sees images at 0.5 to 1.5 of their size and learns from each of its scales and from their
maximum. The authors draw five sizes where ours are any between, and learn from 10,582 images.

    densefield weights import VGG_ILSVRC_16_layers.caffemodel --network.kind deeplab_aspp_vgg16 --classes CLASSES \
        --partial --out START
    densefield train voc_deeplab_v2_aspp_l --data.root VOC --weights START
    densefield evaluate runs/voc_deeplab_v2_aspp_l --preset deeplab-v2-vgg16

Ten images a step need the memory of ten; `--stages.0.batch_size 1 --stages.0.accumulate 10` that of one.
"""

from __future__ import annotations

from densefield import networks, training
from densefield.built import words
from densefield.recipes.deeplab_v1 import LARGEFOV
from densefield.recipes.voc import DATA, MEAN, SCORES, SCORES_BIASES, STD
from densefield.runs.recipe import Recipe
from densefield.runs.sections import Augmentation, Loss

ON_VGG = LARGEFOV.changed(steps=20_000, batch_size=10, schedule=words(training.poly, power=0.9), validate_every=2000)
ON_RESNET = ON_VGG.changed(
    augmentation=Augmentation(scale=(0.5, 1.5), crop=(321, 321), flip=True),
    optimizer=words(
        training.sgd, learning_rate=2.5e-4, momentum=0.9, weight_decay=5e-4, groups=(SCORES_BIASES, SCORES)
    ),
    freeze_batch_norm=True,
)

voc_deeplab_v2_largefov = Recipe(
    name="voc_deeplab_v2_largefov",
    network=words(networks.deeplab_largefov),
    data=DATA,
    loss=Loss(at="scores"),
    stages=(ON_VGG,),
    mean=MEAN,
    std=STD,
)
voc_deeplab_v2_aspp_s = voc_deeplab_v2_largefov.changed(
    name="voc_deeplab_v2_aspp_s", network=words(networks.deeplab_aspp_vgg16, rates=(2, 4, 8, 12))
)
voc_deeplab_v2_aspp_l = voc_deeplab_v2_largefov.changed(
    name="voc_deeplab_v2_aspp_l", network=words(networks.deeplab_aspp_vgg16, rates=(6, 12, 18, 24))
)
voc_deeplab_v2_resnet101 = voc_deeplab_v2_largefov.changed(
    name="voc_deeplab_v2_resnet101",
    network=words(networks.deeplab_resnet101, rates=(6, 12, 18, 24), scales=(0.5, 0.75, 1.0)),
    stages=(ON_RESNET,),
)
