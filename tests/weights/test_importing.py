"""Each published layout, written here from networks of ours or with the released names, gives the same bits back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from caffemodels import blob, caffemodel, layer
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.networks import VGG, deeplab_largefov, fc_densenet56, unet
from densefield.segmenter import Segmenter
from densefield.weights import import_weights, write_tensors

CAFFE_MEAN = (122.675, 116.669, 104.008)  # RGB


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


# How Caffe would write a network.


def convolution(name: str, module: nn.Module, *, reads: str = "", kind: str = "Convolution", age: int = 2) -> bytes:
    weight = module.weight.detach()
    if reads == "data":
        weight = weight.flip(1)  # published networks read BGR
    blobs = [blob(weight.numpy(), older=age < 2)]
    if module.bias is not None:
        blobs.append(blob(module.bias.detach().numpy(), older=age < 2))
    return layer(name, kind, blobs, reads=reads, age=age)


def batch_norm(name: str, scale: str, module: nn.Module, reads: str = "") -> bytes:
    sums = [blob(4 * each.numpy()) for each in (module.running_mean, module.running_var)]
    factors = [blob(each.detach().numpy()) for each in (module.weight, module.bias)]
    return layer(name, "BatchNorm", [*sums, blob(np.float32([4]))], reads=reads) + layer(scale, "Scale", factors)


def bn(name: str, module: nn.Module, *, folded: bool = False) -> bytes:
    """PSPNet's and DeconvNet's, or SegNet's where `folded`; (1, C, 1, 1) as older blobs are."""
    tensors = [module.weight, module.bias] if folded else [module.weight, module.bias, module.running_mean]
    tensors += [] if folded else [module.running_var]
    return layer(name, "BN", [blob(each.detach().numpy().reshape(1, -1, 1, 1), older=True) for each in tensors])


@pytest.mark.parametrize("age", [0, 1, 2])
def test_caffe_deeplab(tmp_path: Path, age: int) -> None:
    def build() -> nn.Module:
        return deeplab_largefov(3, width=2)

    theirs, ours = drawn(build), build()
    path = tmp_path / "train_iter_8000.caffemodel"
    trunk = [
        convolution(name, getattr(theirs.trunk, name).convolution, reads="data" if name == "conv1_1" else "", age=age)
        for name in theirs.trunk.layout
    ]
    heads = [convolution(name, getattr(theirs, name)[0], age=age) for name in ("fc6", "fc7")]
    # Three classes, three channels into it: only what reads the image is turned.
    path.write_bytes(caffemodel(*trunk, *heads, convolution("fc8_pascal", theirs.fc8, age=age)))
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.missing == imported.misshapen == imported.unused == ()
    assert imported.matched[0] == ("conv1_1", "trunk.conv1_1.convolution", (2, 3, 3, 3), "BGR to RGB")
    assert imported.matched[-1] == ("fc8_pascal", "fc8", (3, 32, 1, 1), "")
    assert imported.scaling is not None
    segmenter = Segmenter(
        ours,
        ClassList(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2))),
        mean=imported.scaling.mean,
        std=imported.scaling.std,
    )
    image = torch.rand(3, 33, 41)
    as_caffe_reads = (255 * image - torch.tensor(CAFFE_MEAN)[:, None, None])[None]  # BGR there, with conv1_1 turned too
    wanted = theirs(as_caffe_reads)[0]
    torch.testing.assert_close(
        segmenter.scores(image), wanted, rtol=1e-4, atol=1e-4 * float(wanted.detach().abs().max())
    )


