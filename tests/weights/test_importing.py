"""Each published layout, written here from our own networks under the released names, gives the same bits back."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from caffemodels import blob, caffemodel, layer
from torch import Tensor, nn

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.networks import (
    VGG,
    DeepLabResNet,
    ResNet,
    deconvnet,
    deeplab_4x4,
    deeplab_7x7,
    deeplab_aspp_vgg16,
    deeplab_largefov,
    deeplab_msc_largefov,
    deeplab_resnet101,
    dilation8,
    dilation10,
    fc_densenet56,
    fcn8s,
    fcn8s_at_once,
    fcn16s,
    fcn32s,
    fcn32s_alexnet,
    fcn32s_googlenet,
    hypercolumns,
    pspnet101,
    segnet,
    segnet_basic,
    unet,
)
from densefield.segmenter import Segmenter
from densefield.weights import import_weights, write_tensors

DEEPLAB = (122.675, 116.669, 104.008)  # means, as RGB
FCN = (122.67891434, 116.66876762, 104.00698793)


def drawn(build: Callable[[], nn.Module]) -> nn.Module:
    """A network none of whose numbers are what it begins with."""
    network = build().eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                variance = name.endswith("running_var")
                tensor.add_(torch.rand_like(tensor) if variance else 0.05 * torch.randn_like(tensor))
    return network


def same(ours: nn.Module, theirs: nn.Module, *, side: int = 45) -> None:
    """The same tensors and the same scores, bit for bit."""
    wanted = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    image = torch.rand(1, 3, side, side + 3)
    with torch.no_grad():
        assert torch.equal(ours.eval()(image), theirs.eval()(image))


# How Caffe would write a network: an array of bytes for each layer, in the network's order.


def convolution(name: str, module: nn.Module, *, reads: str = "", age: int = 2) -> bytes:
    weight = module.weight.detach()
    if reads:
        weight = weight.flip(1)  # published networks read BGR
    blobs = [blob(weight.numpy(), older=age < 2)]
    if getattr(module, "bias", None) is not None:
        blobs.append(blob(module.bias.detach().numpy(), older=age < 2))
    return layer(name, "Convolution" if isinstance(module, nn.Conv2d) else "Deconvolution", blobs, reads=reads, age=age)


def batch_norm(name: str, module: nn.Module) -> bytes:
    """Sums and what to divide them by, then a layer of factors and biases."""
    sums = [blob(4 * each.numpy()) for each in (module.running_mean, module.running_var)]
    factors = [blob(each.detach().numpy()) for each in (module.weight, module.bias)]
    return layer(name, "BatchNorm", [*sums, blob(np.float32([4]))]) + layer(f"scale_{name}", "Scale", factors)


def bn(name: str, module: nn.Module) -> bytes:
    """PSPNet's and DeconvNet's; (1, C, 1, 1) as older blobs are."""
    tensors = [module.weight, module.bias, module.running_mean, module.running_var]
    return layer(name, "BN", [blob(each.detach().numpy().reshape(1, -1, 1, 1), older=True) for each in tensors])


def folded(name: str, module: nn.Module) -> bytes:
    """SegNet's for inference: factor and bias are all that is left, which is what these statistics mean here."""
    module.running_mean.zero_()
    module.running_var.fill_(1 - module.eps)
    return layer(
        name, "BN", [blob(each.detach().numpy()[None, :, None, None]) for each in (module.weight, module.bias)]
    )


def written(
    network: nn.Module,
    released: Callable[[str], str],
    norm: Callable[[str, nn.Module], bytes] = batch_norm,
    age: int = 2,
) -> list[bytes]:
    """All layers, under their `released` names; several that read the image do so as Caffe writes it."""
    layers: list[bytes] = []
    for path, module in network.named_modules():
        if isinstance(getattr(module, "weight", None), Tensor):
            name = released(path.removeprefix("trunk."))
            if isinstance(module, nn.BatchNorm2d):
                layers.append(norm(name, module))
            else:
                reads = f"data_input_0_split_{len(layers)}" if not layers or name == "image_3x3" else ""
                layers.append(convolution(name, module, reads=reads, age=age))
    return layers


def of_vgg(path: str) -> str:
    return re.sub(r"^fc8", "fc8_voc12", path.removesuffix(".convolution").removesuffix(".0"))


def of_resnet(path: str, suffix: str = "") -> str:
    """res4a, res4b1 ... res4b22 where a stage is long, res5a, res5b, res5c where it is not."""
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)", path)
    if found is None:
        return {"conv1": "conv1", "bn1": "bn_conv1"}.get(path, path.replace("fc1_c", "fc1_voc12_c")) + suffix
    stage, block, part, number = int(found[1]) + 1, int(found[2]), found[3], int(found[4])
    place = f"b{block}" if block and stage in (3, 4) else "abc"[block]
    kind = "res" if (part, number) == ("downsample.", 0) or part == "conv" else "bn"
    return f"{kind}{stage}{place}_branch{'1' if part == 'downsample.' else '2' + 'abc'[number - 1]}{suffix}"


