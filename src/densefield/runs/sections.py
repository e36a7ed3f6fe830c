"""The parts of a recipe that are not one builder's arguments: augmentation and loss."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from densefield import losses
from densefield.built.bounds import Channels, Side, Weight
from densefield.checks import check, likely
from densefield.data.transforms import (
    ColorJitter,
    Compose,
    ElasticDeformation,
    RandomCrop,
    RandomDihedral,
    RandomFlip,
    RandomRotation,
    RandomScale,
    RandomWarp,
    Transform,
)

PAIRS = ("pair_window", "pair_rates", "pair_labels")  # what says how pair losses are made
Magnification = Annotated[float, Field(ge=0.05, le=20)]


S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """Strict, frozen, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def __reduce__(
        self,
    ) -> tuple[Any, ...]:  # the models of words are made while running, and have no place in a module
        return type(self).model_validate_json, (self.model_dump_json(),)

    def changed(self: S, **changes: Any) -> S:
        """The same with some fields replaced, checked as a new one is; `InputError` for a field that there is not."""
        known = list(type(self).model_fields)
        for name in changes:
            check(name in known, f"{type(self).__name__}: has no {name!r}{likely(name, known)}")
        return type(self)(
            **{name: changes.get(name, getattr(self, name)) for name in {**type(self).model_fields, **changes}}
        )


class Augmentation(Section):
    """Random changes of a training pair: warp, then crop, then mirror, then color."""

    scale: tuple[Magnification, Magnification] | None = Field(None, description="least, most")
    rotation: float = Field(0.0, ge=0, le=180, description="degrees either way")
    elastic: float = Field(0.0, ge=0, le=1000, description="σ in pixels of the 3×3 displacements (U-Net, section 3.1)")
    crop: tuple[Side, Side] | None = Field(None, description="height, width")
    flip: bool = False
    dihedral: bool = Field(False, description="all eight mirrorings and quarter turns")
    jitter: float = Field(0.0, ge=0, lt=1, description="brightness, contrast and saturation, as a share")

    @model_validator(mode="after")
    def _in_order(self) -> Augmentation:
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: wanted the smaller factor first, received {list(self.scale)}")
        if self.flip and self.dihedral:
            raise ValueError("flip: dihedral holds every mirroring already; leave flip out")
        return self

    def build(self) -> Compose:
        """The transform."""
        steps: list[Transform] = []
        if self.scale or self.rotation or self.elastic:
            steps.append(
                RandomWarp(
                    scale=RandomScale(*self.scale) if self.scale else None,
                    rotation=RandomRotation(self.rotation) if self.rotation else None,
                    elastic=ElasticDeformation(self.elastic) if self.elastic else None,
                )
            )
        if self.crop:
            steps.append(RandomCrop(*self.crop))
        if self.dihedral:
            steps.append(RandomDihedral())
        if self.flip:
            steps.append(RandomFlip())
        if self.jitter:
            steps.append(ColorJitter(self.jitter, self.jitter, self.jitter))
        return Compose(*steps)


class Loss(Section):
    """Losses by their weights, where a loss of scores names its function.

    Class and border weights and the reduction are those of the cross-entropy. Where embeddings stand behind the
    network, also the sum of their pair losses (Harley et al. 2016).
    """

    cross_entropy: Annotated[Weight, losses.cross_entropy] = 1.0
    dice: Annotated[Weight, losses.dice_loss] = 0.0
    auxiliary: Weight = Field(1.0, description="of each scale's or auxiliary head's loss, where the network has any")
    reduction: Literal["mean", "sum"] = Field("mean", description="over a batch's pixels")
    at: Literal["image", "scores"] = Field(
        "image", description="scores: before they are enlarged, with the target of the pixels where they lie"
    )
    class_weights: Literal["none", "median_frequency"] | tuple[Weight, ...] = Field(
        "none", description="or a number a class, in order"
    )
    border: Weight = Field(0.0, description="w_0 of U-Net's border weights; class 1 is what has borders")
    border_sigma: float | None = Field(None, gt=0, le=1000, description="pixels; 5 by default")
    pair_loss: Weight | None = Field(None, description="of an embedding filter's pair losses, 1 by default")
    pair_window: Channels | None = Field(None, description="3 by default")
    pair_rates: tuple[Channels, ...] | None = Field(None, min_length=1, description="1, 2, 5 by default")
    pair_labels: Literal["target", "superpixels"] | None = Field(
        None, description="superpixels: pairs are alike within one, so that no pixel labels are needed; else target"
    )

    @property
    def of_scores(self) -> dict[Callable[..., Tensor], float]:
        """The losses of scores and target that count, with their weights."""
        weights = {
            function: getattr(self, name)
            for name, field in type(self).model_fields.items()
            for function in field.metadata
            if isinstance(function, FunctionType)
        }
        return {function: weight for function, weight in weights.items() if weight > 0}

    @field_validator("class_weights", mode="before")
    @classmethod
    def _one_of_three(cls, value: Any) -> Any:
        """Said of all three at once: of a union, only what the first wants would be."""
        numbers = isinstance(value, list | tuple) and all(
            isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each <= 1e6 for each in value
        )
        if not numbers and value not in ("none", "median_frequency"):
            raise ValueError(f"wanted none, median_frequency or numbers from 0 to 1e6, one a class; received {value!r}")
        return tuple(map(float, value)) if numbers else value

    @model_validator(mode="after")
    def _all_used(self) -> Loss:
        if self.border_sigma is not None and self.border == 0:
            raise ValueError("border_sigma: there are no border weights (border is 0); set border, or leave it out")
        weighted = "class_weights" if self.class_weights != "none" else "border" if self.border > 0 else None
        if weighted and self.cross_entropy == 0:
            raise ValueError(f"{weighted}: weighs the cross-entropy, which is 0; give it a weight, or leave this out")
        if self.reduction == "sum" and self.cross_entropy == 0:
            raise ValueError("reduction: is the cross-entropy's, which is 0; give it a weight, or leave this out")
        if not isinstance(self.class_weights, str) and not any(self.class_weights):
            raise ValueError("class_weights: all are 0; wanted at least one class to learn")
        if self.pair_window is not None and self.pair_window % 2 == 0:
            raise ValueError(f"pair_window: wanted an odd number of pixels, received {self.pair_window}")
        for key in PAIRS:
            if self.pair_loss == 0 and getattr(self, key) is not None:
                raise ValueError(
                    f"{key}: there are no pair losses (pair_loss is 0); give them a weight, or leave it out"
                )
        return self