def test_vgg16_is_thinned_as_deeplab_did(tmp_path: Path) -> None:
    """From ImageNet's classifier: fc6's taps 0, 3, 6 and one filter in four; its 1000 classes stay away."""
    vgg = drawn(lambda: VGG(width=2))
    fc6, fc7 = torch.randn(128, 16, 7, 7), torch.randn(128, 128)
    bias6, bias7 = torch.randn(128), torch.randn(128)
    layers = [
        convolution(name, getattr(vgg, name).convolution, reads="data" * (name == "conv1_1")) for name in vgg.layout
    ]
    for name, weight, bias in (("fc6", fc6.reshape(128, -1), bias6), ("fc7", fc7, bias7)):
        layers.append(
            layer(name, "InnerProduct", [blob(weight.numpy(), older=True), blob(bias.numpy(), older=True)], age=1)
        )
    layers.append(
        layer("fc8", "InnerProduct", [blob(np.zeros((1000, 128), np.float32)), blob(np.zeros(1000, np.float32))])
    )
    path = tmp_path / "VGG_ILSVRC_16_layers.caffemodel"
    path.write_bytes(caffemodel(*layers))
    network = deeplab_largefov(4, width=2)
    before = network.fc8.weight.clone()
    with pytest.raises(InputError, match=r"1 layers of another shape, first fc8: wanted shape \(4, 32, 1, 1\)"):
        import_weights(network, path)
    imported = import_weights(network, path, partial=True)
    assert torch.equal(network.fc6[0].weight, fc6[::4][:, :, [0, 3, 6]][:, :, :, [0, 3, 6]])
    assert torch.equal(network.fc6[0].bias, bias6[::4])
    assert torch.equal(network.fc7[0].weight[:, :, 0, 0], fc7[::4, ::4])
    assert torch.equal(network.fc8.weight, before)
    assert [each.ours for each in imported.misshapen] == ["fc8"]
    assert [each.how for each in imported.matched[-2:]] == ["one filter in 4, taps 0, 3, 6", "one filter in 4"]


class Branches(nn.Module):
    """DeepLab v2's head on VGG, its fc6 of another kernel."""

    def __init__(self, kernel: int = 4) -> None:
        super().__init__()
        for branch in (1, 2):
            self.add_module(f"fc6_{branch}", nn.Conv2d(2, 8, kernel))
            self.add_module(f"fc7_{branch}", nn.Conv2d(8, 8, 1))


def test_fc6_fills_every_branch_and_kernels_of_four(tmp_path: Path) -> None:
    weight, square = np.random.default_rng(0).normal(size=(8, 2, 7, 7)), np.random.default_rng(1).normal(size=(8, 8))
    weight, square = weight.astype(np.float32), square.astype(np.float32)
    bias = blob(np.zeros(8))
    (tmp_path / "a.caffemodel").write_bytes(
        caffemodel(
            layer("fc6", "InnerProduct", [blob(weight.reshape(8, -1)), bias]),
            layer("fc7", "InnerProduct", [blob(square), bias]),
        )
    )
    network = Branches()
    import_weights(network, tmp_path / "a.caffemodel")
    for branch in (1, 2):
        filled = network.get_submodule(f"fc6_{branch}").weight
        assert torch.equal(filled, torch.from_numpy(weight[:, :, ::2, ::2]))
        assert torch.equal(network.get_submodule(f"fc7_{branch}").weight[:, :, 0, 0], torch.from_numpy(square))
    import_weights(whole := Branches(7), tmp_path / "a.caffemodel")
    assert torch.equal(whole.fc6_1.weight, torch.from_numpy(weight))


