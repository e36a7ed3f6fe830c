"""What a recipe chooses from: plain frozen values that know how to build the object they describe.

They are the one place where words pick classes, so that a recipe can be a YAML file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from densefield import networks, training
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


class Choice(BaseModel):
    """Strict, frozen, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


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
    width: PositiveInt = 64

    def build(self, num_classes: int, in_channels: int) -> nn.Module:
        """The network, with fresh weights."""
        return networks.unet(num_classes, in_channels, padding=self.padding, width=self.width)


class DeepLabChoice(Choice):
    """DeepLab's LargeFOV network (Chen et al. 2015); batch normalisation to learn it from scratch."""

    kind: Literal["deeplab_largefov"] = "deeplab_largefov"
    width: PositiveInt = 64
    rate: PositiveInt = 12
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
    size: PositiveInt = 96
    scenes: PositiveInt = 1024
    held_out_size: PositiveInt = 192
    held_out_scenes: PositiveInt = 64
    digits: tuple[NonNegativeInt, ...] = DIGITS

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


class FolderChoice(Choice):
    """A person's own folder: `root`/images, `root`/masks and a class list (YAML); `val` is the share held out.

    `suffix` stands behind the image's name in its mask's: "_mask" for NAME_mask.png.
    """

    kind: Literal["folder"] = "folder"
    root: str
    images: str = "images"
    masks: str = "masks"
    classes: str = "classes.yaml"
    suffix: str = ""
    val: float = Field(0.2, gt=0, lt=1)

    def build(self, split: str) -> Folder:
        """The split "train", "val" or "all"."""
        root = Path(self.root)
        folders = root / self.images, root / self.masks
        return Folder(*folders, root / self.classes, split=split, val=self.val, suffix=self.suffix)


DataChoice = Annotated[SamplesChoice | CamVidChoice | CellImagesChoice | FolderChoice, Field(discriminator="kind")]


class Augmentation(Choice):
    """Random changes of a training pair: warp, then crop, then mirror, then colour."""

    scale: tuple[PositiveFloat, PositiveFloat] | None = None
    rotation: float = Field(0.0, ge=0, description="degrees either way")
    elastic: float = Field(0.0, ge=0, description="σ in pixels of the 3×3 displacements (U-Net, section 3.1)")
    crop: tuple[PositiveInt, PositiveInt] | None = Field(None, description="height, width")
    flip: bool = False
    dihedral: bool = Field(False, description="all eight mirrorings and quarter turns")
    jitter: float = Field(0.0, ge=0, lt=1, description="brightness, contrast and saturation, as a share")

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
        elif self.flip:
            steps.append(RandomFlip())
        if self.jitter:
            steps.append(ColourJitter(self.jitter, self.jitter, self.jitter))
        return Compose(*steps)


class LossChoice(Choice):
    """Cross-entropy and soft Dice, each by its weight."""

    cross_entropy: float = Field(1.0, ge=0)
    dice: float = Field(0.0, ge=0)
    class_weights: Literal["none", "median_frequency"] = "none"
    border: float = Field(0.0, ge=0, description="w_0 of U-Net's border weights; class 1 is what has borders")
    border_sigma: PositiveFloat = 5.0


class GroupChoice(Choice):
    """Parameters whose name matches `pattern` learn at `factor` times the rate."""

    pattern: str
    factor: float = Field(1.0, ge=0)
    weight_decay: float | None = Field(None, ge=0)


class OptimizerChoice(Choice):
    """An optimizer and its base rate; RMSprop's alpha 0.9 and eps 1e-6 are the ones of the FC-DenseNet paper's code."""

    kind: Literal["sgd", "rmsprop", "adam", "adamw"] = "adamw"
    rate: PositiveFloat = 1e-3
    weight_decay: float = Field(1e-4, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's; Adam's β1")
    alpha: float = Field(0.9, ge=0, lt=1, description="RMSprop's decay")
    eps: PositiveFloat | None = None
    groups: tuple[GroupChoice, ...] = ()

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the network's parameters."""
        named = tuple(training.ParameterGroup(g.pattern, g.factor, g.weight_decay) for g in self.groups)
        groups = training.parameter_groups(network, self.rate, self.weight_decay, named)
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=self.rate, momentum=self.momentum)
        if self.kind == "rmsprop":
            return torch.optim.RMSprop(groups, lr=self.rate, alpha=self.alpha, eps=self.eps or 1e-6)
        adam = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return adam(groups, lr=self.rate, betas=(self.momentum, 0.999), eps=self.eps or 1e-8)


class ScheduleChoice(Choice):
    """How the learning rate moves; each field is used by the schedule that knows it."""

    kind: Literal["constant", "poly", "step", "exponential", "cosine"] = "constant"
    power: PositiveFloat = 0.9
    every: PositiveInt = 2000
    gamma: PositiveFloat = 0.995
    warmup: float = Field(0.05, ge=0, lt=1)

    def factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The factor on the base rate at `step`."""
        if self.kind == "poly":
            return training.poly(step, total_steps=total_steps, power=self.power)
        if self.kind == "step":
            return training.step(step, total_steps=total_steps, every=self.every, gamma=self.gamma)
        if self.kind == "exponential":
            return training.exponential(
                step, total_steps=total_steps, steps_per_epoch=steps_per_epoch, gamma=self.gamma
            )
        if self.kind == "cosine":
            return training.cosine(step, total_steps=total_steps, warmup=self.warmup)
        return training.constant(step, total_steps=total_steps)