def of_pspnet(path: str) -> str:
    convolution = re.sub(r"(^|\.)bn(?=\d$)", r"\1conv", path).removesuffix("_bn").replace("sample.1", "sample.0")
    name = {"conv1": "conv1_1_3x3_s2", "conv2": "conv1_2_3x3", "conv3": "conv1_3_3x3"}.get(convolution, convolution)
    if (found := re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", convolution)) is not None:
        parts = {"conv1": "1x1_reduce", "conv2": "3x3", "conv3": "1x1_increase", "downsample.0": "1x1_proj"}
        name = f"conv{int(found[1]) + 1}_{int(found[2]) + 1}_{parts[found[3]]}"
    return name if convolution == path else f"{name}/bn"


def of_deconvnet(path: str) -> str:
    return {"fc6_deconv": "fc6-deconv", "fc6_deconv_bn": "fc6-deconv-bn", "seg_score_voc": "seg-score-voc"}.get(
        path, path
    )


def of_dilation_voc(path: str) -> str:
    return "fc-final" if path == "final" else path.replace("ctx_", "ct_")


class Case(NamedTuple):
    """A network of ours, what its layers are called where it was released, and the mean that it subtracted there."""

    build: Callable[[], nn.Module]
    released: Callable[[str], str] = of_vgg
    mean: Sequence[float] = DEEPLAB
    norm: Callable[[str, nn.Module], bytes] = batch_norm


CAFFE = {
    "deeplab_7x7": Case(lambda: deeplab_7x7(3, width=1)),
    "deeplab_4x4": Case(lambda: deeplab_4x4(3, width=2)),
    "deeplab_largefov": Case(lambda: deeplab_largefov(3, width=2)),
    "deeplab_msc_largefov": Case(lambda: deeplab_msc_largefov(3, width=2)),
    "deeplab_aspp_vgg16": Case(lambda: deeplab_aspp_vgg16(3, width=2)),
    "deeplab_resnet101": Case(lambda: deeplab_resnet101(3, width=1), of_resnet),
    "fcn32s": Case(lambda: fcn32s(3, width=1), mean=FCN),
    "fcn16s": Case(lambda: fcn16s(3, width=1), mean=FCN),
    "fcn8s": Case(lambda: fcn8s(3, width=1, deconvolution="learned"), mean=FCN),
    "fcn8s_at_once": Case(lambda: fcn8s_at_once(3, width=1), mean=FCN),
    "fcn32s_alexnet": Case(lambda: fcn32s_alexnet(3, width=1), mean=FCN),
    "fcn32s_googlenet": Case(lambda: fcn32s_googlenet(3, width=1), lambda path: path.replace(".", "/"), FCN),
    "pspnet101": Case(lambda: pspnet101(3, width=1), of_pspnet, (123.68, 116.779, 103.939), bn),
    "segnet": Case(lambda: segnet(3, width=2), mean=(0, 0, 0), norm=folded),
    "segnet_basic": Case(lambda: segnet_basic(3, width=2), mean=(0, 0, 0), norm=folded),
    "deconvnet": Case(lambda: deconvnet(3, width=1), of_deconvnet, norm=bn),
    "deconvnet, folded": Case(lambda: deconvnet(3, width=1), of_deconvnet, norm=folded),
    "dilation8": Case(lambda: dilation8(3, width=1), mean=(105.41, 108.77, 110.70)),
    "dilation8 for VOC": Case(
        lambda: dilation8(3, width=1, context="large"), of_dilation_voc, (116.52, 111.36, 102.93)
    ),
    "dilation10": Case(lambda: dilation10(3, width=1), mean=(73.16, 82.91, 72.39)),
}


@pytest.mark.parametrize("network", CAFFE)
def test_caffe(tmp_path: Path, network: str) -> None:
    case = CAFFE[network]
    theirs, ours = drawn(case.build), case.build()
    path = tmp_path / "train_iter_8000.caffemodel"
    path.write_bytes(caffemodel(*written(theirs, case.released, case.norm)))
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.missing == imported.misshapen == imported.unused == imported.copies == ()
    turned = [match.ours for match in imported.matched if "BGR to RGB" in match.how]
    assert turned == [imported.matched[0].ours, *(["image_3x3.0"] if "msc" in network else [])]
    assert imported.scaling is not None
    assert imported.scaling.mean == pytest.approx([value / 255 for value in case.mean])
    assert imported.scaling.std == (1 / 255,) * 3


@pytest.mark.parametrize("age", [0, 1, 2])
def test_a_segmenter_gives_the_scores_that_caffe_gave(tmp_path: Path, age: int) -> None:
    """Three classes, three channels into it: only what reads the image is turned."""
    theirs, ours = drawn(CAFFE["deeplab_largefov"].build), CAFFE["deeplab_largefov"].build()
    path = tmp_path / "train_iter_8000.caffemodel"
    path.write_bytes(caffemodel(*written(theirs, of_vgg, age=age)))
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.matched[0] == ("conv1_1", "trunk.conv1_1.convolution", (2, 3, 3, 3), "BGR to RGB")
    assert imported.matched[-1] == ("fc8_voc12", "fc8", (3, 32, 1, 1), "")
    assert imported.scaling is not None
    segmenter = Segmenter(
        ours,
        ClassList(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2))),
        mean=imported.scaling.mean,
        std=imported.scaling.std,
    )
    image = torch.rand(3, 33, 41)
    as_caffe_reads = (255 * image - torch.tensor(DEEPLAB)[:, None, None])[None]  # BGR there, with conv1_1 turned too
    wanted = theirs(as_caffe_reads)[0]
    torch.testing.assert_close(
        segmenter.scores(image), wanted, rtol=1e-4, atol=1e-4 * float(wanted.detach().abs().max())
    )


