"""What a recipe chooses from: plain frozen values that know how to build the object they describe.

They are the one place where words pick classes, so that a recipe can be a YAML file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import nn

from densefield import networks, training
from densefield.bands import Reading
from densefield.checks import InputError
from densefield.data import CamVid, CellImages, Folder, SampleScenes
from densefield.data.sample_scenes import DIGITS
from densefield.data.transforms import (
    ColourJitter,
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
from densefield.listing import below_here

# Every number has bounds, far beyond what anybody needs: a slip of the pen is better refused than computed for hours.
Count = Annotated[int, Field(gt=0, le=1_000_000)]
Channels = Annotated[int, Field(gt=0, le=1024)]
Side = Annotated[int, Field(gt=0, le=16_384)]  # pixels
Weight = Annotated[float, Field(ge=0, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Magnification = Annotated[float, Field(ge=0.05, le=20)]


class Choice(BaseModel):
    """Strict, frozen, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def refuse_unused(choice: Choice, chosen: str, used: Mapping[str, tuple[str, ...]]) -> None:
    """Raise `ValueError` for a key that was set though only others than `chosen` of the kinds in `used` read it."""
    for key in {key for keys in used.values() for key in keys}:
        if key not in used[chosen] and getattr(choice, key) is not None:
            readers = " and ".join(kind for kind, keys in used.items() if key in keys)
            raise ValueError(f"{key}: {chosen} does not read it, only {readers}; leave it out")


class FCDenseNetChoice(Choice):
    """An FC-DenseNet of the paper (Jégou et al. 2017)."""

    kind: Literal["fc_densenet56", "fc_densenet67", "fc_densenet103", "classic_upsampling"] = "fc_densenet56"
    dropout: float = Field(0.2, ge=0, lt=1)
    checkpointing: bool = False

    def build(self, num_classes: int, in_channels: int) -> nn.Module:
        """The network, with fresh weights."""
        builder = getattr(networks, self.kind)
        network: nn.Module = builder(num_classes, in_channels, dropout=self.dropout, checkpointing=self.checkpointing)
        return network


class UNetChoice(Choice):
    """The U-Net of the paper (Ronneberger et al. 2015)."""

    kind: Literal["unet"] = "unet"
    padding: Literal["valid", "same"] = "valid"
    width: Channels = 64

    def build(self, num_classes: int, in_channels: int) -> nn.Module:
        """The network, with fresh weights."""
        return networks.unet(num_classes, in_channels, padding=self.padding, width=self.width)


class DeepLabChoice(Choice):
    """DeepLab's LargeFOV network (Chen et al. 2015); batch normalisation to learn it from scratch."""

    kind: Literal["deeplab_largefov"] = "deeplab_largefov"
    width: Channels = 64
    rate: Channels = 12
    dropout: float = Field(0.5, ge=0, lt=1)
    batch_norm: bool = True

    def build(self, num_classes: int, in_channels: int) -> nn.Module:
        """The network, with fresh weights."""
        return networks.deeplab_largefov(
            num_classes, in_channels, width=self.width, rate=self.rate, dropout=self.dropout, batch_norm=self.batch_norm
        )


NetworkChoice = Annotated[FCDenseNetChoice | UNetChoice | DeepLabChoice, Field(discriminator="kind")]


class SamplesChoice(Choice):
    """The embedded scenes: handwriting over photographs, nothing to download.

    Training scenes may be smaller than those measured on, as the handwriting is of one size in both.
    """

    kind: Literal["samples"] = "samples"
    size: int = Field(96, ge=32, le=2048)
    scenes: Count = 1024
    held_out_size: int = Field(192, ge=32, le=2048)
    held_out_scenes: Count = 64
    digits: tuple[Annotated[int, Field(ge=0, le=9)], ...] = DIGITS

    def build(self, split: str) -> SampleScenes:
        """One split."""
        if split == "train":
            return SampleScenes(split, size=self.size, count=self.scenes, digits=self.digits)
        return SampleScenes(split, size=self.held_out_size, count=self.held_out_scenes, digits=self.digits)


