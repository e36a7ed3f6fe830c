"""CamVid by FC-DenseNet as published, and a schedule that fits a CPU.

Jégou et al. 2017, section 4.1 and table 3 (test mean IoU / global accuracy): Classic Upsampling 55.2 / 86.8,
FC-DenseNet56 58.9 / 88.9, FC-DenseNet67 65.8 / 90.8, FC-DenseNet103 66.9 / 91.5. Crops of 224×224 in batches of 3 with
vertical-axis flips, RMSprop 1e-3 × 0.995 an epoch; then whole frames at 1e-4; stopped on validation mean IoU (patience
100, then 50). The paper validates and tests with the statistics of each batch; we keep running statistics, so that
tiles equal the whole image.

    densefield train camvid_fc_densenet56 --data.root CAMVID      # hours on one modern GPU
    densefield train camvid_fc_densenet56_cpu --data.root CAMVID  # two CPU cores, under two hours
"""

from __future__ import annotations

from densefield import data, networks, training
from densefield.built import Words, words
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Augmentation, Loss

MEAN = (0.415, 0.427, 0.434)  # of the training frames
STD = (0.306, 0.310, 0.306)

PUBLISHED = (
    Stage(
        epochs=1000,
        batch_size=3,
        augmentation=Augmentation(crop=(224, 224), flip=True),
        optimizer=words(training.rmsprop, learning_rate=1e-3, weight_decay=1e-4),
        schedule=words(training.exponential, gamma=0.995),
        patience=100,
    ),
    Stage(
        epochs=500,
        batch_size=1,
        augmentation=Augmentation(flip=True),
        optimizer=words(training.rmsprop, learning_rate=1e-4, weight_decay=1e-4),
        patience=50,
    ),
)


def _published(name: str, network: Words) -> Recipe:
    return Recipe(name=name, network=network, data=words(data.CamVid), stages=PUBLISHED, mean=MEAN, std=STD)


camvid_fc_densenet56 = _published("camvid_fc_densenet56", words(networks.fc_densenet56))
camvid_fc_densenet67 = _published("camvid_fc_densenet67", words(networks.fc_densenet67))
camvid_fc_densenet103 = _published("camvid_fc_densenet103", words(networks.fc_densenet103))
camvid_classic_upsampling = _published("camvid_classic_upsampling", words(networks.classic_upsampling))

# What two CPU cores learn in under two hours: small scales first, where a crop shows most of the street, then full
# size; no dropout and a cosine, because a short run underfits; bfloat16, which these networks' long sums stand well.
camvid_fc_densenet56_cpu = Recipe(
    name="camvid_fc_densenet56_cpu",
    network=words(networks.fc_densenet56, dropout=0.0),
    data=words(data.CamVid),
    loss=Loss(dice=1.0),
    stages=(
        Stage(
            epochs=14,
            batch_size=4,
            augmentation=Augmentation(scale=(0.4, 0.8), crop=(160, 224), flip=True, jitter=0.3),
            optimizer=words(training.adamw, learning_rate=2e-3, weight_decay=1e-2),
            schedule=words(training.cosine),
            validate_every=14,
        ),
        Stage(
            epochs=6,
            batch_size=4,
            augmentation=Augmentation(scale=(0.75, 1.25), crop=(224, 224), flip=True, jitter=0.3),
            optimizer=words(training.adamw, learning_rate=1e-3, weight_decay=1e-2),
            schedule=words(training.cosine),
            validate_every=6,
        ),
    ),
    mean=MEAN,
    std=STD,
    precision="bf16-mixed",
    recalibrate=41,
)