def test_copies_for_other_scales_are_skipped(tmp_path: Path) -> None:
    theirs, ours = drawn(CAFFE["deeplab_resnet101"].build), CAFFE["deeplab_resnet101"].build()
    layers = written(theirs, of_resnet)
    for suffix in ("_res075", "_res05"):
        layers += written(theirs, functools.partial(of_resnet, suffix=suffix))
    path = tmp_path / "train2_iter_20000.caffemodel"
    path.write_bytes(caffemodel(*layers))
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.unused == ()
    assert imported.copies
    assert all(name.endswith(("_res075", "_res05")) for name in imported.copies)


def test_folded_statistics_leave_a_factor_and_a_bias(tmp_path: Path) -> None:
    theirs, ours = drawn(CAFFE["segnet"].build), CAFFE["segnet"].build()
    path = tmp_path / "segnet_weights_driving_webdemo.caffemodel"
    path.write_bytes(caffemodel(*written(theirs, of_vgg, folded)))
    imported = import_weights(ours.eval(), path)
    assert imported.matched[1].how == "statistics folded in"
    features = torch.randn(1, 2, 8, 8)
    norm = theirs.conv1_1_bn
    plain = features * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(ours.conv1_1_bn(features), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "filters", "taps", "how6", "how7"),
    [
        (deeplab_7x7, 1, [0, 1, 2, 3, 4, 5, 6], "as a convolution", "as a convolution"),
        (deeplab_4x4, 1, [0, 2, 4, 6], "taps 0, 2, 4, 6", "as a convolution"),
        (deeplab_largefov, 4, [0, 3, 6], "one filter in 4, taps 0, 3, 6", "one filter in 4"),
        (deeplab_aspp_vgg16, 4, [0, 3, 6], "one filter in 4, taps 0, 3, 6", "one filter in 4"),
    ],
)
def test_vgg16_is_thinned_as_deeplab_did(
    tmp_path: Path, build: Callable[..., nn.Module], filters: int, taps: list[int], how6: str, how7: str
) -> None:
    """From ImageNet's classifier, into every branch; its 1000 classes stay away."""
    vgg = drawn(lambda: VGG(width=2))
    fc6, fc7 = torch.randn(128, 16, 7, 7), torch.randn(128, 128)
    bias6, bias7 = torch.randn(128), torch.randn(128)
    layers = written(vgg, of_vgg)
    for name, weight, bias in (("fc6", fc6.reshape(128, -1), bias6), ("fc7", fc7, bias7)):
        layers.append(
            layer(name, "InnerProduct", [blob(weight.numpy(), older=True), blob(bias.numpy(), older=True)], age=1)
        )
    layers.append(
        layer("fc8", "InnerProduct", [blob(np.zeros((1000, 128), np.float32)), blob(np.zeros(1000, np.float32))])
    )
    path = tmp_path / "VGG_ILSVRC_16_layers.caffemodel"
    path.write_bytes(caffemodel(*layers))
    network = build(4, width=2)
    branches = ["_1", "_2", "_3", "_4"] if build is deeplab_aspp_vgg16 else [""]
    before = [network.get_submodule(f"fc8{branch}").weight.clone() for branch in branches]
    with pytest.raises(InputError, match=r"lacks 4 layers|1 layer of another shape, first fc8: wanted shape \(4, "):
        import_weights(network, path)
    imported = import_weights(network, path, partial=True)
    for branch, kept in zip(branches, before, strict=True):
        filled6, filled7 = (network.get_submodule(f"{name}{branch}.0") for name in ("fc6", "fc7"))
        assert torch.equal(filled6.weight, fc6[::filters][:, :, taps][:, :, :, taps])
        assert torch.equal(filled6.bias, bias6[::filters])
        assert torch.equal(filled7.weight[:, :, 0, 0], fc7[::filters, ::filters])
        assert torch.equal(filled7.bias, bias7[::filters])
        assert torch.equal(network.get_submodule(f"fc8{branch}").weight, kept)
    assert [each.ours for each in imported.misshapen] + list(imported.missing) == [
        f"fc8{branch}" for branch in branches
    ]
    assert [each.how for each in imported.matched[-2:]] == [how6, how7]


