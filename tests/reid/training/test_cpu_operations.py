"""Training on a processor: the operations done another way give torch's own values and gradients, and keep less."""

import contextlib

import pytest
import torch
from torch import Tensor, nn

from reid.models.backbones import build_backbone
from reid.training.cpu_operations import CpuOperations
from reid.training.modes import forward_mode, half_precision

BACKBONES = ["mobilenet_v2", "osnet_x0_25", "resnet18"]


def run(network: nn.Module, images: Tensor, weights: Tensor | None = None, half: bool = False, ours: bool = True) -> list[Tensor]:
    """The output and the gradients of the input and of every parameter."""
    network.zero_grad()
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half), CpuOperations() if ours else contextlib.nullcontext():
        output = network(images)
    output = output.float()
    (output * (torch.ones_like(output) if weights is None else weights)).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert images.grad is not None
    return [output.detach(), images.grad, *(gradient.clone() for gradient in gradients if gradient is not None)]


def apart(one: Tensor, other: Tensor) -> float:
    """Relative to ``other``'s length."""
    return float((one - other).norm() / other.norm().clamp(min=1e-12))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 2, 1), (3, (2, 1), 1), (5, 2, 2), (5, 3, 1), (3, 2, 0), (1, 2, 0), ((3, 1), 2, (1, 0)), (3, 2, 2)],
)
@pytest.mark.parametrize("size", [(16, 8), (15, 9)])
def test_a_strided_depthwise_convolution_in_bfloat16_is_that_of_float32(kernel, stride, padding, size, channels_last: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False)
    images = torch.randn(4, 6, *size)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(layer(images))
    for half, exact in zip(run(layer, images, weights, half=True), run(layer, images, weights, ours=False), strict=True):
        assert half.shape == exact.shape
        assert apart(half, exact) < 0.01


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 5, 1, bias=False),
        nn.Conv2d(8, 5, 1, bias=True),
        nn.Conv2d(8, 5, 1, stride=2, bias=False),
        nn.Conv2d(8, 5, 1, padding=1, bias=False),
        nn.Conv2d(8, 6, 1, groups=2, bias=False),
        nn.Conv2d(8, 16, 3, stride=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, stride=2, dilation=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding="same", groups=8, bias=False),
    ],
    ids=str,
)
def test_every_other_convolution_is_that_of_float32_too(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 8, 9, 7).contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(layer(images))
    for half, exact in zip(run(layer, images, weights, half=True), run(layer, images, weights, ours=False), strict=True):
        assert half.shape == exact.shape
        assert apart(half, exact) < 0.01


@pytest.mark.parametrize("backbone", BACKBONES)
def test_in_float32_a_network_gives_the_very_values_and_gradients(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_backbone(backbone, "none", 1)[0].eval()
    images = torch.randn(2, 3, 64, 32)
    assert all(torch.equal(*pair) for pair in zip(run(network, images), run(network, images, ours=False), strict=True))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_in_bfloat16_a_network_is_no_further_from_float32_than_torch_is(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_backbone(backbone, "none", 1)[0].eval().to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 64, 32).contiguous(memory_format=torch.channels_last)
    exact, ours, theirs = run(network, images), run(network, images, half=True), run(network, images, half=True, ours=False)
    assert not all(torch.equal(*pair) for pair in zip(ours, exact, strict=True))
    for own, torchs, right in zip(ours, theirs, exact, strict=True):
        assert apart(own, right) < 1.25 * apart(torchs, right) + 0.01


def test_a_relu6_in_place_keeps_no_copy_of_its_input() -> None:
    def kept(ours: bool) -> int:
        tensors: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            tensors[tensor.data_ptr()] = tensor.nbytes
            held.append(tensor)
            return tensor

        held: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            run(network, images, ours=ours)
        return sum(tensors.values())

    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU6(inplace=True), nn.Linear(64, 64))
    images = torch.randn(4096, 64)
    assert kept(ours=True) <= kept(ours=False) - images.nbytes


def test_a_relu6_without_gradient_or_not_in_place_is_torchs() -> None:
    values = torch.linspace(-2, 8, 11)
    with CpuOperations():
        assert torch.equal(nn.ReLU6()(values), values.clamp(0, 6))
        assert torch.equal(nn.ReLU6(inplace=True)(values.clone()), values.clamp(0, 6))
        with pytest.raises(RuntimeError, match="leaf Variable"):
            nn.ReLU6(inplace=True)(values.clone().requires_grad_())


@pytest.mark.parametrize("able", ["avx512_bf16", "amx_bf16", None])
def test_auto_is_bfloat16_where_the_processor_calculates_in_it(able: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stand-ins for machines that are not here.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": able == "avx512_bf16", "amx_bf16": able == "amx_bf16"}
    )
    assert half_precision("auto") is (able is not None)
    assert half_precision("bfloat16")
    assert not half_precision("float32")


@pytest.mark.parametrize("half", [True, False])
def test_the_forward_mode_ends_with_its_block(half: bool) -> None:
    layer = nn.Linear(2, 2)
    with forward_mode(torch.device("cpu"), half):
        assert layer(torch.ones(1, 2)).dtype == (torch.bfloat16 if half else torch.float32)
    assert layer(torch.ones(1, 2)).dtype == torch.float32
