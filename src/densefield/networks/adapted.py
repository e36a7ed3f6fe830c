"""Other people's networks behind our protocol: any size of image in, scores of the image's size out.

What is taken for scores are the conventions of torchvision (a mapping with "out" and "aux"), transformers (`.logits`),
segmentation_models.pytorch (a tensor, or a tuple of it and of labels for the whole image).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError, check, check_map, one_line, whole_number
from densefield.mirroring import mirrored_window
from densefield.protocols import stated

_WHOLE = 32  # what transformers' backbones halve sides to


class Adapted(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W) by a network of other origin, as `adapted` makes it."""

    margin = 0

    def __init__(self, model: nn.Module, num_classes: int, in_channels: int = 3, *, multiple: int = 1) -> None:
        super().__init__()
        self.model = model
        self.num_classes = whole_number("num_classes", num_classes, 1)
        self.in_channels = whole_number("in_channels", in_channels, 1)
        self.multiple = whole_number("multiple", multiple, 1)
        # Tiles begin where the model's own strides do; of what it sees it seldom says anything.
        self.stride = math.lcm(stated(model, "stride", 32), self.multiple)
        self.reach = stated(model, "reach", None)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        return self.all_scores(image)[0]

    def all_scores(self, image: Tensor) -> tuple[Tensor, ...]:
        """The answer, then the scores of auxiliary heads, each of the image's size."""
        check_map("image", image, self.in_channels)
        height, width = image.shape[2:]
        # Not by a negative number, which exported files divide towards zero.
        whole = [(length + self.multiple - 1) // self.multiple * self.multiple for length in (height, width)]
        padded = image if self.multiple == 1 else mirrored_window(image, (0, whole[0]), (0, whole[1]))
        answer = self._asked(padded)
        found = tuple(self._enlarged(scores, whole)[:, :, :height, :width] for scores in _scores(answer))
        check(bool(found), f"network: wanted scores (B, {self.num_classes}, h, w), received {_told(answer)}")
        return found

    def _asked(self, image: Tensor) -> object:
        """The model's answer; what it cannot take of an image is told in one line, as some take one size only."""
        try:
            return self.model(image)
        except (AssertionError, ValueError, RuntimeError) as error:
            if isinstance(error, InputError) or "memory" in str(error):
                raise
            raise InputError(f"network: does not take an image {tuple(image.shape)} ({one_line(error)})") from error

    def _enlarged(self, scores: Tensor, whole: Sequence[int]) -> Tensor:
        wanted = f"scores (B, {self.num_classes}, h, w)"
        check(scores.shape[1] == self.num_classes, f"network: wanted {wanted}, received {tuple(scores.shape)}")
        if tuple(scores.shape[2:]) == tuple(whole):
            return scores
        coarser = scores.shape[2] <= whole[0] and scores.shape[3] <= whole[1]
        of = f"network: wanted scores of {tuple(whole)} pixels or fewer"
        check(coarser, f"{of}, received {tuple(scores.shape[2:])}")
        return functional.interpolate(scores, size=tuple(whole), mode="bilinear", align_corners=False)


def adapted(network: nn.Module, num_classes: int, in_channels: int = 3, *, multiple: int = 1) -> Adapted:
    """`network` behind our protocol: (B, `in_channels`, H, W) → scores (B, `num_classes`, H, W), before softmax.

    The image is mirrored below and to the right up to sides that are a `multiple`; scores are enlarged bilinearly to
    it, corners not aligned, and cut. They are the network's answer itself, `["out"]` of a mapping, `.logits` of an
    output of transformers, the first of a tuple; `all_scores` adds `["aux"]`, and further (B, K, h, w) of a tuple.
    Raises `InputError` that tells type, keys and shapes of any other answer, and for another number of classes.
    """
    return Adapted(network, num_classes, in_channels, multiple=multiple)


def multiple_of(network: nn.Module) -> int:
    """What the sides of images are to be a multiple of, as far as `network` tells: smp's says it, transformers' halve.

    Others take any size, or say what they lack themselves.
    """
    if getattr(network, "requires_divisible_input_shape", False) is True:
        return stated(getattr(network, "encoder", network), "output_stride", _WHOLE)
    return _WHOLE if hasattr(getattr(network, "config", None), "model_type") else 1


def _scores(answer: object) -> tuple[Tensor, ...]:
    """The scores in what a network answered, its own first; none where there are none."""
    found: Sequence[object] = ()
    if isinstance(answer, Tensor):
        found = (answer,)
    elif (logits := getattr(answer, "logits", None)) is not None:
        found = (logits,)
    elif isinstance(answer, Mapping):
        found = (answer.get("out"), answer.get("aux"))
    elif isinstance(answer, Sequence):
        found = answer
    maps = [each for each in found if isinstance(each, Tensor) and each.dim() == 4]
    # Labels of the whole image may come behind scores, not before them.
    own = bool(maps) and maps[0] is found[0]
    return tuple(each for each in maps if each.shape[:2] == maps[0].shape[:2]) if own else ()


def _told(answer: object) -> str:
    """An answer's type, with its keys and shapes."""
    if isinstance(answer, Tensor):
        return f"a tensor {tuple(answer.shape)}"
    name = type(answer).__name__
    if isinstance(answer, Mapping):
        return f"{name} with {', '.join(f'{key}: {_shape(each)}' for key, each in list(answer.items())[:8])}"
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return f"{name} of {', '.join(map(_shape, answer[:8]))}"
    return name


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