def in_torchvisions_places(vgg: VGG) -> Iterator[tuple[int, str, Tensor]]:
    """A place for each convolution, normalization, ReLU and pooling."""
    place, block = 0, "1"
    for name in vgg.layout:
        if name[4] != block:
            place, block = place + 1, name[4]  # a pooling
        for part in vgg.get_submodule(name):
            yield from ((place, leaf, value) for leaf, value in part.state_dict().items())
            place += 1


@pytest.mark.parametrize(
    ("build", "filters", "taps"), [(deeplab_7x7, 1, 1), (deeplab_4x4, 1, 2), (deeplab_largefov, 4, 3)]
)
@pytest.mark.parametrize("timm", [False, True])
def test_classifiers_of_torchvision_and_timm_are_thinned_too(
    tmp_path: Path, build: Callable[..., nn.Module], filters: int, taps: int, timm: bool
) -> None:
    """torchvision's inner products, timm's convolutions; 1000 classes stay away."""
    vgg = drawn(lambda: VGG(width=2))
    fc6, fc7 = torch.randn(128, 16, 7, 7), torch.randn(128, 128, 1, 1)
    bias6, bias7 = torch.randn(128), torch.randn(128)
    names = (
        ("pre_logits.fc1", "pre_logits.fc2", "head.fc") if timm else ("classifier.0", "classifier.3", "classifier.6")
    )
    weights = (fc6 if timm else fc6.flatten(1), fc7 if timm else fc7.flatten(1), torch.zeros(1000, 128))
    state = {f"features.{place}.{leaf}": value for place, leaf, value in in_torchvisions_places(vgg)}
    for name, weight, bias in zip(names, weights, (bias6, bias7, torch.zeros(1000)), strict=True):
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    torch.save(state, tmp_path / "vgg16.pth")
    network = build(4, width=2)
    imported = import_weights(network, tmp_path / "vgg16.pth", partial=True)
    for name, value in vgg.state_dict().items():
        assert torch.equal(network.trunk.state_dict()[name], value)
    assert torch.equal(network.fc6[0].weight, fc6[::filters, :, ::taps, ::taps])
    assert torch.equal(network.fc6[0].bias, bias6[::filters])
    assert torch.equal(network.fc7[0].weight, fc7[::filters, ::filters])
    assert torch.equal(network.fc7[0].bias, bias7[::filters])
    assert ([match.ours for match in imported.misshapen], imported.missing) == (["fc8"], ())


def inner_product(name: str, module: nn.Conv2d, age: int) -> bytes:
    """As files of before blobs had shapes hold one: (1, 1, N, K), and (1, 1, 1, N) of biases."""
    weight = module.weight.detach().flatten(1)[None, None]
    bias = module.bias.detach()[None, None, None]
    return layer(name, "InnerProduct", [blob(each.numpy(), older=True) for each in (weight, bias)], age=age)


@pytest.mark.parametrize("age", [0, 1, 2])
@pytest.mark.parametrize("build", [fcn32s, fcn32s_alexnet, hypercolumns])
def test_inner_products_of_any_age_become_convolutions(
    tmp_path: Path, build: Callable[..., nn.Module], age: int
) -> None:
    """ImageNet's VGG-16 and CaffeNet, whose fc6 and fc7 are inner products, under the networks that began as them."""
    theirs, ours = drawn(lambda: build(3, width=1)), build(3, width=1)
    layers: list[bytes] = []
    for path, module in theirs.named_modules():
        name = of_vgg(path.removeprefix("trunk."))
        if isinstance(module, nn.Conv2d) and name.startswith(("conv", "fc")):
            if name.startswith("fc"):
                layers.append(inner_product(name, module, age))
            else:
                layers.append(convolution(name, module, reads="" if layers else "data", age=age))
    path = tmp_path / "bvlc_reference_caffenet.caffemodel"
    path.write_bytes(caffemodel(*layers))
    imported = import_weights(ours, path, partial=True)
    scoring = "classifier" if build is hypercolumns else "score_fr"
    assert (imported.missing, imported.misshapen, imported.unused) == ((scoring,), (), ())
    rest = {name: value for name, value in theirs.state_dict().items() if name.startswith((scoring, "upscore"))}
    ours.load_state_dict(rest, strict=False)
    same(ours, theirs)
    assert {match.layer: match.how for match in imported.matched}["fc6"] == "as a convolution"


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("wrapper", ["", "encoder."])
def test_torchvision_and_smp_vgg(tmp_path: Path, batch_norm: bool, suffix: str, wrapper: str) -> None:
    def build() -> nn.Module:
        return VGG(width=2, batch_norm=batch_norm)

    theirs, ours = drawn(build), build()
    state = {f"{wrapper}features.{place}.{leaf}": value for place, leaf, value in in_torchvisions_places(theirs)}
    if not wrapper:
        state |= {f"classifier.{i}.weight": torch.zeros(8, 8) for i in (0, 3, 6)}
    saved(state, path := tmp_path / f"vgg16{suffix}")
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.scaling is not None
    assert imported.scaling.mean == (0.485, 0.456, 0.406)
    assert imported.unused == (() if wrapper else ("classifier.0", "classifier.3", "classifier.6"))