class MultiScale(nn.Module):
    """Two convolutions read the image, as in DeepLab-MSc."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Conv2d(3, 4, 3)
        self.data_ms1 = nn.Conv2d(3, 4, 3)
        self.upscore = nn.ConvTranspose2d(4, 3, 4, bias=False)


def test_all_that_reads_the_image_is_turned_and_nothing_else(tmp_path: Path) -> None:
    theirs, ours = drawn(MultiScale), MultiScale()
    first, second, last = theirs.children()
    written = []
    for place, (name, each) in enumerate((("conv1_1", first), ("data_ms1", second))):
        blobs = [blob(each.weight.detach().flip(1).numpy()), blob(each.bias.detach().numpy())]
        written.append(layer(name, "Convolution", blobs, reads=f"data_input_0_split_{place}"))  # as Caffe saves it
    (tmp_path / "a.caffemodel").write_bytes(
        caffemodel(*written, convolution("upscore", last, kind="Deconvolution", reads="fc8"))
    )
    imported = import_weights(ours, tmp_path / "a.caffemodel")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)
    assert [each.how for each in imported.matched] == ["BGR to RGB", "BGR to RGB", ""]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("wrapper", ["", "encoder."])
def test_torchvision_and_smp_vgg(tmp_path: Path, batch_norm: bool, suffix: str, wrapper: str) -> None:
    def build() -> nn.Module:
        return VGG(width=2, batch_norm=batch_norm)

    theirs, ours = drawn(build), build()
    state: dict[str, Tensor] = {}
    place, block = 0, "1"
    for name in theirs.layout:
        if name[4] != block:
            place, block = place + 1, name[4]  # a pooling
        module = getattr(theirs, name)
        parts = [module.convolution, *([module.norm] if batch_norm else [])]
        for part in parts:
            state |= {f"{wrapper}features.{place}.{leaf}": value for leaf, value in part.state_dict().items()}
            place += 1
        place += 1  # the ReLU
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


class FCN(nn.Module):
    """FCN-16s' released names on a VGG as ours."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = VGG(width=1)
        self.fc6 = nn.Conv2d(8, 8, 7, padding=3)
        self.fc7 = nn.Conv2d(8, 8, 1)
        self.score_fr = nn.Conv2d(8, 3, 1)
        self.upscore2 = nn.ConvTranspose2d(3, 3, 4, stride=2, bias=False)
        self.score_pool4 = nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        scores = self.score_fr(functional.relu(self.fc7(functional.relu(self.fc6(self.trunk(image))))))
        return self.score_pool4(self.upscore2(scores))


@pytest.mark.parametrize("layout", ["caffe", "pytorch-fcn", "pytorch-fcn in training", "old"])
def test_fcn(tmp_path: Path, layout: str) -> None:
    theirs, ours = drawn(FCN), FCN()
    modules = {name: getattr(theirs.trunk, name).convolution for name in theirs.trunk.layout}
    modules |= {name: module for name, module in theirs.named_children() if name != "trunk"}
    if layout == "caffe":
        path = tmp_path / "fcn16s-heavy-pascal.caffemodel"
        path.write_bytes(
            caffemodel(
                *(convolution(name, module, reads="data" * (name == "conv1_1")) for name, module in modules.items())
            )
        )
        path.write_bytes(path.read_bytes() + layer("scale_pool4", "Scale", [blob([0.01])]))  # as that at once has it
    else:
        path = tmp_path / "fcn16s_from_caffe.pth"
        state = {
            f"{name}.{leaf}": value for name, module in modules.items() for leaf, value in module.state_dict().items()
        }
        state["conv1_1.weight"] = state["conv1_1.weight"].flip(1)  # it reads BGR too
        whole = {"epoch": 3, "arch": "FCN16s", "optim_state_dict": {}, "model_state_dict": state}
        torch.save(whole if "training" in layout else state, path, _use_new_zipfile_serialization=layout != "old")
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.scaling is not None
    assert imported.scaling.mean == pytest.approx([value / 255 for value in (122.67891434, 116.66876762, 104.00698793)])
    assert imported.scaling.std == (1 / 255,) * 3


