"""The embedded sample scenes by a coarse network, with a dense CRF and with learned embeddings behind it.

The same pairs of runs as `camvid_deeplab`, in minutes and with nothing to download. No published figures;
docs/results.md has what each reaches.

    densefield train sample_deeplab_crf
    densefield train sample_deeplab_embeddings
"""

from __future__ import annotations

from densefield import data, networks, training
from densefield.built import words
from densefield.refine import DenseCRF, EmbeddingFilter, EmbeddingRefinement
from densefield.refine.kernels import per_axis
from densefield.refine.presets import DEEPLAB_V1
from densefield.runs.recipe import Recipe, Stage
from densefield.training import ParameterGroup

NETWORK = Stage(
    trains="network",
    epochs=10,
    batch_size=8,
    optimizer=words(training.adamw, learning_rate=3e-3, weight_decay=1e-2),
    schedule=words(training.cosine),
    validate_every=5,
)
TOGETHER = Stage(
    trains="all",
    epochs=4,
    batch_size=8,
    optimizer=words(
        training.adamw, learning_rate=5e-4, weight_decay=1e-2, groups=(ParameterGroup("^refinement", 10.0),)
    ),
    schedule=words(training.cosine),
    validate_every=2,
)
EMBEDDINGS = TOGETHER.changed(trains="refinement", optimizer=words(training.adam, learning_rate=1e-3, weight_decay=0.0))
WITH_EMBEDDINGS = TOGETHER.changed(
    optimizer=words(training.adamw, learning_rate=5e-4, weight_decay=1e-2, groups=(ParameterGroup("^refinement", 2.0),))
)

sample_deeplab_crf = Recipe(
    name="sample_deeplab_crf",
    network=words(networks.deeplab_largefov, width=16, rate=4, dropout=0.1, batch_norm=True),
    refinement=words(DenseCRF, kernels=per_axis(DEEPLAB_V1), iterations=5, learn_weights=True, learn_widths=True),
    data=words(data.samples, size=96, scenes=1024, held_out_size=192, held_out_scenes=24),
    stages=(NETWORK, TOGETHER),
)

sample_deeplab_embeddings = sample_deeplab_crf.changed(
    name="sample_deeplab_embeddings",
    refinement=words(
        EmbeddingRefinement,
        embedder=words(networks.embedding_network, width=16, dimension=32, batch_norm=True),
        filter=words(EmbeddingFilter, initial_lambda=8.0),
    ),
    stages=(NETWORK, EMBEDDINGS, WITH_EMBEDDINGS),
)
