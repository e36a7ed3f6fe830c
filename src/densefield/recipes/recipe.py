"""The recipe: one frozen, typed description of a training run, from Python objects, YAML or command-line flags."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from densefield.recipes.choices import (
    Augmentation,
    Choice,
    Count,
    DataChoice,
    LossChoice,
    NetworkChoice,
    OptimizerChoice,
    ScheduleChoice,
    Side,
)
from densefield.recipes.refinements import RefinementChoice

Trains = Literal["network", "refinement", "all"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


class Stage(Choice):
    """One phase of training; each starts from the best weights of the one before.

    `trains`: "network" leaves the recipe's refinement out, "refinement" holds the network still and trains what stands
    behind it, "all" trains both end to end. Where nothing stands behind it, "all" is the network.
    """

    trains: Trains = "all"
    epochs: Count
    batch_size: Count = 3
    augmentation: Augmentation = Augmentation()
    optimizer: OptimizerChoice = OptimizerChoice()
    schedule: ScheduleChoice = ScheduleChoice()
    patience: Count | None = Field(None, description="validations without a better mean IoU before stopping")
    validate_every: Count = Field(1, description="epochs from one validation to the next")


class Recipe(Choice):
    """Everything that decides what a run makes; `mean` and `std` scale the image, one value a channel.

    `weights` is a saved segmenter to start from, file or folder.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    network: NetworkChoice
    refinement: RefinementChoice | None = None
    weights: str | None = None
    data: DataChoice
    loss: LossChoice = LossChoice()
    stages: tuple[Stage, ...] = Field(min_length=1)
    mean: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...] = (0.5, 0.5, 0.5)
    std: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = (0.25, 0.25, 0.25)
    tile: Side | None = None
    seed: int = Field(0, ge=0, lt=2**32)
    precision: Precision = "32-true"
    channels_last: bool = True
    recalibrate: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="whole training images over which batch normalisation's statistics are taken anew at the end",
    )

    @model_validator(mode="after")
    def _alike(self) -> Recipe:
        if len(self.mean) != len(self.std):
            raise ValueError(f"std: wanted {len(self.mean)} values, one a channel as in mean, received {len(self.std)}")
        return self
