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

from densefield import data, networks, training
from densefield.built import words
from densefield.recipes.camvid_fc_densenet import MEAN, STD
from densefield.refine import DenseCRF, EmbeddingFilter, EmbeddingRefinement
from densefield.refine.kernels import per_axis
from densefield.refine.presets import DEEPLAB_V1
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Augmentation
from densefield.training import ParameterGroup

NETWORK = Stage(
    trains="network",
    epochs=30,
    batch_size=4,
    augmentation=Augmentation(scale=(0.5, 1.25), crop=(224, 288), flip=True, jitter=0.3),
    optimizer=words(training.adamw, learning_rate=2e-3, weight_decay=1e-2),
    schedule=words(training.cosine),
    validate_every=6,
)
# The CRF's nine numbers are learnt by their logarithms: 5e-3 moves them by half a percent a step.
TOGETHER = Stage(
    trains="all",
    epochs=4,
    batch_size=4,
    augmentation=Augmentation(scale=(0.75, 1.25), crop=(224, 288), flip=True, jitter=0.3),
    optimizer=words(
        training.adamw, learning_rate=2e-4, weight_decay=1e-2, groups=(ParameterGroup("^refinement", 25.0),)
    ),
    schedule=words(training.cosine),
    validate_every=2,
)
# Embeddings alone; then a smaller rate than the CRF's for all together.
EMBEDDINGS = TOGETHER.changed(
    trains="refinement",
    epochs=3,
    optimizer=words(training.adam, learning_rate=1e-3, weight_decay=0.0),
    validate_every=3,
)
WITH_EMBEDDINGS = TOGETHER.changed(
    optimizer=words(training.adamw, learning_rate=2e-4, weight_decay=1e-2, groups=(ParameterGroup("^refinement", 2.5),))
)

camvid_deeplab_cpu = Recipe(
    name="camvid_deeplab_cpu",
    network=words(networks.deeplab_largefov, width=24, dropout=0.1, batch_norm=True),
    data=words(data.CamVid),
    stages=(NETWORK,),
    mean=MEAN,
    std=STD,
    precision="bf16-mixed",
)

camvid_deeplab_crf_cpu = camvid_deeplab_cpu.changed(
    name="camvid_deeplab_crf_cpu",
    refinement=words(DenseCRF, kernels=per_axis(DEEPLAB_V1), iterations=5, learn_weights=True, learn_widths=True),
    stages=(NETWORK, TOGETHER),
)

camvid_deeplab_embeddings_cpu = camvid_deeplab_cpu.changed(
    name="camvid_deeplab_embeddings_cpu",
    refinement=words(
        EmbeddingRefinement,
        embedder=words(networks.embedding_network, width=16, batch_norm=True),
        filter=words(EmbeddingFilter, initial_lambda=8.0),
    ),
    stages=(NETWORK, EMBEDDINGS, WITH_EMBEDDINGS),
)
