"""Training on a processor: the passes that go another way give torch's outputs, gradients and statistics."""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reid.models.backbones import build_backbone
from reid.models.embedder import EmbeddingModel
from reid.training.modes import half_precision, training_pass
from reid.training.on_cpu import team
from reid.training.on_cpu.batch_norm import NormClamp
from reid.training.on_cpu.team import (
    address,
    barrier,
    compile_loop,
    narrow,
    thread_count,
    thread_number,
    widen,
)
from reid.training.on_cpu.trunk import CpuTrunk

BACKBONES = ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "osnet_x0_25", "resnet18"]
MISSES = 1.25  # how much further from the exact result than torch's


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
        output = CpuTrunk(network)(images) if ours else network(images)
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


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


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
@pytest.mark.parametrize("half", [True, False])
def test_a_depthwise_convolution_is_that_of_float32(
    kernel, stride, padding, size, last: bool, half: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False))
    images = torch.randn(4, 6, *size)
    images = channels_last(images) if last else images
    weights = torch.randn_like(layer(images))
    for own, exact in zip(
        run(layer, images, weights, half), run(layer, images, weights, ours=False), strict=True
    ):
        assert own.shape == exact.shape
        assert apart(own, exact) < (0.01 if half else 1e-6)


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


@pytest.mark.parametrize("clamp", [nn.ReLU6(inplace=True), nn.ReLU(), nn.Hardswish(), nn.Identity()], ids=str)
@pytest.mark.parametrize("shape", [(3, 5, 9, 7), (2, 40, 1, 1), (64, 16, 8, 4)])
@pytest.mark.parametrize("half", [True, False])
def test_batch_normalisation_with_its_clamp_is_that_of_float64(
    clamp: nn.Module, shape, half: bool, threads: int
) -> None:
    torch.manual_seed(threads)
    norm = nn.BatchNorm2d(shape[1], eps=0.01, momentum=0.3)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(shape[1]) * 3)
        norm.bias.normal_()
        norm.weight[0] = 0  # whose own gradient is not
        assert norm.running_mean is not None
        norm.running_mean.normal_()
    network = nn.Sequential(norm, clamp)
    images, weights = (
        channels_last(torch.randn(shape) + torch.randn(shape[1])[:, None, None]),
        torch.randn(shape),
    )
    if half:
        images = images.bfloat16().float()
        # whose output autocast makes a bfloat16
        network.insert(0, nn.Conv2d(shape[1], shape[1], 1, bias=False))
        torch.nn.init.dirac_(network[0].weight)
    exact = run(network, images.double(), weights.double(), ours=False)
    for own, torchs, right in zip(
        run(network, images, weights, half),
        run(network, images, weights, half, ours=False),
        exact,
        strict=True,
    ):
        assert own.dtype == torchs.dtype
        assert apart(own.double(), right.double()) < MISSES * apart(torchs.double(), right.double()) + (
            2e-3 if half else 2e-6
        )


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_network_is_no_further_from_float64_than_torch_is(backbone: str, half: bool) -> None:
    torch.manual_seed(0)
    network = build_backbone(backbone, "none", 1)[0].train().to(memory_format=torch.channels_last)
    images = channels_last(nn.functional.interpolate(torch.randn(16, 3, 16, 8), scale_factor=4))
    weights = torch.randn_like(network(images))
    exact = run(network, images.double(), weights.double(), ours=False)
    ours, theirs = run(network, images, weights, half), run(network, images, weights, half, ours=False)
    assert not all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    # Where rounding switches a rectifier on or off, the gradients behind it are others: some thousandths in
    # float32, by chance.
    smooth = 1e-4 if backbone == "efficientnet_b0" else 0.03
    for own, torchs, right, much in zip(ours, theirs, exact, (1e-4, smooth, smooth, 1e-4), strict=True):
        assert apart(own.double(), right.double()) < MISSES * apart(torchs.double(), right.double()) + (
            0.02 if half else much
        )


