"""CamVid by a thin DeepLab-LargeFOV from scratch: the deliberately coarse network that refinements are shown on.

Chen et al. 2015 start from ImageNet's weights and learn PASCAL VOC; this is their network at 24 instead of 64 channels,
with batch normalisation, learnt from CamVid's 367 frames alone on two CPU cores in about half an hour. Scores come at
stride 8. No published figure; docs/results.md has what it reaches.

    densefield train camvid_deeplab_cpu --data.root CAMVID
"""

from __future__ import annotations

from densefield.recipes.camvid_fc_densenet import MEAN, STD
from densefield.recipes.choices import (
    Augmentation,
    CamVidChoice,
    DeepLabChoice,
    OptimizerChoice,
    ScheduleChoice,
)
from densefield.recipes.recipe import Recipe, Stage

camvid_deeplab_cpu = Recipe(
    name="camvid_deeplab_cpu",
    network=DeepLabChoice(width=24, dropout=0.1),
    data=CamVidChoice(),
    stages=(
        Stage(
            epochs=30,
            batch_size=4,
            augmentation=Augmentation(scale=(0.5, 1.25), crop=(224, 288), flip=True, jitter=0.3),
            optimizer=OptimizerChoice(kind="adamw", rate=2e-3, weight_decay=1e-2),
            schedule=ScheduleChoice(kind="cosine"),
            validate_every=6,
        ),
    ),
    mean=MEAN,
    std=STD,
    precision="bf16-mixed",
)
