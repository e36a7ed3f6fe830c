"""The embedded sample scenes by FC-DenseNet56: the run of `densefield demo`, a few minutes on two CPU cores.

No published figure: the scenes are this project's own (`densefield.data.SampleScenes`). docs/results.md has what it
reaches.

    densefield train sample_fc_densenet56
"""

from __future__ import annotations

from densefield.recipes.choices import (
    FCDenseNetChoice,
    LossChoice,
    OptimizerChoice,
    SamplesChoice,
    ScheduleChoice,
)
from densefield.recipes.recipe import Recipe, Stage

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
