"""The embedded sample scenes by a coarse network, with a dense CRF and with learned embeddings behind it.

The same pairs of runs as `camvid_deeplab`, in minutes and with nothing to download. No published figures;
docs/results.md has what each reaches.

    densefield train sample_deeplab_crf
    densefield train sample_deeplab_embeddings
"""

from __future__ import annotations

from densefield.recipes.choices import DeepLabChoice, GroupChoice, OptimizerChoice, SamplesChoice, ScheduleChoice
from densefield.recipes.recipe import Recipe, Stage
from densefield.recipes.refinements import DenseCRFChoice, EmbeddingFilterChoice

NETWORK = Stage(
    trains="network",
    epochs=10,
    batch_size=8,
    optimizer=OptimizerChoice(kind="adamw", rate=3e-3, weight_decay=1e-2),
    schedule=ScheduleChoice(kind="cosine"),
    validate_every=5,
)
TOGETHER = Stage(
    trains="all",
    epochs=4,
    batch_size=8,
    optimizer=OptimizerChoice(
        kind="adamw", rate=5e-4, weight_decay=1e-2, groups=(GroupChoice(pattern="^refinement", factor=10.0),)
    ),
    schedule=ScheduleChoice(kind="cosine"),
    validate_every=2,
)
EMBEDDINGS = TOGETHER.model_copy(
    update={"trains": "refinement", "optimizer": OptimizerChoice(kind="adam", rate=1e-3, weight_decay=0.0)}
)

sample_deeplab_crf = Recipe(
    name="sample_deeplab_crf",
    network=DeepLabChoice(width=16, rate=4, dropout=0.1),
    refinement=DenseCRFChoice(bilateral_weight=5.0, theta_alpha=50.0, theta_beta=10.0),
    data=SamplesChoice(size=96, scenes=1024, held_out_size=192, held_out_scenes=24),
    stages=(NETWORK, TOGETHER),
)

sample_deeplab_embeddings = sample_deeplab_crf.model_copy(
    update={
        "name": "sample_deeplab_embeddings",
        "refinement": EmbeddingFilterChoice(width=16, dimension=32),
        "stages": (
            NETWORK,
            EMBEDDINGS,
            TOGETHER.model_copy(
                update={
                    "optimizer": OptimizerChoice(
                        kind="adamw",
                        rate=5e-4,
                        weight_decay=1e-2,
                        groups=(GroupChoice(pattern="^refinement", factor=2.0),),
                    )
                }
            ),
        ),
    }
)
