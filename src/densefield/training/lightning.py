"""The door to Lightning: its import brings torchmetrics, and that torchvision, which may be built for another torch."""

from densefield.optional import declare_torchvision

declare_torchvision()

import pytorch_lightning as pl  # noqa: E402
from pytorch_lightning.loggers import TensorBoardLogger  # noqa: E402
from pytorch_lightning.plugins.io import CheckpointIO  # noqa: E402
from pytorch_lightning.utilities import rank_zero_only  # noqa: E402

__all__ = ["CheckpointIO", "TensorBoardLogger", "pl", "rank_zero_only"]
