"""The recipe: one frozen, typed description of a training run, from Python objects, YAML or command-line flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from densefield import training
from densefield.built import Words, words
from densefield.built.bounds import Count, Side
from densefield.protocols import Pairs
from densefield.runs.sections import PAIRS, Augmentation, Loss, Section

if TYPE_CHECKING:
    NetworkWords: TypeAlias = Words
    RefinementWords: TypeAlias = Words
    DataWords: TypeAlias = Words
    OptimizerWords: TypeAlias = Words
    ScheduleWords: TypeAlias = Words
else:
    from densefield.runs import kinds

    NetworkWords, RefinementWords = kinds.NETWORKS.annotation, kinds.REFINEMENTS.annotation
    DataWords = kinds.DATA.annotation
    OptimizerWords, ScheduleWords = kinds.OPTIMIZERS.annotation, kinds.SCHEDULES.annotation

Trains = Literal["network", "refinement", "all"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


class Stage(Section):
    """One phase of training; each starts from the best weights of the one before.

    `trains`: "network" leaves the recipe's refinement out, "refinement" holds the network still and trains what stands
    behind it, "all" trains both end to end. Where nothing stands behind it, "all" is the network. A step learns from
    `accumulate` batches: the gradients' mean, or their sum where the loss's reduction is one.
    """

    trains: Trains = "all"
    epochs: Count | None = None
    steps: Count | None = Field(None, description="in place of epochs")
    batch_size: Count = 3
    accumulate: Count = Field(1, description="batches a step (Caffe's iter_size)")
    freeze_batch_norm: bool = Field(False, description="the network's statistics, weights and biases of it stay")
    augmentation: Augmentation = Augmentation()
    optimizer: OptimizerWords = Field(words(training.adamw), validate_default=True)
    schedule: ScheduleWords = Field(words(training.constant), validate_default=True)
    patience: Count | None = Field(None, description="validations without a better mean IoU before stopping")
    validate_every: Count | None = Field(
        None, description="epochs, or steps, from one validation to the next; by default each epoch, or after all steps"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Stage:
        if (self.epochs is None) == (self.steps is None):
            both = "steps stand beside it; leave one of them out (a flag: null)"
            raise ValueError(f"epochs: {both if self.steps else 'wanted them, or steps in their place'}")
        if self.round_steps is not None and self.length % self.round_steps:
            raise ValueError(
                f"validate_every: wanted a number that goes into {self.steps} steps, received {self.round_steps}"
            )
        if self.freeze_batch_norm and self.trains == "refinement":
            raise ValueError("freeze_batch_norm: the network stands still as a whole here (trains); leave it out")
        if self.steps is None and self.validate_every is None:
            object.__setattr__(self, "validate_every", 1)  # what recipes of runs have always written down
        return self

    @property
    def length(self) -> int:
        """How many epochs, or steps."""
        return self.epochs or self.steps or 0

    @property
    def round_steps(self) -> int | None:
        """How many steps there are from one validation to the next; None where epochs count."""
        return None if self.steps is None else min(self.validate_every or self.steps, self.steps)


class Recipe(Section):
    """Everything that decides what a run makes; `mean` and `std` scale the image, one value a channel.

    Left out, they are those of the weights, else the library's whose network it is, else 0.5 and 0.25. `weights` is
    what to start from: a saved segmenter, file or folder; a file of released weights, of which what fits is taken;
    `library`, what the library of the network fetches.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    network: NetworkWords
    refinement: RefinementWords | None = None
    weights: str | None = None
    data: DataWords
    loss: Loss = Loss()
    stages: tuple[Stage, ...] = Field(min_length=1)
    mean: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...] | None = Field(None, min_length=1)
    std: tuple[Annotated[float, Field(gt=0, le=1000)], ...] | None = Field(None, min_length=1)
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
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(f"std: wanted {len(self.mean)} values, one a channel as in mean, received {len(self.std)}")
        for key in ("pair_loss", *PAIRS):
            if not self.has_embeddings and getattr(self.loss, key) is not None:
                raise ValueError(f"loss.{key}: belongs to an embedding filter (refinement.kind); leave it out")
        return self

    def pairs(self, split: str) -> Pairs:
        """One split of the data."""
        found: Pairs = self.data.build(split)
        return found

    @property
    def has_embeddings(self) -> bool:
        """Whether embeddings stand behind the network, and learn from pairs."""
        return self.refinement is not None and self.refinement.kind == "embedding_filter"

    @property
    def pair_loss(self) -> float:
        """The weight of the pair losses; 0 where there are no embeddings."""
        return 0.0 if not self.has_embeddings else 1.0 if self.loss.pair_loss is None else self.loss.pair_loss