def test_a_bias_before_a_normalization_is_taken_off_its_mean(tmp_path: Path) -> None:
    """torchvision's vgg16_bn has biases, ours has none there: the features are the same up to rounding."""
    ours = VGG(width=2, blocks=(1,), batch_norm=True).eval()
    theirs = drawn(lambda: nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU()))
    saved({f"features.{name}": value for name, value in theirs.state_dict().items()}, path := tmp_path / "a.pth")
    imported = import_weights(ours, path)
    image = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-5, atol=1e-5)
    assert imported.matched[1].how == "less the convolution's bias"


def saved(state: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".safetensors":
        write_tensors(path, state)
    else:
        torch.save(state, path)


def vgg_of(*blocks: int) -> VGG:
    return VGG(width=1, blocks=blocks)


@pytest.mark.parametrize(
    ("theirs", "ours", "beyond"),
    [
        (lambda: vgg_of(2, 2, 4, 4, 4), lambda: vgg_of(2, 2, 3, 3, 3), ["features.16", "features.25", "features.34"]),
        (lambda: ResNet(101, "torchvision", width=1), lambda: ResNet(50, "torchvision", width=1), 17 * 3),
        (lambda: fcn8s(2, width=1), lambda: fcn16s(2, width=1), ["upscore_pool4", "score_pool3", "upscore8"]),
        (lambda: fcn8s(2, width=1), lambda: fcn8s_at_once(2, width=1), []),  # only Caffe's files hold the factors
        (lambda: vgg_of(2, 2), lambda: vgg_of(2, 2), []),
    ],
)
def test_convolutions_of_a_deeper_or_other_form_are_left_over(
    tmp_path: Path, theirs: Callable[[], nn.Module], ours: Callable[[], nn.Module], beyond: list[str] | int
) -> None:
    network = drawn(theirs)
    state = network.state_dict()
    if isinstance(network, VGG):
        state = {f"features.{place}.{leaf}": value for place, leaf, value in in_torchvisions_places(network)}
    last = {"fc.weight": torch.zeros(9, 8), "fc.bias": torch.zeros(9)}
    torch.save(state, tmp_path / "a.pth")
    found = import_weights(ours(), tmp_path / "a.pth").beyond
    assert (len(found) if isinstance(beyond, int) else list(found)) == beyond
    torch.save(state | last, tmp_path / "a.pth")
    imported = import_weights(ours(), tmp_path / "a.pth")
    assert imported.unused[-1] == "fc"
    assert imported.beyond == ((*found, "fc") if found else ())  # alone it is what every other set of classes leaves


@pytest.mark.parametrize(
    ("shape", "told"), [((9, 8), False), ((9, 8, 1, 1), False), ((1, 1, 9, 8), False), ((9, 8, 3, 3), True)]
)
def test_one_layer_left_is_told_where_its_kernel_is_larger_than_a_pixel(
    tmp_path: Path, shape: tuple[int, ...], told: bool
) -> None:
    state = VGG(width=1, blocks=(1,)).state_dict() | {"last.weight": torch.zeros(shape)}
    torch.save(state, tmp_path / "a.pth")
    imported = import_weights(VGG(width=1, blocks=(1,)), tmp_path / "a.pth")
    assert imported.unused == ("last",)
    assert imported.beyond == (("last",) if told else ())


def test_the_bilinear_layer_of_dilation10_is_not_missed(tmp_path: Path) -> None:
    theirs, ours = drawn(CAFFE["dilation10"].build), CAFFE["dilation10"].build()
    enlarging = layer("ctx_upsample", "Deconvolution", [blob(np.ones((3, 1, 16, 16)))])
    path = tmp_path / "dilation10_cityscapes.caffemodel"
    path.write_bytes(caffemodel(*written(theirs, of_vgg), enlarging))
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert (imported.unused, imported.beyond) == (("ctx_upsample",), ())


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("build", [fcn32s, fcn16s, fcn8s, fcn8s_at_once])
def test_pytorch_fcn(tmp_path: Path, build: Callable[..., nn.Module], training: bool, old: bool) -> None:
    theirs, ours = drawn(lambda: build(3, width=1)), build(3, width=1)
    state = {
        re.sub(r"^trunk\.|\.0(?=\.)|\.convolution", "", name): value for name, value in theirs.state_dict().items()
    }
    state["conv1_1.weight"] = state["conv1_1.weight"].flip(1)  # it reads BGR too
    whole = {"epoch": 3, "arch": "FCN16s", "optim_state_dict": {}, "model_state_dict": state}
    path = tmp_path / "fcn16s_from_caffe.pth"
    torch.save(whole if training else state, path, _use_new_zipfile_serialization=not old)
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.unused == ()
    assert imported.scaling is not None
    assert imported.scaling.mean == pytest.approx([value / 255 for value in FCN])
    assert imported.scaling.std == (1 / 255,) * 3


@pytest.mark.parametrize(
    ("build", "factors", "message"),
    [
        (fcn8s_at_once, (0.01, 0.0001), None),
        (fcn8s_at_once, (0.01, 0.01), "scale_pool3 multiplies by 0.01, this network by 0.0001; it is another"),
        (fcn8s, (0.01, 0.0001), "scale_pool4 multiplies by 0.01, this network by 1; it is another"),
    ],
)
def test_factors_of_pools_are_held_against_ours(
    tmp_path: Path, build: Callable[..., nn.Module], factors: tuple[float, float], message: str | None
) -> None:
    """Files have a factor for each channel, behind a pool; whoever adds the pools otherwise has another network."""
    theirs, ours = drawn(lambda: build(3, width=1)), build(3, width=1)
    *front, pool4, enlarging, pool3, last = written(theirs, of_vgg)
    scales = [
        layer(f"scale_pool{pool}", "Scale", [blob(np.full(2**pool // 2, factor))], reads=f"pool{pool}_split_1")
        for pool, factor in zip((4, 3), factors, strict=True)
    ]
    path = tmp_path / "fcn8s-atonce-pascal.caffemodel"
    path.write_bytes(caffemodel(*front, scales[0], pool4, enlarging, scales[1], pool3, last))
    if message is not None:
        with pytest.raises(InputError, match=message):
            import_weights(ours, path, partial=True)
        return
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.unused == ()
    assert ("scale_pool3", "scale_pool3", (4,), "the constant 0.0001 here") in imported.matched


def test_fixed_deconvolutions_are_taken_where_the_file_has_them(tmp_path: Path) -> None:
    theirs, ours = drawn(lambda: fcn16s(3, width=1)), fcn16s(3, width=1)
    layers = written(theirs, of_vgg)
    path = tmp_path / "fcn16s.caffemodel"
    path.write_bytes(caffemodel(*(each for each in layers if b"upscore" not in each)))
    bilinear = ours.upscore16.weight.clone()
    assert import_weights(ours, path).missing == ()
    assert torch.equal(ours.upscore16.weight, bilinear)
    path.write_bytes(caffemodel(*layers))
    assert [match.ours for match in import_weights(ours, path).matched if "upscore" in match.layer] == [
        "upscore2",
        "upscore16",
    ]
    assert torch.equal(ours.upscore16.weight, theirs.upscore16.weight)


def test_torchvisions_classifier_becomes_convolutions(tmp_path: Path) -> None:
    vgg, ours = drawn(lambda: fcn32s(3, width=1)), fcn32s(3, width=1)
    state = {f"features.{place}.{leaf}": value for place, leaf, value in in_torchvisions_places(vgg.trunk)}
    for place, name in ((0, "fc6"), (3, "fc7")):
        module = vgg.get_submodule(name)[0]
        state |= {f"classifier.{place}.weight": module.weight.flatten(1), f"classifier.{place}.bias": module.bias}
    state |= {"classifier.6.weight": torch.zeros(1000, 64), "classifier.6.bias": torch.zeros(1000)}
    torch.save({name: value.detach() for name, value in state.items()}, tmp_path / "vgg16.pth")
    imported = import_weights(ours, tmp_path / "vgg16.pth", partial=True)
    for name in ("fc6", "fc7"):
        assert torch.equal(ours.get_submodule(name)[0].weight, vgg.get_submodule(name)[0].weight)
    assert imported.missing == ("score_fr",)
    assert imported.unused == ("classifier.6",)


def of_deeplab_pytorch(path: str) -> str:
    """base.layer1.conv1.conv, base.layer4.block23.increase.bn, base.aspp.c3."""
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)", path)
    if found is None:
        path = re.sub(r"^(conv|bn)1\.", r"layer1.conv1.\1.", path)
        return path.replace("fc1_c", "aspp.c")
    stage, block, part, number, leaf = found.groups()
    name = "shortcut" if part == "downsample." else ("reduce", "conv3x3", "increase")[int(number) - 1]
    kind = ("conv", "bn")[int(number)] if part == "downsample." else part
    return f"layer{int(stage) + 1}.block{int(block) + 1}.{name}.{kind}.{leaf}"


@pytest.mark.parametrize("prefix", ["base.", ""])
def test_deeplab_pytorch(tmp_path: Path, prefix: str) -> None:
    theirs, ours = drawn(CAFFE["deeplab_resnet101"].build), CAFFE["deeplab_resnet101"].build()
    state = {
        prefix + of_deeplab_pytorch(name.removeprefix("trunk.")): value for name, value in theirs.state_dict().items()
    }
    state[f"{prefix}layer1.conv1.conv.weight"] = theirs.trunk.conv1.weight.detach().flip(1)
    torch.save(state, path := tmp_path / "deeplabv2_resnet101_msc-vocaug.pth")
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.scaling is not None
    assert imported.scaling.mean == pytest.approx([value / 255 for value in DEEPLAB])
    assert imported.unused == ()


@pytest.mark.parametrize("prefix", ["", "encoder.", "module.encoder."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_timm_and_smp_resnet_fill_an_encoder(tmp_path: Path, prefix: str, suffix: str) -> None:
    def build() -> nn.Module:
        return DeepLabResNet(3, ResNet(50, "torchvision", width=1), rates=(1, 2))

    theirs, ours = drawn(build), build()
    state = {f"{prefix}{name}": value for name, value in theirs.trunk.state_dict().items()}
    state["fc.weight"] = torch.zeros(1000, 8)
    saved(state, path := tmp_path / f"resnet{suffix}")
    with pytest.raises(InputError, match="lacks 2 layers of this network: fc1_c0, fc1_c1"):
        import_weights(ours, path)
    imported = import_weights(ours, path, partial=True)
    same(ours.trunk, theirs.trunk)
    assert imported.missing == ("fc1_c0", "fc1_c1")
    assert imported.unused == ("fc",)
    assert imported.scaling is not None
    assert imported.scaling.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "build",
    [
        lambda: unet(3, 3, padding="same", width=2, batch_norm=True),
        lambda: deeplab_largefov(3, width=2, batch_norm=True),
        lambda: fc_densenet56(3),
    ],
)
def test_a_run_of_ours_comes_back(tmp_path: Path, build: Callable[[], nn.Module]) -> None:
    theirs = drawn(build)
    classes = ClassList(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    Segmenter(theirs, classes, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)).save(tmp_path / "a.safetensors")
    torch.save({"epoch": 1, "state_dict": theirs.state_dict()}, tmp_path / "a.ckpt")
    for name in ("a.safetensors", "a.ckpt"):
        ours = build()
        imported = import_weights(ours, tmp_path / name)
        same(ours, theirs)
        assert imported.unused == ()
        assert imported.scaling == (((0.4, 0.5, 0.6), (0.1, 0.2, 0.3)) if name == "a.safetensors" else None)


def test_on_the_meta_device_all_is_checked_and_nothing_filled(tmp_path: Path) -> None:
    theirs = drawn(lambda: unet(3, 3, width=2))
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    with torch.device("meta"):
        sketch = unet(3, 3, width=2)
    assert len(import_weights(sketch, tmp_path / "a.pth").matched) == 23
    torch.save({**theirs.state_dict(), "classifier.bias": torch.tensor([1.0, 2.0, float("inf")])}, tmp_path / "b.pth")
    with pytest.raises(InputError, match="layer classifier holds NaN or Inf"):
        import_weights(sketch, tmp_path / "b.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier.bias": torch.full((3,), float("nan"))}, "layer classifier holds NaN or Inf"),
        ({"classifier.bias": torch.full((3,), 1e300, dtype=torch.float64)}, "layer classifier holds NaN or Inf"),
        ({"classifier.bias": None}, r"1 layer of another shape, first classifier: .*the file has no bias"),
        ({"classifier.weight": torch.zeros(4, 2, 1, 1)}, r"weight in the file: \(4, 2, 1, 1\)"),
        ({"classifier.weight": None, "classifier.bias": None}, "lacks 1 layers of this network: classifier"),
    ],
)
def test_nothing_changes_for_a_file_that_does_not_fit(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    theirs, ours = (drawn(lambda: unet(3, 3, padding="same", width=2)) for _ in range(2))
    state = {name: value for name, value in {**theirs.state_dict(), **change}.items() if value is not None}
    torch.save(state, tmp_path / "a.pth")
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        import_weights(ours, tmp_path / "a.pth")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("caffe", [True, False])
@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda: deeplab_largefov(2, width=1, batch_norm=True), ["conv1_1", "conv1_1.norm", "fc6", "fc7", "fc8", "bn"]),
        (
            lambda: fcn8s_at_once(2, width=1),
            ["conv1_1", "fc6", "upscore2", "scale_pool4", "score_pool4", "scale_pool3"],
        ),
    ],
)
def test_layers_of_any_shapes_fit_or_are_told(
    tmp_path: Path, build: Callable[[], nn.Module], names: list[str], caffe: bool
) -> None:
    """Right names, wrong shapes: without axes, without numbers, with one or eight of them, any number of blobs."""
    network, rng = build(), np.random.default_rng(0)
    shapes = ((), (0,), (1,), (16,), (2, 3), (16, 16), (16, 0), (16, 392), (1, 1, 16, 16), (1, 3, 3, 3), (16, 8, 7, 7))
    shapes += ((2, 16, 1, 1), (1, 1, 1, 16), (1,) * 6)
    for case in range(300):
        chosen = rng.permutation(names)[: rng.integers(1, 6)]
        values = [
            [rng.normal(size=shapes[rng.integers(len(shapes))]) for _ in range(rng.integers(1, 5))] for _ in chosen
        ]
        if caffe:
            kinds = rng.choice(["", "Convolution", "BatchNorm", "Scale", "BN", "InnerProduct"], len(chosen))
            blobs = [[blob(np.array(each) if each.size else 1.0) for each in some] for some in values]
            path = tmp_path / f"{case}.caffemodel"
            path.write_bytes(caffemodel(*(layer(*each) for each in zip(chosen, kinds, blobs, strict=True))))
        else:
            leaves = ("weight", "bias", "running_mean", "running_var")
            state = {
                f"{name}.{leaf}": torch.as_tensor(each)
                for name, some in zip(chosen, values, strict=True)
                for leaf, each in zip(rng.permutation(leaves), some, strict=False)
            }
            torch.save(state, path := tmp_path / f"{case}.pth")
        try:
            import_weights(network, path, partial=True)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_normalization_that_the_network_lacks_is_not_left_out(tmp_path: Path) -> None:
    torch.save(VGG(width=1, batch_norm=True).state_dict(), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"conv1_1.norm normalizes what conv1_1.convolution gives, where this network"):
        import_weights(VGG(width=1), tmp_path / "a.pth", partial=True)