class Bottleneck(nn.Module):
    def __init__(self, before: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, 2, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(2)
        self.conv2 = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2)
        self.conv3 = nn.Conv2d(2, 8, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(8)
        if before != 8 or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, 8, 1, stride=stride, bias=False), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(out)))))
        return functional.relu(out + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    """torchvision's names, small."""

    def __init__(self, stem: Sequence[str] = ("conv1",)) -> None:
        super().__init__()
        channels = 3
        for name in stem:
            self.add_module(name, nn.Conv2d(channels, 4, 3, padding=1, bias=False))
            self.add_module(name.replace("conv", "bn", 1), nn.BatchNorm2d(4))
            channels = 4
        self.stem = tuple(stem)
        self.layer1 = nn.Sequential(Bottleneck(4, 1), Bottleneck(8, 1))
        self.layer2 = nn.Sequential(Bottleneck(8, 2), *(Bottleneck(8, 1) for _ in range(12)))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.stem:
            x = functional.relu(getattr(self, name.replace("conv", "bn", 1))(getattr(self, name)(x)))
        return self.layer2(self.layer1(x))


class DeepLabResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = ResNet()
        self.fc1_voc12_c0 = nn.Conv2d(8, 3, 3, padding=1)
        self.fc1_voc12_c1 = nn.Conv2d(8, 3, 3, padding=2, dilation=2)

    def forward(self, image: Tensor) -> Tensor:
        features = self.trunk(image)
        return self.fc1_voc12_c0(features) + self.fc1_voc12_c1(features)


class ASPP(nn.Module):
    """The same head under deeplab-pytorch's names."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet()
        self.aspp = nn.ModuleDict({name: nn.Conv2d(8, 3, 3, padding=1) for name in ("c0", "c1")})

    def forward(self, image: Tensor) -> Tensor:
        features = self.resnet(image)
        return self.aspp["c0"](features) + self.aspp["c1"](features)


def caffe_resnet(resnet: ResNet, suffix: str = "") -> list[bytes]:
    layers = [
        convolution(f"conv1{suffix}", resnet.conv1, reads="data"),
        batch_norm(f"bn_conv1{suffix}", f"scale_conv1{suffix}", resnet.bn1, f"conv1{suffix}"),
    ]
    for stage, blocks in ((2, resnet.layer1), (3, resnet.layer2)):
        for index, block in enumerate(blocks):
            place = f"{stage}{chr(97 + index) if len(blocks) < 4 else f'b{index}' if index else 'a'}_branch"
            pairs = [("2a", block.conv1, block.bn1), ("2b", block.conv2, block.bn2), ("2c", block.conv3, block.bn3)]
            if hasattr(block, "downsample"):
                pairs.insert(0, ("1", *block.downsample))
            for branch, conv, norm in pairs:
                layers.append(convolution(f"res{place}{branch}{suffix}", conv))
                layers.append(batch_norm(f"bn{place}{branch}{suffix}", f"scale{place}{branch}{suffix}", norm))
    return layers


@pytest.mark.parametrize("build", [DeepLabResNet, ASPP])
def test_caffe_deeplab_v2(tmp_path: Path, build: type[nn.Module]) -> None:
    theirs, ours = drawn(build), build()
    resnet = theirs.trunk if build is DeepLabResNet else theirs.resnet
    heads = list(theirs.children())[1:] if build is DeepLabResNet else list(theirs.aspp.values())
    layers = [*caffe_resnet(resnet), *caffe_resnet(resnet, "_res075"), *caffe_resnet(resnet, "_res05")]
    layers += [convolution(f"fc1_voc12_c{place}", head) for place, head in enumerate(heads)]
    path = tmp_path / "train2_iter_20000.caffemodel"
    path.write_bytes(caffemodel(*layers))
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.unused == ()
    assert imported.copies
    assert all(name.endswith(("_res075", "_res05")) for name in imported.copies)
    assert imported.matched[0].how == "BGR to RGB"


@pytest.mark.parametrize("build", [DeepLabResNet, ASPP])
@pytest.mark.parametrize("prefix", ["base.", ""])
def test_deeplab_pytorch(tmp_path: Path, build: type[nn.Module], prefix: str) -> None:
    theirs, ours = drawn(build), build()
    resnet = theirs.trunk if build is DeepLabResNet else theirs.resnet
    heads = list(theirs.children())[1:] if build is DeepLabResNet else list(theirs.aspp.values())
    parts = {"layer1.conv1.conv": resnet.conv1, "layer1.conv1.bn": resnet.bn1}
    for stage, blocks in ((2, resnet.layer1), (3, resnet.layer2)):
        for index, block in enumerate(blocks, start=1):
            named = zip(
                ("reduce", "conv3x3", "increase"),
                (block.conv1, block.conv2, block.conv3),
                (block.bn1, block.bn2, block.bn3),
                strict=True,
            )
            pairs = [*named, *([("shortcut", *block.downsample)] if hasattr(block, "downsample") else [])]
            for name, conv, norm in pairs:
                parts |= {f"layer{stage}.block{index}.{name}.conv": conv, f"layer{stage}.block{index}.{name}.bn": norm}
    parts |= {f"aspp.c{place}": head for place, head in enumerate(heads)}
    state = {
        f"{prefix}{name}.{leaf}": value for name, part in parts.items() for leaf, value in part.state_dict().items()
    }
    state[f"{prefix}layer1.conv1.conv.weight"] = resnet.conv1.weight.detach().flip(1)
    torch.save(state, path := tmp_path / "deeplabv2_resnet101_msc-vocaug.pth")
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.scaling is not None
    assert imported.scaling.mean == tuple(value / 255 for value in CAFFE_MEAN)
    assert imported.unused == ()


@pytest.mark.parametrize("prefix", ["", "encoder.", "module.encoder."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvision_timm_and_smp_resnet_fill_an_encoder(tmp_path: Path, prefix: str, suffix: str) -> None:
    theirs, ours = drawn(DeepLabResNet), DeepLabResNet()
    state = {f"{prefix}{name}": value for name, value in theirs.trunk.state_dict().items()}
    state["fc.weight"] = torch.zeros(1000, 8)
    saved(state, path := tmp_path / f"resnet{suffix}")
    with pytest.raises(InputError, match="lacks 2 layers of this network: fc1_voc12_c0, fc1_voc12_c1"):
        import_weights(ours, path)
    imported = import_weights(ours, path, partial=True)
    same(ours.trunk, theirs.trunk)
    assert imported.missing == ("fc1_voc12_c0", "fc1_voc12_c1")
    assert imported.unused == ("fc",)
    assert imported.scaling is not None
    assert imported.scaling.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize("stem", [("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3"), ("conv1", "conv2", "conv3")])
def test_caffe_pspnet(tmp_path: Path, stem: tuple[str, ...]) -> None:
    def build() -> nn.Module:
        network = ResNet(stem)
        network.conv5_3_pool1_conv = nn.Conv2d(8, 2, 1, bias=False)
        network.conv5_3_pool1_conv_bn = nn.BatchNorm2d(2)
        return network

    theirs, ours = drawn(build), build()
    layers: list[bytes] = []

    def add(name: str, conv: nn.Module, norm: nn.Module, reads: str = "") -> None:
        layers.extend((convolution(name, conv, reads=reads), bn(f"{name}/bn", norm)))

    for place, (released, name) in enumerate(zip(("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3"), stem, strict=True)):
        add(released, getattr(theirs, name), getattr(theirs, name.replace("conv", "bn", 1)), "" if place else "data")
    for stage, blocks in ((2, theirs.layer1), (3, theirs.layer2)):
        for index, block in enumerate(blocks, start=1):
            add(f"conv{stage}_{index}_1x1_reduce", block.conv1, block.bn1)
            add(f"conv{stage}_{index}_3x3", block.conv2, block.bn2)
            add(f"conv{stage}_{index}_1x1_increase", block.conv3, block.bn3)
            if hasattr(block, "downsample"):
                add(f"conv{stage}_{index}_1x1_proj", *block.downsample)
    add("conv5_3_pool1_conv", theirs.conv5_3_pool1_conv, theirs.conv5_3_pool1_conv_bn)
    path = tmp_path / "pspnet101_VOC2012.caffemodel"
    path.write_bytes(caffemodel(*layers))
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.unused == ()
    assert imported.scaling is not None
    assert imported.scaling.mean == pytest.approx([value / 255 for value in (123.68, 116.779, 103.939)])


class SegNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1_1_bn = nn.BatchNorm2d(4)
        self.conv1_2_D = nn.Conv2d(4, 4, 3, padding=1)
        self.conv1_2_D_bn = nn.BatchNorm2d(4)
        self.conv1_1_D = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        features = functional.relu(self.conv1_1_bn(self.conv1_1(image)))
        return self.conv1_1_D(functional.relu(self.conv1_2_D_bn(self.conv1_2_D(features))))


def test_caffe_segnet_with_statistics_folded_in(tmp_path: Path) -> None:
    theirs, ours = drawn(SegNet), SegNet()
    for norm in (theirs.conv1_1_bn, theirs.conv1_2_D_bn):
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
    layers = []
    for name, module in theirs.named_children():
        folded = isinstance(module, nn.BatchNorm2d)
        layers.append(
            bn(name, module, folded=True) if folded else convolution(name, module, reads="data" * (name == "conv1_1"))
        )
    path = tmp_path / "segnet_weights_driving_webdemo.caffemodel"
    path.write_bytes(caffemodel(*layers))
    imported = import_weights(ours, path)
    same(ours, theirs)
    assert imported.matched[1].how == "statistics folded in"
    assert imported.scaling == ((0, 0, 0), (1 / 255,) * 3)
    image = torch.rand(1, 3, 8, 8)  # a factor and a bias are all that is left
    norm = ours.conv1_1_bn
    features = ours.conv1_1(image)
    plain = features * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(features), plain, rtol=1e-5, atol=1e-5)


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
        ({"classifier.bias": None}, r"1 layers of another shape, first classifier: .*the file has no bias"),
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


@pytest.mark.parametrize("written", ["caffe", "torch"])
def test_layers_of_any_shapes_fit_or_are_told(tmp_path: Path, written: str) -> None:
    """Right names, wrong shapes: without axes, without numbers, with one or eight of them, any number of blobs."""
    rng = np.random.default_rng(0)
    network = deeplab_largefov(2, width=1, batch_norm=True)
    names = ["conv1_1", "conv1_1.norm", "fc6", "fc7", "fc8", "bn"]
    shapes = ((), (0,), (1,), (16,), (2, 3), (16, 16), (16, 0), (16, 392), (1, 1, 16, 16), (1, 3, 3, 3), (16, 8, 7, 7))
    shapes += ((2, 16, 1, 1), (1, 1, 1, 16), (1,) * 6)
    for case in range(300):
        chosen = rng.permutation(names)[: rng.integers(1, 6)]
        values = [
            [rng.normal(size=shapes[rng.integers(len(shapes))]) for _ in range(rng.integers(1, 5))] for _ in chosen
        ]
        if written == "caffe":
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
    network = unet(2, 3, width=2)
    for state, message in (
        ({"features.0.weight": torch.zeros(64, 3, 11, 11)}, "torchvision's AlexNet .64 filters, no groups."),
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


def test_eight_hex_digits_at_a_names_end_are_its_hash(tmp_path: Path) -> None:
    theirs, ours = drawn(lambda: unet(2, 3, width=1)), unet(2, 3, width=1)
    torch.save(theirs.state_dict(), tmp_path / "unet.pth")
    data = (tmp_path / "unet.pth").read_bytes()
    digits = hashlib.sha256(data).hexdigest()[:8]
    right, wrong = tmp_path / f"unet-{digits}.pth", tmp_path / "unet-0123abcd.pth"
    right.write_bytes(data)
    wrong.write_bytes(data)
    import_weights(ours, right)
    with pytest.raises(InputError, match=f"its SHA-256 begins with {digits}, its name says 0123abcd"):
        import_weights(ours, wrong)
