"""CamVid by a thin DeepLab-LargeFOV from scratch, alone, with a dense CRF, and with learned embeddings behind it.

Chen et al. 2015 start from ImageNet's weights and learn PASCAL VOC; this is their network at 24 instead of 64 channels,
with batch normalisation, learnt from CamVid's 367 frames alone on two CPU cores in about half an hour. Scores come at
stride 8: deliberately coarse, to show refinements on. No published figures; docs/results.md has what each reaches.

    densefield train camvid_deeplab_cpu --data.root CAMVID             # the network
    densefield train camvid_deeplab_crf_cpu --data.root CAMVID         # then network and CRF together
    densefield train camvid_deeplab_embeddings_cpu --data.root CAMVID  # then embeddings alone, then all together

Schwing and Urtasun 2015 ("Fully Connected Deep Structured Networks", section 4) train in two stages: the network, then
network, two weights and seven widths through five iterations. Harley et al. 2016 learn embeddings from pair losses and
filter with windows of 9×9, seven times.
"""

from __future__ import annotations

from densefield.recipes.camvid_fc_densenet import MEAN, STD
from densefield.recipes.choices import (
    Augmentation,
    CamVidChoice,
    DeepLabChoice,
    GroupChoice,
    OptimizerChoice,
    ScheduleChoice,
)
from densefield.recipes.recipe import Recipe, Stage
from densefield.recipes.refinements import DenseCRFChoice, EmbeddingFilterChoice

NETWORK = Stage(
    trains="network",
    epochs=30,
    batch_size=4,
    augmentation=Augmentation(scale=(0.5, 1.25), crop=(224, 288), flip=True, jitter=0.3),
    optimizer=OptimizerChoice(kind="adamw", rate=2e-3, weight_decay=1e-2),
    schedule=ScheduleChoice(kind="cosine"),
    validate_every=6,
)
# The CRF's nine numbers are learnt by their logarithms: 5e-3 moves them by half a percent a step.
TOGETHER = Stage(
    trains="all",
    epochs=4,
    batch_size=4,
    augmentation=Augmentation(scale=(0.75, 1.25), crop=(224, 288), flip=True, jitter=0.3),
    optimizer=OptimizerChoice(
        kind="adamw", rate=2e-4, weight_decay=1e-2, groups=(GroupChoice(pattern="^refinement", factor=25.0),)
    ),
    schedule=ScheduleChoice(kind="cosine"),
    validate_every=2,
)

camvid_deeplab_cpu = Recipe(
    name="camvid_deeplab_cpu",
    network=DeepLabChoice(width=24, dropout=0.1),
    data=CamVidChoice(),
    stages=(NETWORK,),
    mean=MEAN,
    std=STD,
    precision="bf16-mixed",
)

camvid_deeplab_crf_cpu = camvid_deeplab_cpu.model_copy(
    update={
        "name": "camvid_deeplab_crf_cpu",
        "refinement": DenseCRFChoice(bilateral_weight=5.0, theta_alpha=50.0, theta_beta=10.0),
        "stages": (NETWORK, TOGETHER),
    }
)

camvid_deeplab_embeddings_cpu = camvid_deeplab_cpu.model_copy(
    update={
        "name": "camvid_deeplab_embeddings_cpu",
        "refinement": EmbeddingFilterChoice(width=16),
        "stages": (
            NETWORK,
            TOGETHER.model_copy(
                update={
                    "trains": "refinement",
                    "epochs": 3,
                    "optimizer": OptimizerChoice(kind="adam", rate=1e-3, weight_decay=0.0),
                    "validate_every": 3,
                }
            ),
            TOGETHER.model_copy(
                update={
                    "optimizer": OptimizerChoice(
                        kind="adamw",
                        rate=2e-4,
                        weight_decay=1e-2,
                        groups=(GroupChoice(pattern="^refinement", factor=2.5),),
                    )
                }
            ),
        ),
    }
)
