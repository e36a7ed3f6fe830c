"""The embedded sample scenes: the two runs of `densefield demo` in one, and FC-DenseNet56; minutes on two CPU cores.

No published figures: the scenes are this project's own (`densefield.data.SampleScenes`). docs/results.md has what they
reach.

    densefield demo
    densefield train sample_demo
    densefield train sample_fc_densenet56
"""

from __future__ import annotations

from densefield import data, networks, training
from densefield.built import words
from densefield.refine import BilateralKernel, DenseCRF, SpatialKernel
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.sections import Loss

# A coarse network alone, then with its dense CRF. The CRF has about the numbers that `sample_deeplab_crf` learns, held
# still: to learn them doubles what a step costs. Dice, small batches: what is rare is found in few steps.
sample_demo = Recipe(
    name="sample_demo",
    network=words(networks.deeplab_largefov, width=16, rate=4, dropout=0.1, batch_norm=True),
    refinement=words(
        DenseCRF,
        kernels=(SpatialKernel((2.4,) * 2, 2.0), BilateralKernel((40.0,) * 2, (11.0,) * 3, 3.5)),
        iterations=5,
    ),
    data=words(data.samples, size=96, scenes=800, held_out_size=192, held_out_scenes=24),
    loss=Loss(dice=1.0),
    stages=(
        Stage(
            trains="network",
            epochs=3,
            batch_size=4,
            optimizer=words(training.adamw, learning_rate=3e-3, weight_decay=1e-2),
            schedule=words(training.cosine, warmup=0.1),
            validate_every=3,
        ),
        Stage(
            trains="all",
            epochs=2,
            batch_size=4,
            optimizer=words(training.adamw, learning_rate=2e-3, weight_decay=1e-2),
            schedule=words(training.cosine, warmup=0.1),
            validate_every=2,
        ),
    ),
)

# To see in seconds that everything works; its figures mean nothing.
sample_demo_quick = sample_demo.changed(
    name="sample_demo_quick",
    data=words(data.samples, size=64, scenes=12, held_out_size=64, held_out_scenes=4),
    stages=tuple(stage.changed(epochs=1, validate_every=1) for stage in sample_demo.stages),
)

# Recomputing is the faster way on a CPU (docs/networks.md); without dropout, because a short run underfits.
sample_fc_densenet56 = Recipe(
    name="sample_fc_densenet56",
    network=words(networks.fc_densenet56, dropout=0.0, checkpointing=True),
    data=words(data.samples, size=64, scenes=760, held_out_size=192, held_out_scenes=24),
    loss=Loss(dice=1.0),
    stages=(
        Stage(
            epochs=2,
            batch_size=4,
            optimizer=words(training.adamw, learning_rate=4e-3, weight_decay=1e-2),
            schedule=words(training.cosine, warmup=0.2),
        ),
    ),
)
