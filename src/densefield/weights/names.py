"""Layers by their released names: the same layer is res2a_branch2a, layer1.0.conv1 and layer2.block1.reduce.conv.

Rules, no table for each network. Names compare without case and whatever signs separate their words.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

# What stands around a network in files, told by nobody to mean anything.
_WRAPPERS = re.compile(r"(module|model|network|net|encoder|backbone|base|trunk)\.")
# Classifiers are called after the classes they were released for: fc8_pascal, fc1_voc12_c0, seg-score-voc.
_DATA = re.compile(r"[_-](pascal|voc\d*|coco|cityscapes|camvid|nyud?\d*|context|person|part)(?=[_.-]|$)")

_BRANCHES = {"1": "downsample.0", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_PSPNET = {"1x1_reduce": "conv1", "3x3": "conv2", "1x1_increase": "conv3", "1x1_proj": "downsample.0"}
_DEEPLAB_PYTORCH = {"reduce": "conv1", "conv3x3": "conv2", "increase": "conv3", "shortcut": "downsample.0"}
_TIMM = {"pre_logits.fc1": "fc6", "pre_logits.fc2": "fc7", "head.fc": "fc8"}


def key(name: str) -> str:
    """A name as names are compared."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def spellings(name: str) -> Iterator[str]:
    """What a layer of a file may be called in a network, likeliest first."""
    yield name
    while (found := _WRAPPERS.match(name)) is not None:
        name = name[found.end() :]
        yield name
    yield from _resnet(name)
    plain = _DATA.sub("", name)
    if plain != name:
        yield plain
    if name in _TIMM:
        yield _TIMM[name]
    # DeepLab's classifiers on ResNet, of which deeplab-pytorch keeps the numbers.
    if (found := re.fullmatch(r"aspp\.(c\d+)", name)) is not None:
        yield f"fc1_{found[1]}"
    # Dilated networks: ct_ and fc-final for VOC are ctx_ and final for the others.
    if name.startswith("ct_"):
        yield f"ctx_{name[3:]}"
    if key(name) == "fc_final":
        yield "final"


def _resnet(name: str) -> Iterator[str]:
    """torchvision's names of ResNet's layers, for Caffe's, PSPNet's and deeplab-pytorch's."""
    if (found := re.fullmatch(r"res([2-5])([a-z])([0-9]{0,3})_branch(1|2[abc])", name)) is not None:
        block = int(found[3]) if found[3] else ord(found[2]) - ord("a")  # b1 of a long stage, c of a short one
        yield f"layer{int(found[1]) - 1}.{block}.{_BRANCHES[found[4]]}"
    elif (found := re.fullmatch(r"conv([2-5])_([0-9]{1,3})_(1x1_reduce|3x3|1x1_increase|1x1_proj)", name)) is not None:
        yield f"layer{int(found[1]) - 1}.{int(found[2]) - 1}.{_PSPNET[found[3]]}"
    elif (found := re.fullmatch(r"layer([2-5])\.block([0-9]{1,3})\.(\w+)\.conv", name)) is not None:
        yield f"layer{int(found[1]) - 1}.{int(found[2]) - 1}.{_DEEPLAB_PYTORCH.get(found[3], found[3])}"
    elif name == "layer1.conv1.conv":
        yield "conv1"
    elif (found := re.fullmatch(r"conv1_([123])_3x3(_s2)?", name)) is not None:  # PSPNet's stem of three
        yield f"conv{found[1]}"


def vgg_names(layers: Iterable[str]) -> dict[str, str]:
    """VGG's own names for torchvision's: features.N, with gaps where poolings end a block, and classifier.N."""
    features = sorted(_numbered(layers, "features"))
    if not features:
        return {}
    steps = [after - before for (before, _), (after, _) in itertools.pairwise(features)]
    block, index = 1, 0
    named: dict[str, str] = {}
    for (_, name), step in zip(features, [0, *steps], strict=True):
        if step and step > min(steps):
            block, index = block + 1, 0
        index += 1
        named[name] = f"conv{block}_{index}"
    for place, (_, name) in enumerate(sorted(_numbered(layers, "classifier"))):
        named[name] = f"fc{6 + place}"
    return named


def _numbered(layers: Iterable[str], folder: str) -> Iterator[tuple[int, str]]:
    for name in layers:
        found = re.fullmatch(rf"(?:.*\.)?{folder}\.([0-9]{{1,4}})", name)
        if found is not None:
            yield int(found[1]), name


def convolution_before(norm: str, convolutions: Collection[str], previous: str | None) -> str | None:
    """The convolution that a normalization follows: bn1 conv1, downsample.1 downsample.0, x_bn x; else `previous`."""
    parent, _, last = norm.rpartition(".")
    stem = f"{parent}." if parent else ""
    likely = (
        stem + re.sub(r"^bn(\d*)$", r"conv\1", last),
        stem + re.sub(r"^bn$", "conv", last),
        re.sub(r"(?<=downsample\.)1$", "0", norm),
        re.sub(r"[_./-](bn|norm)$", "", norm),
    )
    return next((name for name in likely if name != norm and name in convolutions), previous)


def own_names(path: str, convolutions: Collection[str]) -> Iterator[tuple[str, int]]:
    """What a layer of a network may be called in files, and how much of its path that leaves out.

    A folder that holds one convolution lends it its name (fc6 of fc6.0); what stands around may be left out.
    """
    for name in _collapsed(path, convolutions):
        parts = name.split(".")
        for left_out in range(min(3, len(parts))):
            if left_out and parts[left_out - 1].isdigit():
                break
            short = ".".join(parts[left_out:])
            yield short, left_out
            plain = _DATA.sub("", short)
            if plain != short:
                yield plain, left_out


def _collapsed(path: str, convolutions: Collection[str]) -> Iterator[str]:
    yield path
    folder = path.rpartition(".")[0]
    while folder and sum(name.startswith(f"{folder}.") for name in convolutions) == 1:
        yield folder
        folder = folder.rpartition(".")[0]


def named_alike(names: Mapping[str, Sequence[tuple[int, str]]], wanted: str) -> str | None:
    """The layer that is called `wanted` with the least left out; None where there is none, or more than one."""
    found = sorted(names.get(key(wanted), ()))
    alone = len(found) == 1 or (len(found) > 1 and found[0][0] < found[1][0])
    return found[0][1] if alone else None
