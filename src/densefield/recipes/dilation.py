r"""PASCAL VOC by Dilation8: the front end alone, then a large context behind it, then both together.

Yu and Koltun, ICLR 2016, table 2 (mean IoU on VOC 2012's test images: the front end 67.6) and, with masks of MS-COCO
too, tables 3 and 4 (validation: front end 69.8, with the basic context 71.3, with the large one 72.1; test: 71.3, with
context 73.5). Rates and crops are those of the authors' program: front end 1e-4, 14 crops of 500, context 1e-3, both
1e-5, momentum 0.9, the loss at the scores' own pixels. The front end's 60,000 steps are section 4's; how many steps and
crops the other two take is ours. Scores that are negative do not pass the context's first layer, so that the front end
has to be learned without one.

    densefield weights import VGG_ILSVRC_16_layers.caffemodel --network.kind dilation8 --network.context none \
        --classes CLASSES --partial --out START
    densefield train voc_dilation_front_end --data.root VOC --weights START
    densefield weights import runs/voc_dilation_front_end/segmenter.safetensors --network.kind dilation8 \
        --network.context large --classes CLASSES --partial --out FRONT
    densefield train voc_dilation8 --data.root VOC --weights FRONT
"""

from __future__ import annotations

from densefield import networks, training
from densefield.built import words
from densefield.recipes.voc import DATA, MEAN, STD
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Augmentation, Loss
from densefield.training import ParameterGroup

FRONT_END = Stage(
    steps=60_000,
    batch_size=14,
    augmentation=Augmentation(crop=(500, 500), flip=True),
    optimizer=words(training.sgd, learning_rate=1e-4, momentum=0.9, weight_decay=5e-4),
    validate_every=3000,
)
CONTEXT = FRONT_END.changed(
    steps=30_000,
    optimizer=words(
        training.sgd,
        learning_rate=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        groups=(ParameterGroup(r"\.ctx_"), ParameterGroup(".", 0.0)),  # the front end stands still
    ),
)
BOTH = CONTEXT.changed(optimizer=words(training.sgd, learning_rate=1e-5, momentum=0.9, weight_decay=5e-4))

voc_dilation_front_end = Recipe(
    name="voc_dilation_front_end",
    network=words(networks.dilation8, context="none"),
    data=DATA,
    loss=Loss(at="scores"),
    stages=(FRONT_END,),
    mean=MEAN,
    std=STD,
)
voc_dilation8 = voc_dilation_front_end.changed(
    name="voc_dilation8", network=words(networks.dilation8, context="large"), stages=(CONTEXT, BOTH)
)
