"""`DenseCRF` and `DenseCRF2D` as in `pydensecrf.densecrf`: NumPy in and out, one image, energies -log p."""

from __future__ import annotations

import dataclasses
import enum
import math
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from densefield.checks import InputError, check, check_finite, one_line, shown, whole_number
from densefield.ops.mean_field import LatticeTerm
from densefield.ops.mean_field.filters import normalized_filter, raw_filter
from densefield.ops.mean_field.scores import check_scores
from densefield.ops.mean_field.terms import compatible, lattices_of
from densefield.ops.memory import check_memory
from densefield.refine.compatibility import as_tensor, check_positive
from densefield.refine.kernels import positions
from densefield.refine.mean_field import Inference, Normalization, run
from densefield.refine.misuse import looks_like_energies, looks_like_probabilities


class KernelType(enum.IntEnum):
    """Which parameters of a kernel learning would change; inference does not look at it."""

    CONST_KERNEL = 0
    DIAG_KERNEL = 1
    FULL_KERNEL = 2


class NormalizationType(enum.IntEnum):
    """What a kernel's sums are divided by, and where."""

    NO_NORMALIZATION = 0
    NORMALIZE_BEFORE = 1
    NORMALIZE_AFTER = 2
    NORMALIZE_SYMMETRIC = 3


CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = KernelType
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = NormalizationType

_NAMES: dict[NormalizationType, Normalization] = {
    NORMALIZE_BEFORE: "before",
    NORMALIZE_AFTER: "after",
    NORMALIZE_SYMMETRIC: "symmetric",
}


class Unary:
    """Energies -log p (nlabels, nvar) for `DenseCRF.setUnary`; Inf, of p = 0, for a label that cannot be."""

    def __init__(self, energies: NDArray[np.float32]) -> None:
        self.energies = energies


class ConstUnary(Unary):
    """Energies as they are."""

    def __init__(self, u: ArrayLike) -> None:
        super().__init__(_matrix("u", u, infinite=True))


class LogisticUnary(Unary):
    """Energies L f: one row of weights a label, one column of features a pixel."""

    def __init__(self, L: ArrayLike, f: ArrayLike) -> None:
        weights, features = _matrix("L", L), _matrix("f", f)
        check(
            weights.shape[1] == features.shape[0],
            f"f: wanted {weights.shape[1]} features to fit L {weights.shape}, received {features.shape}",
        )
        super().__init__(weights @ features)


@dataclasses.dataclass(frozen=True)
class _Pairwise:
    term: LatticeTerm
    normalization: NormalizationType

    def message(self, q: Tensor, scores: Tensor) -> Tensor:  # (1, nlabels, nvar)
        if self.normalization == NO_NORMALIZATION:
            # The lattice's own sums: what pydensecrf takes, though they fall short of the kernel's.
            kernel = raw_filter(self.term, scores.shape[2:])
        else:
            kernel = normalized_filter(self.term, scores, _NAMES[self.normalization])
        return compatible(self.term.compatibility, kernel(q))


