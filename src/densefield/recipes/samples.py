"""The embedded sample scenes: the two runs of `densefield demo` in one, and FC-DenseNet56; minutes on two CPU cores.

No published figures: the scenes are this project's own (`densefield.data.SampleScenes`). docs/results.md has what they
reach.

    densefield demo
    densefield train sample_demo
    densefield train sample_fc_densenet56
"""

from __future__ import annotations

from densefield.recipes.choices import (
    DeepLabChoice,
    FCDenseNetChoice,
    LossChoice,
    OptimizerChoice,
    SamplesChoice,
    ScheduleChoice,
)
from densefield.recipes.recipe import Recipe, Stage
from densefield.recipes.refinements import DenseCRFChoice

# A coarse network alone, then with its dense CRF. The CRF has about the numbers that `sample_deeplab_crf` learns, held
# still: to learn them doubles what a step costs. Dice, small batches: what is rare is found in few steps.
sample_demo = Recipe(
    name="sample_demo",
    network=DeepLabChoice(width=16, rate=4, dropout=0.1),
    refinement=DenseCRFChoice(
        spatial_weight=2.0, theta_gamma=2.4, bilateral_weight=3.5, theta_alpha=40.0, theta_beta=11.0, learn=False
    ),
    data=SamplesChoice(size=96, scenes=800, held_out_size=192, held_out_scenes=24),
    loss=LossChoice(dice=1.0),
    stages=(
        Stage(
            trains="network",
            epochs=3,
            batch_size=4,
            optimizer=OptimizerChoice(kind="adamw", rate=3e-3, weight_decay=1e-2),
            schedule=ScheduleChoice(kind="cosine", warmup=0.1),
            validate_every=3,
        ),
        Stage(
            trains="all",
            epochs=2,
            batch_size=4,
            optimizer=OptimizerChoice(kind="adamw", rate=2e-3, weight_decay=1e-2),
            schedule=ScheduleChoice(kind="cosine", warmup=0.1),
            validate_every=2,
        ),
    ),
)

# To see in seconds that everything works; its figures mean nothing.
sample_demo_quick = sample_demo.model_copy(
    update={
        "name": "sample_demo_quick",
        "data": SamplesChoice(size=64, scenes=12, held_out_size=64, held_out_scenes=4),
        "stages": tuple(stage.model_copy(update={"epochs": 1, "validate_every": 1}) for stage in sample_demo.stages),
    }
)

# Recomputing is the faster way on a CPU (docs/networks.md); without dropout, because a short run underfits.
sample_fc_densenet56 = Recipe(
    name="sample_fc_densenet56",
    network=FCDenseNetChoice(kind="fc_densenet56", dropout=0.0, checkpointing=True),
    data=SamplesChoice(size=64, scenes=760, held_out_size=192, held_out_scenes=24),
    loss=LossChoice(dice=1.0),
    stages=(
        Stage(
            epochs=2,
            batch_size=4,
            optimizer=OptimizerChoice(kind="adamw", rate=4e-3, weight_decay=1e-2),
            schedule=ScheduleChoice(kind="cosine", warmup=0.2),
        ),
    ),
)
