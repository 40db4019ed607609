"""Whole networks as their library publishes and uses them: with the head that its own feature extractor
embeds with.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from reid.errors import ReidError, UsageError
from reid.models.weights_file import describe_difference, load_weights, read_weights

__all__ = ["PUBLISHED", "Published", "PublishedNetwork", "build_published", "fitting_architectures"]


@dataclass(frozen=True)
class Published:
    """One network of a library.

    Attributes:
        library: whose registry builds it.
        height, width: the input that its publisher uses, in pixels.
        head: prefixes of the parameters that embedding does not use.
    """

    library: str = "torchreid"
    height: int = 256
    width: int = 128
    head: tuple[str, ...] = ("classifier",)


# Without torchreid's PCB, which does not run in today's torch: it asks for a view of maps that are not laid
# out for one.
_PLAIN = (
    *("osnet_x1_0", "osnet_x0_75", "osnet_x0_5", "osnet_x0_25", "osnet_ibn_x1_0"),
    *("osnet_ain_x1_0", "osnet_ain_x0_75", "osnet_ain_x0_5", "osnet_ain_x0_25"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d"),
    *("resnet50_fc512", "resnet50mid", "resnet50_ibn_a", "resnet50_ibn_b", "mlfn"),
    *("se_resnet50", "se_resnet50_fc512", "se_resnet101", "se_resnext50_32x4d", "se_resnext101_32x4d"),
    *("densenet121", "densenet121_fc512", "densenet161", "densenet169", "densenet201"),
    *("mobilenetv2_x1_0", "mobilenetv2_x1_4", "shufflenet"),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("squeezenet1_0", "squeezenet1_0_fc512", "squeezenet1_1", "mudeep"),
    *("xception", "inceptionv4", "inceptionresnetv2"),
)
PUBLISHED: dict[str, Published] = {
    **{f"torchreid:{name}": Published() for name in _PLAIN},
    "torchreid:hacnn": Published(height=160, width=64),
}


class PublishedNetwork(nn.Module):
    """A library's network in the place of a trunk: its own embedding (B, D) as maps (B, D, 1, 1), which
    pooling leaves as they are.

    Args:
        net: gives embeddings in evaluation mode, and something else, to train on, in training mode.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers; the network as a whole stays one that embeds."""
        super().train(mode)
        self.net.training = False
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, D, 1, 1), not normalised, of normalised images (B, 3, H, W)."""
        return self.net(images)[:, :, None, None]


def build_published(name: str, height: int, width: int, weights: str = "none") -> tuple[nn.Module, int]:
    """Build a network.

    Args:
        name: a key of ``PUBLISHED``.
        height: of the input it will have, in pixels; some networks take one size alone.
        width: likewise.
        weights: ``none`` (random), or the path of a checkpoint (see ``reid.models.weights_file``), with a
            classifier of any size.

    Returns:
        The network, and D of its embeddings.

    Raises:
        UsageError: the name is unknown, or the file is missing.
        ReidError: the file is damaged, unsafe or of another network, or the network does not take this size.
    """
    if name not in PUBLISHED:
        raise UsageError(f"architecture {name!r} is unknown: choose one of {', '.join(PUBLISHED)}")
    if weights == "imagenet":
        raise UsageError(
            f"architecture {name} has no weights of its own here: give those that its publisher "
            "trained as a file"
        )
    network = PublishedNetwork(_net(name)).eval()
    if weights != "none":
        _load(network.net, name, weights)
    try:
        with torch.inference_mode():
            channels = int(network(torch.zeros(2, 3, height, width)).shape[1])
    except (AssertionError, RuntimeError, IndexError) as error:
        own = PUBLISHED[name]
        reason = " ".join(str(error).split())[:200]
        raise ReidError(
            f"architecture {name} takes no images of {height}x{width} ({reason}): its publisher uses "
            f"{own.height}x{own.width}"
        ) from error
    return network, channels


def _load(net: nn.Module, name: str, weights: str) -> None:
    given = read_weights(weights)
    try:
        load_weights(net, given, PUBLISHED[name].head, f"weights {weights} are not of {name}")
    except ReidError as error:
        fitting = fitting_architectures(given)
        raise ReidError(f"{error}; they fit {' and '.join(fitting)}" if fitting else str(error)) from error
    # What embedding does not use was left as the library drew it: equal checkpoints are to be equal models,
    # with one fingerprint.
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if key.startswith(PUBLISHED[name].head):
                parameter.zero_()


def fitting_architectures(given: Mapping[str, Tensor]) -> list[str]:
    """The names of ``PUBLISHED`` whose tensors are those given, by name and shape."""
    return [name for name in PUBLISHED if _fits(name, given)]


def _fits(name: str, given: Mapping[str, Tensor]) -> bool:
    with torch.device("meta"):  # shapes without memory
        wanted = _net(name).state_dict()
    head = PUBLISHED[name].head
    return not describe_difference(
        *({key: value for key, value in side.items() if not key.startswith(head)} for side in (wanted, given))
    )


def _net(name: str) -> nn.Module:
    with warnings.catch_warnings():
        # It loads TensorBoard, and says at every import that its compiled evaluation, unused here, is
        # missing.
        warnings.filterwarnings("ignore", message="Cython evaluation")
        from torchreid.reid.models import build_model

        return build_model(name.split(":")[1], num_classes=1, pretrained=False, use_gpu=False)
