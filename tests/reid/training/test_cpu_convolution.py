"""Convolutions on a CPU that go another way give torch's outputs, gradients and statistics."""

import copy

import pytest
import torch
from torch import Tensor, nn

from reid.models.backbones import build_backbone
from reid.training.cpu_convolution import cpu_training_pass

BACKBONES = ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "osnet_x0_25", "resnet18"]


def run(
    network: nn.Module, images: Tensor, weights: Tensor | None = None, half: bool = False, ours: bool = True
) -> list[Tensor]:
    """The output, the input's gradient, the parameters' and the buffers after it, of a copy of
    ``network``.
    """
    network = copy.deepcopy(network).to(images.dtype)
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = cpu_training_pass(network)(images) if ours else network(images)
    output = output.to(images.dtype)
    (output * (1 if weights is None else weights)).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert images.grad is not None
    return [
        output.detach(),
        images.grad,
        *(torch.cat([t.flatten() for t in some]) for some in (gradients, list(network.buffers())) if some),
    ]


def apart(one: Tensor, other: Tensor) -> float:
    """Relative to ``other``'s length."""
    return float((one - other).norm() / other.norm().clamp(min=1e-12))


def channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        (3, 2, 1),
        (3, (2, 1), 1),
        (5, 2, 2),
        (5, 3, 1),
        (3, 2, 0),
        (1, 2, 0),
        ((3, 1), 2, (1, 0)),
        (3, 2, 2),
        (3, 1, 1),
        (5, 1, 0),
        (3, 1, 3),
    ],
)
@pytest.mark.parametrize("size", [(16, 8), (15, 9)])
def test_a_depthwise_convolution_is_that_of_float32(kernel, stride, padding, size, last: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False))
    images = torch.randn(4, 6, *size)
    images = channels_last(images) if last else images
    weights = torch.randn_like(layer(images))
    half = run(layer, images, weights, half=True)
    for own, exact in zip(half, run(layer, images, weights, ours=False), strict=True):
        assert own.shape == exact.shape
        assert apart(own, exact) < 0.01


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
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", groups=8, bias=False),
    ],
    ids=str,
)
def test_every_other_convolution_is_that_of_float32_too(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(layer)
    images = channels_last(torch.randn(3, 8, 9, 7))
    weights = torch.randn_like(layer(images))
    for half, exact in zip(
        run(network, images, weights, half=True), run(network, images, weights, ours=False), strict=True
    ):
        assert half.shape == exact.shape
        assert apart(half, exact) < 0.01


def backbone_and_images(backbone: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, smooth images, and weights that make one number of its maps."""
    torch.manual_seed(0)
    network = build_backbone(backbone, "none", 1)[0].train().to(memory_format=torch.channels_last)
    images = channels_last(nn.functional.interpolate(torch.randn(16, 3, 16, 8), scale_factor=4))
    return network, images, torch.randn_like(network(images))


def test_without_autocast_a_network_does_what_torch_does() -> None:
    network, images, weights = backbone_and_images("mobilenet_v2")
    for pair in zip(run(network, images, weights), run(network, images, weights, ours=False), strict=True):
        assert torch.equal(*pair)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_network_in_bfloat16_is_no_further_from_float64_than_torch_is(backbone: str) -> None:
    network, images, weights = backbone_and_images(backbone)
    exact = run(network, images.double(), weights.double(), ours=False)
    ours = run(network, images, weights, half=True)
    theirs = run(network, images, weights, half=True, ours=False)
    assert not all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    for own, torchs, right in zip(ours, theirs, exact, strict=True):
        of_torch = apart(torchs.double(), right.double())
        assert apart(own.double(), right.double()) < 1.25 * of_torch + 0.02


def test_the_weights_and_names_stay_the_backbones_own() -> None:
    network = build_backbone("mobilenet_v2", "none", 1)[0].train().to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    training_pass = cpu_training_pass(network)
    images = channels_last(torch.randn(4, 3, 64, 32))
    training_pass(images)
    after = network.state_dict()
    assert list(after) == list(before)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    network.eval()
    assert torch.equal(training_pass(images), network(images))
    assert all(torch.equal(after[name], network.state_dict()[name]) for name in after)