class DenseCRF:
    """A fully connected CRF over `nvar` pixels or points with `nlabels` labels."""

    def __init__(self, nvar: int, nlabels: int, *_: object, **__: object) -> None:
        self._nvar, self._nlabel = whole_number("nvar", nvar, 1, 2**63 - 1), whole_number("nlabels", nlabels, 1)
        self._size: tuple[int, ...] = (self._nvar,)
        self._scores: Tensor | None = None
        self._pairwise: list[_Pairwise] = []

    def setUnary(self, u: Unary) -> None:
        """Take the energies of a `ConstUnary` or `LogisticUnary`."""
        check(isinstance(u, Unary), f"u: wanted a ConstUnary or a LogisticUnary, received {shown(u)}")
        self.setUnaryEnergy(u.energies)

    def setUnaryEnergy(self, u: ArrayLike, f: ArrayLike | None = None) -> None:
        """Take energies -log p (nlabels, nvar), or weights (nlabels, features) and features (features, nvar)."""
        energies = _matrix("u", u, infinite=True) if f is None else LogisticUnary(u, f).energies
        wanted = (self._nlabel, self._nvar)
        check(energies.shape == wanted, f"Bad shape for unary energy (Need {wanted}, got {energies.shape})")
        unary = torch.from_numpy(energies)[None]
        check_scores("u", unary, energies=True)
        likely = looks_like_probabilities(unary)
        self._scores = unary.neg_().reshape(1, self._nlabel, *self._size)
        if likely:
            warnings.warn(
                "unary energies: look like probabilities; wanted -log(p), as utils.unary_from_softmax gives",
                stacklevel=2,
            )
        elif looks_like_energies(self._scores):
            warnings.warn("unary energies: look like log(p); wanted -log(p), so change the sign", stacklevel=2)

    def addPairwiseEnergy(
        self,
        features: ArrayLike,  # (d, nvar), divided by the kernel's widths
        compat: Any,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add a Gaussian kernel of features; `compat` is a Potts weight, energies (nlabels,) or (nlabels, nlabels)."""
        given = _matrix("features", features)
        check(
            given.shape[1] == self._nvar,
            f"Bad shape for pairwise energy (Need (?, {self._nvar}), got {given.shape})",
        )
        self._add_features(torch.from_numpy(given), compat, kernel, normalization)

    def inference(self, niter: int) -> NDArray[np.float32]:  # (nlabels, nvar)
        """The marginals after `niter` updates."""
        log_q = self._updated(None, whole_number("niter", niter, 0))
        return _array(log_q.exp().reshape(self._nlabel, self._nvar))

    def startInference(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The marginals of the unary energies, to be handed to `stepInference`, and two arrays for its own use."""
        q = torch.softmax(self._given(), 1).reshape(self._nlabel, self._nvar)
        if self._scores is None:
            q = torch.zeros_like(q)
        empty = np.empty((0, 0), np.float32)
        return _array(q), empty, empty.copy()

    def stepInference(self, Q: NDArray[np.float32], tmp1: Any = None, tmp2: Any = None) -> None:
        """Update the marginals `Q` (nlabels, nvar) in place."""
        check(
            isinstance(Q, np.ndarray) and Q.flags.writeable,
            f"Q: wanted a NumPy array that can be written to, received {shown(Q)}",
        )
        log_q = self._marginals(Q).clamp_min(1e-38).log().reshape(1, self._nlabel, *self._size)
        Q[...] = self._updated(log_q, 1).exp().reshape(self._nlabel, self._nvar).numpy()

    def klDivergence(self, Q: NDArray[np.float32]) -> float:
        """Σ Q log Q + Σ Q U + Σ Q·μKQ, the KL divergence up to a constant were the last sum halved: as pydensecrf's."""
        q = self._marginals(Q)
        wide, energies = q.double(), -self._given().flatten(2).double()
        # A label that cannot be, and is not, costs nothing; pydensecrf multiplies 0 by infinity.
        energies = energies.masked_fill(energies.isposinf() & (wide == 0), 0.0)
        total = wide * wide.clamp_min(1e-20).log() + wide * energies
        return float((total + wide * self._message(q).double()).sum())

    def _given(self) -> Tensor:  # (1, nlabels, *size), scores
        if self._scores is not None:
            return self._scores
        check_memory(4 * self._nlabel * self._nvar, f"energies of {self._nlabel} labels for {self._nvar} pixels")
        return torch.zeros(1, self._nlabel, *self._size, dtype=torch.float32, device="cpu")

    def _marginals(self, values: ArrayLike) -> Tensor:  # (1, nlabels, nvar)
        given = _matrix("Q", values)
        wanted = (self._nlabel, self._nvar)
        check(given.shape == wanted, f"Q: wanted shape {wanted}, received {given.shape}")
        return torch.from_numpy(given)[None]

    def _updated(self, log_q: Tensor | None, niter: int) -> Tensor:  # (1, nlabels, *size)
        scores = self._given()
        kinds = {pair.normalization for pair in self._pairwise}
        if len(kinds) <= 1 and NO_NORMALIZATION not in kinds:
            name = _NAMES[kinds.pop()] if kinds else "symmetric"
            return run(scores, [pair.term for pair in self._pairwise], Inference(niter, name), log_q)
        log_q = torch.log_softmax(scores, 1) if log_q is None else log_q
        for _ in range(niter):
            message = self._message(log_q.exp().flatten(2)).reshape(scores.shape)
            log_q = torch.log_softmax(scores - message, 1)
        return log_q

    def _message(self, q: Tensor) -> Tensor:  # (1, nlabels, nvar)
        total = torch.zeros_like(q)
        for pair in self._pairwise:
            total += pair.message(q, self._given())
        return total

    def _add_features(self, features: Tensor, compat: Any, kernel: int, normalization: int) -> None:
        try:
            KernelType(kernel)
            chosen = NormalizationType(normalization)
        except (TypeError, ValueError):
            given = f"{shown(kernel)} and {shown(normalization)}"
            raise InputError(f"kernel, normalization: wanted this module's constants, received {given}") from None
        ones = features.new_ones(features.shape[0])
        term = LatticeTerm(features[None], ones, self._compatibility(compat))
        self._pairwise.append(_Pairwise(dataclasses.replace(term, lattice=lattices_of(term)), chosen))

    def _compatibility(self, compat: Any) -> Tensor:
        given = _as_array("compat", compat)
        check(
            given.dtype.kind in "fiub",
            f"compat: wanted a number, ({self._nlabel},) or ({self._nlabel}, {self._nlabel}), received {shown(compat)}",
        )
        energies = np.array(given, dtype=np.float32)
        check(energies.ndim <= 2, "LabelCompatibility of dimension >2 not meaningful.")
        check_finite("compat", torch.from_numpy(np.atleast_1d(energies)))
        if energies.ndim == 0:
            return as_tensor(-float(energies))
        check(
            all(length == self._nlabel for length in energies.shape),
            f"compat: wanted a number, ({self._nlabel},) or ({self._nlabel}, {self._nlabel}), "
            f"received shape {energies.shape}",
        )
        return torch.from_numpy((energies + energies.T) / 2 if energies.ndim == 2 else energies)


class DenseCRF2D(DenseCRF):
    """A fully connected CRF over an image: width first, then height."""

    def __init__(self, w: int, h: int, nlabels: int, *_: object, **__: object) -> None:
        size = whole_number("h", h, 1), whole_number("w", w, 1)
        super().__init__(math.prod(size), nlabels)
        self._size = size

    def addPairwiseGaussian(
        self, sxy: Any, compat: Any, kernel: int = DIAG_KERNEL, normalization: int = NORMALIZE_SYMMETRIC
    ) -> None:
        """Add the kernel of positions with widths `sxy` in pixels: one number, or (x, y)."""
        # Through the lattice, as pydensecrf: `DenseCRF` of densefield filters this kernel exactly instead.
        widths = as_tensor(_widths("sxy", sxy, 2))
        places = positions(self._size, widths).flip(0)
        self._add_features(places / widths[:, None], compat, kernel, normalization)

    def addPairwiseBilateral(
        self,
        sxy: Any,
        srgb: Any,
        rgbim: NDArray[np.uint8],  # (h, w, 3)
        compat: Any,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add the kernel of positions and colors; `srgb` in 8-bit units: one number, or one a channel."""
        image = _as_array("rgbim", rgbim)
        wanted = (*self._size, 3)
        check(
            image.ndim == 3 and image.shape[:2] == self._size,
            f"Bad shape for pairwise bilateral (Need {wanted}, got {image.shape})",
        )
        check(
            image.shape[2] == 3,
            "addPairwiseBilateral only works for RGB images. For other types, use `utils.create_pairwise_bilateral` to "
            "construct your own pairwise energy and add it through `addPairwiseEnergy`.",
        )
        check(image.dtype == np.uint8, f"rgbim: wanted uint8, received {image.dtype}")
        colors = torch.from_numpy(np.array(image)).reshape(-1, 3).T.float()  # a copy: a Pillow image is read-only
        places = positions(self._size, colors).flip(0)
        widths = as_tensor([*_widths("sxy", sxy, 2), *_widths("srgb", srgb, 3)])
        self._add_features(torch.cat([places, colors]) / widths[:, None], compat, kernel, normalization)


def _widths(name: str, value: Any, count: int) -> tuple[float, ...]:
    numbers = _as_array(name, value)
    fits = numbers.ndim == 0 or (numbers.ndim == 1 and len(numbers) >= count)
    right = fits and numbers.dtype.kind in "fiu"
    check(right, f"{name}: wanted one width or {count}, received {shown(value)}")
    widths = tuple(float(width) for width in (numbers[:count] if numbers.ndim else [numbers] * count))
    check_positive(name, widths)
    check(all(math.isfinite(1 / width) for width in widths), f"{name}: {shown(value)} is too small for a width")
    return widths


def _matrix(name: str, values: ArrayLike, *, infinite: bool = False) -> NDArray[np.float32]:
    """A copy, whatever shares the values' memory: `infinite` leaves it to the caller what may be infinite."""
    array = _as_array(name, values)
    check(
        array.ndim == 2 and array.size > 0 and array.dtype.kind in "fiu",
        f"{name}: wanted a matrix of numbers, nothing empty, received {array.dtype} {array.shape}",
    )
    given: NDArray[np.float32] = np.array(array, dtype=np.float32, order="C")
    if not infinite:
        check_finite(name, torch.from_numpy(given))
    return given


def _as_array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors with a gradient, or elsewhere
        reason = one_line(error, 100)
        raise InputError(f"{name}: wanted an array, received {shown(values)} ({reason})") from None


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.numpy(), dtype=np.float32)
