"""The refinements that a recipe chooses from: plain frozen values that build the module behind the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import nn

from densefield import networks
from densefield.checks import InputError
from densefield.networks.embedding import ALONE, IN_VGG
from densefield.recipes.choices import Channels, Choice, Positive, Weight, refuse_unused
from densefield.refine import BilateralKernel, DenseCRF, EmbeddingFilter, EmbeddingRefinement, SpatialKernel


class DenseCRFChoice(Choice):
    """A dense CRF with diagonal widths; `learn` makes its nine numbers parameters (Schwing and Urtasun 2015)."""

    kind: Literal["dense_crf"] = "dense_crf"
    spatial_weight: Positive = 3.0
    theta_gamma: Positive = Field(3.0, description="pixels")
    bilateral_weight: Positive = 10.0
    theta_alpha: Positive = Field(80.0, description="pixels")
    theta_beta: Positive = Field(13.0, description="8-bit units")
    iterations: Channels = 5
    learn: bool = True
    accurate: bool = False
    recompute: bool = False

    def build(self, network: nn.Module, num_classes: int, mean: Sequence[float], std: Sequence[float]) -> DenseCRF:
        """The layer; it looks at the image itself, so `network`, `mean` and `std` do not matter."""
        return DenseCRF(
            num_classes,
            kernels=(
                SpatialKernel((self.theta_gamma,) * 2, self.spatial_weight),
                BilateralKernel((self.theta_alpha,) * 2, (self.theta_beta,) * 3, self.bilateral_weight),
            ),
            iterations=self.iterations,
            learn_weights=self.learn,
            learn_widths=self.learn,
            accurate=self.accurate,
            recompute=self.recompute,
        )


class EmbeddingFilterChoice(Choice):
    """An embedding network and its filter (Harley et al. 2016), with the pair losses that the embeddings learn from."""

    kind: Literal["embedding_filter"] = "embedding_filter"
    trunk: Literal["own", "network"] = Field("own", description="network: the layers of the recipe's network, shared")
    taps: tuple[str, ...] | None = Field(
        None, min_length=1, description="layers of VGG, or image; by default those published for such a trunk"
    )
    width: Channels | None = Field(None, description="channels of conv1_1 of an own trunk, 64")
    dimension: Channels = 64
    batch_norm: bool | None = Field(None, description="of an own trunk, true")
    window: Channels = 9
    iterations: Channels = 7
    rate: Channels = 1
    initial_lambda: Positive = Field(8.0, description="smaller, thin things drown (docs/embeddings.md)")
    learn_lambda: bool = True
    pair_loss: Weight = Field(1.0, description="weight of the sum of pair losses")
    pair_window: Channels | None = Field(None, description="3")
    pair_rates: tuple[Channels, ...] | None = Field(None, min_length=1, description="1, 2, 5")
    pair_labels: Literal["target", "superpixels"] | None = Field(
        None, description="superpixels: pairs are alike within one, so that no pixel labels are needed; else target"
    )

    @model_validator(mode="after")
    def _all_used(self) -> EmbeddingFilterChoice:
        refuse_unused(self, f"trunk: {self.trunk}", {"trunk: own": ("width", "batch_norm"), "trunk: network": ()})
        chosen = "a pair_loss above 0" if self.pair_loss > 0 else "pair_loss: 0"
        refuse_unused(
            self, chosen, {"a pair_loss above 0": ("pair_window", "pair_rates", "pair_labels"), "pair_loss: 0": ()}
        )
        return self

    def build(
        self, network: nn.Module, num_classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> EmbeddingRefinement:
        """The embedding network with its filter; of its own, with fresh weights, it reads colour in any case.

        Raises `InputError` where `network` should lend its trunk and has none that reads colour through VGG's layers.
        """
        if self.trunk == "network":
            trunk = getattr(network, "trunk", None)
            if not isinstance(trunk, networks.VGG) or trunk.in_channels != 3:
                raise InputError(
                    "refinement.trunk: wanted a network with a VGG of three channels as its trunk (network.kind "
                    f"deeplab_largefov), received {type(network).__name__}"
                )
            embedder = networks.EmbeddingNetwork(trunk, dimension=self.dimension, taps=self.taps or IN_VGG)
        else:
            mean, std = (values if len(values) == 3 else (*values,) * 3 for values in (mean, std))
            embedder = networks.embedding_network(
                3,
                dimension=self.dimension,
                taps=self.taps or ALONE,
                width=self.width or 64,
                batch_norm=self.batch_norm is not False,
            )
        chosen = EmbeddingFilter(
            self.window, self.iterations, self.rate, self.learn_lambda, initial_lambda=self.initial_lambda
        )
        return EmbeddingRefinement(embedder, chosen, mean=mean, std=std)


RefinementChoice = Annotated[DenseCRFChoice | EmbeddingFilterChoice, Field(discriminator="kind")]
