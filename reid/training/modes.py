"""Ways to run the backbone: memory layout, precision, frozen or not."""

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from reid.models.depth import blocks_of
from reid.models.embedder import EmbeddingModel
from reid.training.cpu_convolution import cpu_training_pass

__all__ = ["freeze", "freeze_first", "half_precision", "key_pass", "layout", "training_pass"]


_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}


def layout(channels_last: bool) -> torch.memory_format:
    """Of the weights and the images."""
    return torch.channels_last if channels_last else torch.contiguous_format


def half_precision(precision: str) -> bool:
    """Whether the backbone runs in bfloat16, whose range is that of float32, so that no loss needs scaling.

    ``auto``: where the GPU, or without one the processor, calculates in it.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    # A limit set on oneDNN, which torch calculates with, counts as the processor's own: bfloat16 would be
    # emulated, ten times slower.
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BFLOAT16:
        return False
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot tell
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def training_pass(model: EmbeddingModel, half: bool, compiled: bool = False) -> Callable[[Tensor], Tensor]:
    """How the features of a batch are calculated while ``model``, which is in training mode, trains where it
    is.

    Args:
        model: the network.
        half: in bfloat16, where autocast allows it.
        compiled: by ``torch.compile``, which takes its time at the first batch, and again where a backbone is
            thawed. The module stays as it is: the compiled one holds the very same tensors.
    """
    device = next(model.parameters()).device
    inner: Callable[[Tensor], Tensor] = model
    if compiled:
        inner = torch.compile(model)
    # In float32 torch's own convolutions are as fast.
    elif half and device.type == "cpu":
        backbone = cpu_training_pass(model.backbone)

        def inner(images: Tensor) -> Tensor:
            return model.head(backbone(images))

    def features(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            return inner(images)

    return features


def key_pass(model: EmbeddingModel, half: bool) -> Callable[[Tensor], Tensor]:
    """How the keys of a batch are calculated: without gradient, and normalised by running statistics.

    In training mode a query and its key would share the statistics of their batch, by which the key is told
    from those of earlier batches without a look at the picture. MoCo shuffles the keys over several GPUs
    against that, which on one device changes nothing. ``model`` averages the trained network's running
    statistics with its weights; normalised by them, a key knows nothing of its batch (Cai et al. 2021, EMAN).
    """
    device = next(model.parameters()).device

    @torch.no_grad()
    def keys(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            features: Tensor = model.eval()(images)
        return features

    return keys


def freeze(backbone: nn.Module, frozen: bool, first: int = 0) -> None:
    """A frozen backbone keeps its weights and the statistics of its batch normalisation; of a thawed one the
    ``first`` blocks stay as :func:`freeze_first` has them.
    """
    backbone.requires_grad_(not frozen)
    backbone.train(not frozen)
    freeze_first(backbone, first)


def freeze_first(backbone: nn.Module, count: int) -> None:
    """The first ``count`` blocks keep their weights: what they know of edges and colours holds in pictures of
    any kind. Their batch normalisation goes on, so that its statistics are those of the pictures at hand.
    """
    for block in blocks_of(backbone)[:count]:
        for parameter in block:
            parameter.requires_grad_(False)