def test_the_weights_and_names_stay_the_trunks_own() -> None:
    network = build_backbone("mobilenet_v2", "none", 1)[0].train().to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trunk = CpuTrunk(network)
    images = channels_last(torch.randn(4, 3, 64, 32))
    trunk(images)
    after = network.state_dict()
    assert list(after) == list(before)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    network.eval()
    assert torch.equal(trunk(images), network(images))
    assert all(torch.equal(after[name], network.state_dict()[name]) for name in after)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    torch.manual_seed(0)
    images = channels_last(torch.randn(8, 4, 8, 8) + 1000)
    norm = NormClamp(nn.BatchNorm2d(4, momentum=1.0), -math.inf, math.inf)
    norm(images)
    assert norm.norm.running_var is not None
    assert torch.allclose(norm.norm.running_var, images.double().var((0, 2, 3)).float(), rtol=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_stays_so(bad: float, dtype: torch.dtype) -> None:
    images = channels_last(torch.randn(4, 3, 4, 4)).to(dtype)
    images[2, 1, 0, 0] = bad
    images.requires_grad_()
    output = NormClamp(nn.BatchNorm2d(3), 0.0, 6.0)(images)
    output.float().sum().backward()
    assert images.grad is not None
    for values in (output.detach(), images.grad):
        assert not values[:, 1].isfinite().any()
        assert values[:, [0, 2]].isfinite().all()


def test_one_value_for_each_channel_has_no_variance() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        NormClamp(nn.BatchNorm2d(3), 0.0, 6.0)(torch.randn(1, 3, 1, 1))


@pytest.mark.parametrize("clamp", [nn.ReLU6(), nn.ReLU(), nn.Identity()], ids=str)
def test_without_threads_to_lend_and_in_another_layout_torch_normalises(
    clamp: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = nn.Sequential(nn.BatchNorm2d(4), clamp)
    images, weights = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6)
    want = run(network, images, weights, ours=False)
    assert all(torch.equal(*pair) for pair in zip(run(network, images, weights), want, strict=True))
    # as in a torch with other threads, which cannot be had here
    monkeypatch.setattr(team, "available", lambda: False)
    images = channels_last(images)
    want = run(network, images, weights, ours=False)
    assert all(torch.equal(*pair) for pair in zip(run(network, images, weights), want, strict=True))


def test_bits_of_bfloat16_are_torchs() -> None:
    def copy_numbers(data) -> None:
        given = numba.carray(data, (3,), np.int64)
        wide, short = (
            numba.carray(address(given[0]), (given[2],), np.float32),
            numba.carray(address(given[1]), (given[2],), np.uint16),
        )
        for i in range(given[2]):
            short[i] = narrow(wide[i], short[i])
            wide[i] = widen(short[i])

    bits = torch.randint(
        -(2**31), 2**31 - 1, (4096,), dtype=torch.int64, generator=torch.Generator().manual_seed(0)
    ).to(torch.int32)
    bits[:2048] = (bits[:2048] & -65536) | 0x8000  # ties
    numbers = bits.view(torch.float32)
    numbers = torch.cat(
        [numbers[numbers.isfinite()], torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan])]
    )
    want, short = numbers.bfloat16(), torch.empty(len(numbers), dtype=torch.bfloat16)
    compile_loop(copy_numbers, keep=False)(numbers.data_ptr(), short.data_ptr(), len(numbers))
    assert torch.equal(short[:-1], want[:-1])
    assert torch.equal(numbers[:-1], want[:-1].float())
    assert short[-1].isnan()
    assert numbers[-1].isnan()


def test_every_thread_of_torch_runs_a_loop_and_all_meet(threads: int) -> None:
    def meet(data) -> None:
        given = numba.carray(data, (1,), np.int64)
        came, own = numba.carray(address(given[0]), (2, thread_count()), np.int64), thread_number()
        came[0, own] = 1
        barrier()
        came[1, own] = came[0].sum()

    came = torch.zeros(2, threads, dtype=torch.int64)
    compile_loop(meet, keep=False)(came.data_ptr())
    assert came.tolist() == [[1] * threads, [threads] * threads]


@pytest.mark.parametrize("limit", ["OMP_THREAD_LIMIT=1", "OMP_DYNAMIC=true"])
def test_with_fewer_threads_than_torch_asks_for_no_row_is_left_out(limit: str) -> None:
    script = """
import torch
from reid.training.on_cpu.batch_norm import NormClamp
torch.set_num_threads(3)
maps = torch.randn(64, 4, 2, 2).to(memory_format=torch.channels_last)
norm = torch.nn.BatchNorm2d(4)
print(float((NormClamp(norm, -torch.inf, torch.inf)(maps) - norm(maps)).abs().max()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | dict([limit.split("=")]),
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


@pytest.mark.parametrize("able", ["avx512_bf16", "amx_bf16", None])
def test_auto_is_bfloat16_where_the_processor_calculates_in_it(
    able: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stand-ins for machines that are not here.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        torch.cpu,
        "get_capabilities",
        lambda: {"avx2": True, "avx512_bf16": able == "avx512_bf16", "amx_bf16": able == "amx_bf16"},
    )
    assert half_precision("auto") is (able is not None)
    assert half_precision("bfloat16")
    assert not half_precision("float32")


@pytest.mark.parametrize("half", [True, False])
def test_a_training_pass_is_in_the_wanted_precision_and_leaves_no_trace(half: bool) -> None:
    model = EmbeddingModel(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False)), 4)
    assert training_pass(model, half)(torch.ones(2, 3, 4, 4)).dtype == (
        torch.bfloat16 if half else torch.float32
    )
    assert model(torch.ones(2, 3, 4, 4)).dtype == torch.float32