def test_other_networks_of_the_same_name_are_told(tmp_path: Path) -> None:
    network, first = unet(2, 3, width=2), torch.zeros(64, 3, 11, 11)
    wrapped = [f"{before}features.0.weight" for before in ("", "module.", "model.", "encoder.")]
    for state, message in (
        *(({name: first}, "torchvision's AlexNet .64 filters, no groups.") for name in wrapped),
        ({"inception3a.branch1.conv.weight": torch.zeros(1, 1, 1, 1)}, "torchvision's GoogLeNet"),
        ({"else.weight": torch.zeros(1, 1, 1, 1)}, "has no layer of this network; it has else"),
        ({"count": torch.tensor(1)}, "holds no weights"),
    ):
        torch.save(state, tmp_path / "a.pth")
        with pytest.raises(InputError, match=message):
            import_weights(network, tmp_path / "a.pth", partial=True)
    torch.save([torch.zeros(1)], tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds no named tensors"):
        import_weights(network, tmp_path / "a.pth")
    (tmp_path / "a.caffemodel.h5").write_bytes(b"x")
    with pytest.raises(InputError, match="HDF5"):
        import_weights(network, tmp_path / "a.caffemodel.h5")


@pytest.mark.parametrize("capitals", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar"])
def test_eight_hex_digits_at_a_names_end_are_its_hash(tmp_path: Path, suffix: str, capitals: bool) -> None:
    theirs, ours = drawn(lambda: unet(2, 3, width=1)), unet(2, 3, width=1)
    torch.save(theirs.state_dict(), tmp_path / "unet.pth")
    data = (tmp_path / "unet.pth").read_bytes()
    digits = hashlib.sha256(data).hexdigest()[:8]
    said, other = (each.upper() if capitals else each for each in (digits, "0123abcd"))
    right, wrong = tmp_path / f"unet-{said}{suffix}", tmp_path / f"unet-{other}{suffix}"
    right.write_bytes(data)
    wrong.write_bytes(data)
    import_weights(ours, right)
    with pytest.raises(InputError, match=f"its SHA-256 begins with {digits}, its name says {other}"):
        import_weights(ours, wrong)


@pytest.mark.parametrize("partial", [True, False])
def test_layers_that_are_all_of_another_shape_are_told_as_such(tmp_path: Path, partial: bool) -> None:
    torch.save(VGG(width=1).state_dict(), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"nothing fits: 13 layers of another shape, first conv1_1\.convolution"):
        import_weights(VGG(width=2), tmp_path / "a.pth", partial=partial)