def _data_root(name: str) -> str:
    return str(Path(os.environ.get("DENSEFIELD_DATA", "data")) / name)


class CamVidChoice(Choice):
    """CamVid in the layout of the SegNet tutorial; `root` is by default camvid in $DENSEFIELD_DATA or in ./data."""

    kind: Literal["camvid"] = "camvid"
    root: str = Field(default_factory=lambda: _data_root("camvid"))

    def build(self, split: str) -> CamVid:
        """One split."""
        return CamVid(self.root, split)


class CellImagesChoice(Choice):
    """The microscope slices of ISBI 2012; `root` is by default isbi2012-em in $DENSEFIELD_DATA or in ./data."""

    kind: Literal["cell_images"] = "cell_images"
    root: str = Field(default_factory=lambda: _data_root("isbi2012-em"))

    def build(self, split: str) -> CellImages:
        """One split."""
        return CellImages(self.root, split)


Band = Annotated[int, Field(ge=1, le=4096)]
Level = Annotated[float, Field(ge=-1e12, le=1e12)]


class FolderChoice(Choice):
    """A person's own folder: `root`/images, `root`/masks and a class list (YAML); `val` is the share held out.

    `suffix` stands behind the image's name in its mask's: "_mask" for NAME_mask.png. `bands`, counted from 1, are red,
    green and blue (or grey), and `range` black and white, where the images' files do not declare them.
    """

    kind: Literal["folder"] = "folder"
    root: str
    images: str = "images"
    masks: str = "masks"
    classes: str = "classes.yaml"
    suffix: str = ""
    bands: tuple[Band, ...] | None = None
    range: tuple[Level, Level] | None = Field(None, description="black, white")
    val: float = Field(0.2, gt=0, lt=1)

    @property
    def reading(self) -> Reading:
        """How the images' files are read."""
        return Reading(self.bands, self.range)

    def build(self, split: str) -> Folder:
        """The split "train", "val" or "all"."""
        root = Path(self.root)
        if not root.is_dir():
            reason = "is a file" if root.exists() else f"no such folder{below_here(root)}"
            raise InputError(
                f"data.root: {root}: {reason}; wanted the folder that holds {self.images} and {self.masks}"
            )
        return Folder(
            root / self.images,
            root / self.masks,
            root / self.classes,
            split=split,
            val=self.val,
            suffix=self.suffix,
            reading=self.reading,
        )


DataChoice = Annotated[SamplesChoice | CamVidChoice | CellImagesChoice | FolderChoice, Field(discriminator="kind")]


class Augmentation(Choice):
    """Random changes of a training pair: warp, then crop, then mirror, then colour."""

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
            steps.append(ColourJitter(self.jitter, self.jitter, self.jitter))
        return Compose(*steps)


class LossChoice(Choice):
    """Cross-entropy and soft Dice, each by its weight; class and border weights are those of the cross-entropy."""

    cross_entropy: Weight = 1.0
    dice: Weight = 0.0
    class_weights: Literal["none", "median_frequency"] = "none"
    border: Weight = Field(0.0, description="w_0 of U-Net's border weights; class 1 is what has borders")
    border_sigma: float | None = Field(None, gt=0, le=1000, description="pixels; 5 by default")

    @model_validator(mode="after")
    def _all_used(self) -> LossChoice:
        if self.border_sigma is not None and self.border == 0:
            raise ValueError("border_sigma: there are no border weights (border is 0); set border, or leave it out")
        weighted = "class_weights" if self.class_weights != "none" else "border" if self.border > 0 else None
        if weighted and self.cross_entropy == 0:
            raise ValueError(f"{weighted}: weighs the cross-entropy, which is 0; give it a weight, or leave this out")
        return self


