"""`DenseCRF`: the fully connected CRF as a layer, scores in, refined scores out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from densefield.built import described
from densefield.built.bounds import Count, Share
from densefield.checks import check, finite_number, shown, whole_number
from densefield.ops.mean_field import Term
from densefield.ops.mean_field.scores import check_scores
from densefield.refine import energy as energies
from densefield.refine.compatibility import Compatibility, Potts, as_tensor, check_compatibility
from densefield.refine.kernels import Kernel, check_kernels, per_axis
from densefield.refine.mean_field import (
    Inference,
    Normalization,
    pairwise_terms,
    run,
    run_recomputed,
    with_lattices,
)
from densefield.refine.misuse import warn_of_wrong_scores
from densefield.refine.presets import DEFAULT


class Iteration(NamedTuple):
    """The state after so many updates: DeepLab's Figure 5 draws both maps."""

    step: int
    scores: Tensor  # (B, K, *size), log-marginals
    marginals: Tensor  # (B, K, *size), marginals


@described("dense_crf")
class DenseCRF(nn.Module):
    """A fully connected CRF (Krähenbühl and Koltun 2011) as a layer: `crf(scores, image)` gives refined scores.

    Remembers kernels, compatibility and the like of `mean_field`. What is learned becomes parameters: weights, widths
    and a Potts weight by their logarithms, so that they stay positive; `Diagonal` and `Matrix` energies as they are.
    Nothing is learned by default, and `kernels` and `compatibility` always give the current values. Raises `InputError`
    for numbers that make no sense.
    """

    def __init__(
        self,
        num_classes: Count,
        kernels: Sequence[Kernel] = DEFAULT,
        compatibility: Compatibility | Sequence[Compatibility] = Potts(),  # noqa: B008 - frozen
        iterations: Annotated[int, Field(ge=0, le=1024)] = 10,
        normalization: Normalization = "symmetric",
        *,
        learn_weights: bool = False,
        learn_widths: bool = False,
        learn_compatibility: bool = False,
        prune: Share = 0.0,
        accurate: bool = False,
        dense: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = whole_number("num_classes", num_classes, 1)
        self.iterations = whole_number("iterations", iterations, 0)
        choices = ("symmetric", "before", "after", "none")
        known = isinstance(normalization, str) and normalization in choices
        check(known, f"normalization: wanted one of {choices}, received {shown(normalization)}")
        check(0 <= finite_number("prune", prune) < 1, f"prune: wanted a marginal from 0 to below 1, received {prune}")
        check_kernels(kernels)
        self.normalization: Normalization = normalization
        self.prune = float(prune)
        self.accurate, self.dense, self.recompute = bool(accurate), bool(dense), bool(recompute)
        self.learn_weights, self.learn_widths = bool(learn_weights), bool(learn_widths)
        self.learn_compatibility = bool(learn_compatibility)
        self._kernels = tuple(kernels)
        each = check_compatibility(compatibility, len(self._kernels))
        for chosen in each:
            shape = chosen.energies().shape
            check(
                not shape or shape[0] == num_classes,
                f"compatibility: wanted energies for {num_classes} labels, received {shape[:1].numel()}",
            )
        self._compatibility = compatibility
        self.log_weights: nn.Parameter | None = None
        if learn_weights and self._kernels:
            weights = [as_tensor(kernel.weight).detach().cpu() for kernel in self._kernels]
            self.log_weights = _parameter(torch.stack(weights).log())
        self.log_widths = nn.ParameterDict()
        if learn_widths:
            for index, kernel in enumerate(self._kernels):
                for name, value in kernel.raw().items():
                    self.log_widths[f"{name}_{index}"] = _parameter(value)
        self.raw_energies = nn.ParameterList()
        if learn_compatibility:
            self.raw_energies.extend(_parameter(chosen.raw()) for chosen in each)

    @classmethod
    def nine_parameters(cls, num_classes: int, *, iterations: int = 5, recompute: bool = False) -> DenseCRF:
        """The CRF that Schwing and Urtasun (2015) train with the network: 2 weights, 2 + 5 widths of diagonal Σ."""
        return cls(
            num_classes,
            kernels=per_axis(DEFAULT),
            iterations=iterations,
            learn_weights=True,
            learn_widths=True,
            recompute=recompute,
        )

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels with their current weights and widths."""
        current = []
        for index, kernel in enumerate(self._kernels):
            if len(self.log_widths):
                kernel = kernel.with_raw({name: self.log_widths[f"{name}_{index}"] for name in kernel.raw()})
            if self.log_weights is not None:
                kernel = replace(kernel, weight=self.log_weights[index].exp())
            current.append(kernel)
        return tuple(current)

    @property
    def compatibility(self) -> Compatibility | Sequence[Compatibility]:
        """The compatibility with its current values: one for all kernels, or one each."""
        if not len(self.raw_energies):
            return self._compatibility
        if not isinstance(self._compatibility, Sequence):
            return self._compatibility.with_raw(self.raw_energies[0])
        return [chosen.with_raw(raw) for chosen, raw in zip(self._compatibility, self.raw_energies, strict=True)]

    @_disable_dynamo  # as `mean_field`, before what looks at numbers here
    def forward(
        self,
        scores: Tensor,  # (B, K, *size), before softmax
        image: Tensor | None = None,  # (B, channels, *size), uint8 or in [0, 1]
        features: Tensor | Sequence[Tensor] = (),  # (B, d, *size) for each FeatureKernel
    ) -> Tensor:  # (B, K, *size), log-marginals
        self._check(scores)
        warn_of_wrong_scores(scores)
        if scores.numel() == 0:
            return torch.log_softmax(scores, 1)
        terms = self._terms(scores, image, features)
        return (run_recomputed if self.recompute else run)(scores, terms, self._how())

    def iterate(
        self, scores: Tensor, image: Tensor | None = None, features: Tensor | Sequence[Tensor] = ()
    ) -> Iterator[Iteration]:
        """The states after 0, 1, … `iterations` updates of what `forward` takes; the lattices are built once."""
        wide = self._checked(scores)
        terms = self._terms(wide, image, features)
        terms = terms if self.dense else with_lattices(terms)
        log_q = torch.log_softmax(wide, 1)
        for index in range(self.iterations + 1):
            if index:
                log_q = run(wide, terms, self._how()._replace(iterations=1), log_q)
            yield Iteration(index, log_q.to(scores.dtype), log_q.exp().to(scores.dtype))

    def energy(
        self,
        labels: Tensor,  # (B, *size), integers
        scores: Tensor,
        image: Tensor | None = None,
        features: Tensor | Sequence[Tensor] = (),
    ) -> Tensor:  # (B,)
        """The energy of a labelling, with unary energies -scores; the formula stands at `refine.energy.energy`."""
        unary = -self._checked(scores)
        return energies.energy(labels, unary, self._terms(unary, image, features), self.normalization)

    def free_energy(
        self,
        marginals: Tensor,  # (B, K, *size), Q
        scores: Tensor,
        image: Tensor | None = None,
        features: Tensor | Sequence[Tensor] = (),
    ) -> Tensor:  # (B,)
        """The free energy of marginals, which the updates lower; the formula stands at `refine.energy.free_energy`."""
        unary = -self._checked(scores)
        return energies.free_energy(marginals, unary, self._terms(unary, image, features), self.normalization)

    def _check(self, scores: Tensor) -> None:
        right = isinstance(scores, Tensor) and scores.dim() >= 3 and scores.shape[1] == self.num_classes
        check(
            right,
            f"scores: wanted a tensor (B, {self.num_classes}, *size), such as (B, {self.num_classes}, H, W), received "
            f"{tuple(scores.shape) if isinstance(scores, Tensor) else shown(scores)}",
        )
        check(scores.is_floating_point(), f"scores: wanted a floating-point tensor, received {scores.dtype}")

    def _checked(self, scores: Tensor) -> Tensor:
        self._check(scores)
        check_scores("scores", scores)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def _how(self) -> Inference:
        return Inference(self.iterations, self.normalization, self.prune, not self.accurate, self.dense)

    def _terms(self, scores: Tensor, image: Tensor | None, features: Tensor | Sequence[Tensor]) -> list[Term]:
        return pairwise_terms(
            scores, self.kernels, self.compatibility, image=image, features=features, accurate=self.accurate
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_classes}, kernels={self.kernels}, compatibility={self.compatibility}, "
            f"iterations={self.iterations}, normalization={self.normalization!r}"
        )


def _parameter(value: Tensor) -> nn.Parameter:
    """What is learned lies on torch's default device, as the parameters of torch's own layers do."""
    return nn.Parameter(value.to(torch.get_default_device()))
