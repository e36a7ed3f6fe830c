"""Electron microscopy by the U-Net as published: valid convolutions, border weights, elastic deformation, overlap-tile.

Ronneberger et al. 2015, section 3 and table 1 (ISBI 2012: warping error 0.000353, Rand error 0.0382; the challenge's
test labels are not public, so `evaluate` reports pixel figures on held-out training slices). SGD with momentum 0.99
and single-image batches are the paper's; the rate is ours, as the paper gives none.

    densefield train em_unet --data.root ISBI2012-EM
"""

from __future__ import annotations

from densefield import data, networks, training
from densefield.built import words
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Augmentation, Loss

em_unet = Recipe(
    name="em_unet",
    network=words(networks.unet, padding="valid"),
    data=words(data.CellImages),
    loss=Loss(class_weights="median_frequency", border=10.0, border_sigma=5.0),
    stages=(
        Stage(
            epochs=600,
            batch_size=1,
            augmentation=Augmentation(elastic=10.0, rotation=15.0, crop=(572, 572), dihedral=True, jitter=0.2),
            optimizer=words(training.sgd, learning_rate=1e-3, momentum=0.99, weight_decay=0.0),
            schedule=words(training.poly),
            validate_every=10,
            patience=10,
        ),
    ),
    mean=(0.5,),
    std=(0.25,),
)
