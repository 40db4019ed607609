"""A backbone to go on training, of an exported file in which BatchNorm is folded into the convolutions.

A folded convolution gives ``y + b``: ``y`` is what it gave before, scaled as its BatchNorm scaled it. A
BatchNorm behind the folded weights, with any mean and variance, the weight ``sqrt(variance + eps)`` and the
bias ``b + mean``, evaluates to the very same. For a training they must be the statistics of ``y``, which
folding has lost and which pictures bring back; then it goes on like a network that was never folded.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
from onnx import numpy_helper
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reid.errors import ReidError
from reid.files import existing

__all__ = ["folded_statistics", "read_statistics", "unfolded_weights"]

_PREFIX = "model.backbone."  # of the names in an exported graph
_HALVED = "_fp16"  # the ending of those whose numbers are stored in half precision


def folded_statistics(model: Path, backbone: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean and variance of what each folded convolution gives, its bias left out.

    Args:
        model: a float32 ONNX file of ``export_onnx``; its weights may be stored in half precision.
        backbone: a network of the same kind; it has the file's weights afterwards, and is in evaluation mode.
        batches: normalised float images ``(B, 3, H, W)``, as the training had them.

    Returns:
        ``NAME.running_mean`` and ``NAME.running_var`` of each BatchNorm, float32 ``(C,)``.

    Raises:
        UsageError: the file is missing.
        ReidError: it is damaged, or of another network.
    """
    norms = {name: norm for _, name, norm in _pairs(backbone)}
    unknown = {
        f"{name}.{kind}": torch.full((norm.num_features,), value)
        for name, norm in norms.items()
        for kind, value in (("running_mean", 0.0), ("running_var", 1.0))
    }
    backbone.load_state_dict(unfolded_weights(model, unknown, backbone), strict=False)
    seen = {norm: _Moments() for norm in norms.values()}
    hooks = [norm.register_forward_pre_hook(moments) for norm, moments in seen.items()]
    backbone.eval()
    with torch.inference_mode():
        for batch in batches:
            backbone(batch)
    for hook in hooks:
        hook.remove()
    return {
        f"{name}.{kind}": value
        for name, norm in norms.items()
        for kind, value in zip(("running_mean", "running_var"), seen[norm].mean_and_variance(), strict=True)
    }


class _Moments:
    """Of every channel of the tensors ``(B, C, h, w)`` that a layer is given."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, torch.zeros(1), torch.zeros(1)

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        y = given[0].double()
        self._count += y[:, 0].numel()
        self._sum = self._sum + y.sum((0, 2, 3))
        self._squares = self._squares + y.square().sum((0, 2, 3))

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean = self._sum / self._count
        return mean.float(), (self._squares / self._count - mean.square()).clamp_min(0).float()


def read_statistics(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file of ``folded_statistics``.

    Raises:
        UsageError: it is missing.
        ReidError: it is damaged.
    """
    try:
        return load_file(existing(path, "statistics of BatchNorm"))
    except SafetensorError as error:
        raise ReidError(f"{path} is no safetensors file, or truncated: install the package again") from error


def unfolded_weights(model: Path, statistics: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """The state dict of a backbone, of its exported file.

    Args:
        model: a float32 ONNX file of ``export_onnx``; its weights may be stored in half precision.
        statistics: of ``folded_statistics``.
        backbone: a network of the same kind, whose convolutions and BatchNorms tell the names.

    Returns:
        Tensors by name, float32, of its convolutions and BatchNorms.

    Raises:
        UsageError: the file is missing.
        ReidError: it is damaged, or it or the statistics are of another network.
    """
    try:
        graph = onnx.load_model(existing(model, "ONNX file"), load_external_data=False).graph
    except DecodeError as error:
        raise ReidError(f"{model} is no ONNX file, or truncated: install the package again") from error
    tensors = {
        tensor.name.removesuffix(_HALVED).removeprefix(_PREFIX): tensor
        for tensor in graph.initializer
        if tensor.name.startswith(_PREFIX)
    }

    def folded(name: str) -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(tensors[name]).astype(np.float32))

    found: dict[str, Tensor] = {}
    try:
        for convolution, name, norm in _pairs(backbone):
            mean, variance = statistics[f"{name}.running_mean"], statistics[f"{name}.running_var"]
            found |= {
                f"{convolution}.weight": folded(f"{convolution}.weight"),
                f"{name}.weight": torch.sqrt(variance + norm.eps),
                f"{name}.bias": folded(f"{convolution}.bias") + mean,
                f"{name}.running_mean": mean,
                f"{name}.running_var": variance,
            }
    except KeyError as error:
        raise ReidError(f"{model} or its statistics are of another network: {error} is missing") from error
    return found


def _pairs(backbone: nn.Module) -> Iterator[tuple[str, str, nn.BatchNorm2d]]:
    """Names of each convolution and of the BatchNorm behind it, and that."""
    before: tuple[str, nn.Conv2d] | None = None
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            if before is not None or module.bias is not None:
                raise ReidError(
                    f"convolution {name} has no BatchNorm of its own: it cannot be folded back out"
                )
            before = name, module
        elif isinstance(module, nn.BatchNorm2d):
            if before is None or before[1].out_channels != module.num_features:
                raise ReidError(
                    f"BatchNorm {name} has no convolution of its own: it cannot be folded back out"
                )
            yield before[0], name, module
            before = None
