import copy

import pytest
import torch
from torch import Tensor, nn

from densefield.checks import InputError
from densefield.networks.dense_block import DenseBlock, Layer, _Stack, dense_layers, dense_layers_plain
from drawing import seeded


def make_layers(channels: int, count: int, growth: int, dropout: float = 0.0) -> list[Layer]:
    torch.manual_seed(seeded())
    layers = [Layer(channels + index * growth, growth, 3, dropout).double() for index in range(count)]
    for layer in layers:  # each layer its own γ, β and, for evaluation, its own statistics
        for tensor in (layer.norm.weight, layer.norm.bias, layer.norm.running_mean):
            nn.init.normal_(tensor)
        nn.init.uniform_(layer.norm.running_var, 0.5, 2.0)
    return layers


def everything(function, layers, pieces, **options) -> list[Tensor]:
    """Output, every gradient and every buffer of one training step."""
    torch.manual_seed(seeded(1))
    pieces = [piece.clone().requires_grad_() for piece in pieces]
    output = function(layers, pieces, **options)
    output.backward(torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output))
    parameters = [p for layer in layers for p in layer.parameters()]
    buffers = [b for layer in layers for b in layer.buffers()]
    return [output.detach(), *(piece.grad for piece in pieces), *(p.grad for p in parameters), *buffers]


@pytest.mark.parametrize("keep_input", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_equals_the_concatenations(keep_input: bool, checkpointing: bool, training: bool, dropout: float) -> None:
    layers = make_layers(5, 3, 2, dropout)
    for layer in layers:
        layer.train(training)
    pieces = [torch.randn(2, 3, 5, 7, dtype=torch.float64), 3 + torch.randn(2, 2, 5, 7, dtype=torch.float64)]
    expected = everything(dense_layers_plain, copy.deepcopy(layers), pieces, keep_input=keep_input)
    got = everything(dense_layers, layers, pieces, keep_input=keep_input, checkpointing=checkpointing)
    assert expected[0].shape[1] == 6 + 5 * keep_input
    for mine, plain in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_by_finite_differences(checkpointing: bool, training: bool) -> None:
    layers = make_layers(2, 2, 2)
    for layer in layers:
        layer.train(training)
    parameters = [p for layer in layers for m in (layer.norm, layer.conv) for p in (m.weight, m.bias)]

    def run(*tensors: Tensor) -> Tensor:
        return _Stack.apply(layers, 1, True, not checkpointing, *tensors)

    assert torch.autograd.gradcheck(
        run, [torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True), *parameters]
    )


def test_one_layer_of_one_by_one() -> None:
    layer = Layer(4, 6, 1, 0.0).double()
    piece = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    expected = everything(dense_layers_plain, [copy.deepcopy(layer)], [piece], keep_input=False)
    got = everything(dense_layers, [layer], [piece], keep_input=False, checkpointing=True)
    for mine, plain in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_backward_twice_gives_the_same(checkpointing: bool) -> None:
    layers = make_layers(3, 3, 2, 0.2)
    piece = torch.randn(1, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    output = dense_layers(layers, [piece], keep_input=False, checkpointing=checkpointing).square().sum()
    inputs = [piece, *(p for layer in layers for p in layer.parameters())]
    for once, again in zip(
        torch.autograd.grad(output, inputs, retain_graph=True), torch.autograd.grad(output, inputs), strict=True
    ):
        assert torch.equal(once, again)


def test_inference_concatenates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    block = DenseBlock(4, 3, 2, 0.2, keep_input=True).double().eval()
    piece = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    expected = dense_layers_plain(list(block.layers), [piece], keep_input=True)
    monkeypatch.setattr(torch, "cat", None)
    empty, widths = torch.empty, []

    def count(shape: tuple[int, ...], **options) -> Tensor:
        widths.append(shape[1])
        return empty(shape, **options)

    monkeypatch.setattr(torch, "empty", count)
    with torch.no_grad():
        torch.testing.assert_close(block(piece), expected)
    assert widths == [10, 8]  # all features, and what the last layer reads: no layer has its own


def test_mixed_precision_stays_near_the_concatenations() -> None:
    block = DenseBlock(16, 3, 8, 0.0, keep_input=False, checkpointing=True)
    twin = copy.deepcopy(block)
    image = torch.randn(2, 16, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        mine = block(image.bfloat16())  # inside a network the first convolution does so
        plain = dense_layers_plain(list(twin.layers), [image.bfloat16()], keep_input=False)
    assert mine.dtype == plain.dtype == torch.bfloat16
    mine.float().square().sum().backward()
    plain.float().square().sum().backward()
    # both round to 8 bits, in different places: compare with the same step in full precision
    exact = dense_layers_plain(list(copy.deepcopy(twin).layers), [image], keep_input=False)
    assert (mine - exact).abs().max() < 1.5 * (plain - exact).abs().max() + 0.02
    for (name, p), q in zip(block.named_parameters(), twin.parameters(), strict=True):
        assert p.grad.dtype == torch.float32
        if not name.endswith("conv.bias"):  # cancelled by the next normalisation: rounding only
            torch.testing.assert_close(p.grad, q.grad, rtol=0.1, atol=0.05 * float(q.grad.abs().max()))


def test_saves_less_than_the_concatenations() -> None:
    def saved(function) -> int:
        bytes_of: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            bytes_of[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = function()
        assert output.requires_grad
        return sum(bytes_of.values())

    layers = make_layers(16, 6, 8)
    piece = torch.randn(1, 16, 32, 32, dtype=torch.float64)
    plain = saved(lambda: dense_layers_plain(layers, [piece], keep_input=True))
    kept = saved(lambda: dense_layers(layers, [piece], keep_input=True))
    recomputed = saved(lambda: dense_layers(layers, [piece], keep_input=True, checkpointing=True))
    assert kept < 0.7 * plain
    assert recomputed < 0.2 * plain


class Doubled(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_changed_layers_run_as_they_are() -> None:
    piece = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    seen: list[int] = []
    hooked = DenseBlock(3, 2, 2, 0.0, keep_input=False).double().eval()
    expected = hooked(piece)
    hooked.layers[0].norm.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    torch.testing.assert_close(hooked(piece), expected)
    assert seen == [3]

    doubled = DenseBlock(3, 2, 2, 0.0, keep_input=False).eval()
    doubled.layers[1].norm = Doubled(5).eval()
    doubled.double()
    torch.testing.assert_close(doubled(piece), dense_layers_plain(list(doubled.layers), [piece], keep_input=False))

    mixed = DenseBlock(3, 2, 2, 0.0, keep_input=False).double()
    mixed.layers[0].norm.eval()  # one frozen normalisation among training ones
    twin = copy.deepcopy(mixed)
    torch.testing.assert_close(mixed(piece), dense_layers_plain(list(twin.layers), [piece], keep_input=False))
    assert [int(layer.norm.num_batches_tracked) for layer in mixed.layers] == [0, 1]


def test_a_single_value_cannot_be_normalised() -> None:
    block = DenseBlock(3, 2, 2, 0.0, keep_input=False)
    with pytest.raises(InputError, match="single value per channel"):
        block(torch.randn(1, 3, 1, 1))
    assert block.eval()(torch.randn(1, 3, 1, 1)).shape == (1, 4, 1, 1)