class GroupChoice(Choice):
    """Parameters whose name matches `pattern` learn at `factor` times the rate."""

    pattern: str = Field(max_length=1000)
    factor: Weight = 1.0
    weight_decay: Weight | None = None

    @field_validator("pattern")
    @classmethod
    def _readable(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from error
        return pattern


class OptimizerChoice(Choice):
    """An optimizer and its base rate; RMSprop's alpha 0.9 and eps 1e-6 are the ones of the FC-DenseNet paper's code."""

    kind: Literal["sgd", "rmsprop", "adam", "adamw"] = "adamw"
    rate: Positive = 1e-3
    weight_decay: Weight = 1e-4
    momentum: float | None = Field(None, ge=0, lt=1, description="SGD's, 0.9; RMSprop's, 0; Adam's β1, 0.9")
    alpha: float | None = Field(None, ge=0, lt=1, description="RMSprop's decay, 0.9")
    eps: float | None = Field(None, gt=0, le=1, description="RMSprop's, 1e-6; Adam's, 1e-8")
    groups: tuple[GroupChoice, ...] = ()

    @model_validator(mode="after")
    def _all_used(self) -> OptimizerChoice:
        refuse_unused(self, self.kind, OPTIMIZER_KEYS)
        return self

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the network's parameters."""
        named = tuple(training.ParameterGroup(g.pattern, g.factor, g.weight_decay) for g in self.groups)
        groups = training.parameter_groups(network, self.rate, self.weight_decay, named)
        if self.kind == "rmsprop":
            alpha, momentum = _or(self.alpha, 0.9), _or(self.momentum, 0.0)
            return torch.optim.RMSprop(groups, lr=self.rate, alpha=alpha, eps=_or(self.eps, 1e-6), momentum=momentum)
        momentum = _or(self.momentum, 0.9)
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=self.rate, momentum=momentum)
        adam = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        # On a CPU one fused kernel takes a third of the time; elsewhere torch chooses.
        fused = True if all(parameter.is_cpu for parameter in network.parameters()) else None
        return adam(groups, lr=self.rate, betas=(momentum, 0.999), eps=_or(self.eps, 1e-8), fused=fused)


class ScheduleChoice(Choice):
    """How the learning rate moves; each field belongs to the schedules that know it."""

    kind: Literal["constant", "poly", "step", "exponential", "cosine"] = "constant"
    power: float | None = Field(None, gt=0, le=100, description="poly's, 0.9")
    every: int | None = Field(None, ge=1, le=1_000_000_000, description="steps from one fall to the next, 2000")
    gamma: float | None = Field(None, gt=0, le=1, description="step's and exponential's, 0.995")
    warmup: float | None = Field(None, ge=0, lt=1, description="cosine's share of rising, 0.05")

    @model_validator(mode="after")
    def _all_used(self) -> ScheduleChoice:
        refuse_unused(self, self.kind, SCHEDULE_KEYS)
        return self

    def factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The factor on the base rate at `step`."""
        gamma = _or(self.gamma, 0.995)
        if self.kind == "poly":
            return training.poly(step, total_steps=total_steps, power=_or(self.power, 0.9))
        if self.kind == "step":
            return training.step(step, total_steps=total_steps, every=self.every or 2000, gamma=gamma)
        if self.kind == "exponential":
            return training.exponential(step, total_steps=total_steps, steps_per_epoch=steps_per_epoch, gamma=gamma)
        if self.kind == "cosine":
            return training.cosine(step, total_steps=total_steps, warmup=_or(self.warmup, 0.05))
        return training.constant(step, total_steps=total_steps)


# Which of the keys that not all kinds know each kind reads.
OPTIMIZER_KEYS: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum",),
    "rmsprop": ("momentum", "alpha", "eps"),
    "adam": ("momentum", "eps"),
    "adamw": ("momentum", "eps"),
}
SCHEDULE_KEYS: Mapping[str, tuple[str, ...]] = {
    "constant": (),
    "poly": ("power",),
    "step": ("every", "gamma"),
    "exponential": ("gamma",),
    "cosine": ("warmup",),
}


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
