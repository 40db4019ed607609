"""Whole networks as their library publishes and uses them: with the head that its own feature extractor
embeds with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from reid.card import shipped_start
from reid.errors import ReidError, UsageError
from reid.models.backbones import torchreid_network
from reid.models.fastreid import FASTREID, FastReIDNetwork, Variant, fastreid_names
from reid.models.libraries import (
    OML,
    classifier_of,
    oml_names,
    oml_network,
    timm_names,
    timm_network,
    torchvision_names,
    torchvision_network,
)
from reid.models.weights_file import describe_difference, load_weights, read_weights

__all__ = [
    "OPEN_LIBRARIES",
    "PUBLISHED",
    "Published",
    "PublishedNetwork",
    "build_published",
    "fitting_architectures",
    "is_published",
    "published",
    "whole_network",
]


def _as_they_are(given: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    return dict(given)


@dataclass(frozen=True)
class Published:
    """One network of a library.

    Attributes:
        build: ``(height, width)`` in pixels to the library's network at random weights, which gives
            embeddings (B, D) in evaluation mode.
        height, width: the input that its publisher uses, in pixels.
        head: prefixes of the parameters that embedding does not use.
        names: ``(tensors of a checkpoint, network)`` to the same under the network's names.
    """

    build: Callable[[int, int], nn.Module]
    height: int = 256
    width: int = 128
    head: tuple[str, ...] = ("classifier",)
    names: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]] = _as_they_are


def _torchreid(name: str, height: int, width: int) -> nn.Module:
    return torchreid_network(name, pretrained=False)


def _fastreid(variant: Variant, height: int, width: int) -> nn.Module:
    return FastReIDNetwork(variant)


# Without torchreid's PCB and MuDeep, which do not run in today's torch: they ask for a view of maps that are
# not laid out for one.
_PLAIN = (
    *("osnet_x1_0", "osnet_x0_75", "osnet_x0_5", "osnet_x0_25", "osnet_ibn_x1_0"),
    *("osnet_ain_x1_0", "osnet_ain_x0_75", "osnet_ain_x0_5", "osnet_ain_x0_25"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d"),
    *("resnet50_fc512", "resnet50mid", "resnet50_ibn_a", "resnet50_ibn_b", "mlfn"),
    *("se_resnet50", "se_resnet50_fc512", "se_resnet101", "se_resnext50_32x4d", "se_resnext101_32x4d"),
    *("densenet121", "densenet121_fc512", "densenet161", "densenet169", "densenet201"),
    *("mobilenetv2_x1_0", "mobilenetv2_x1_4", "shufflenet"),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("squeezenet1_0", "squeezenet1_0_fc512", "squeezenet1_1"),
    *("xception", "inceptionv4", "inceptionresnetv2"),
)
PUBLISHED: dict[str, Published] = {
    **{f"torchreid:{name}": Published(partial(_torchreid, name)) for name in _PLAIN},
    "torchreid:hacnn": Published(partial(_torchreid, "hacnn"), height=160, width=64),
    **{
        f"fastreid:{name}": Published(
            partial(_fastreid, variant),
            variant.height,
            variant.width,
            ("heads.weight", "heads.classifier.", "heads.cls_layer."),
            fastreid_names,
        )
        for name, variant in FASTREID.items()
    },
    **{
        f"oml:{name}": Published(partial(oml_network, name), 224, 224, ("fc.", "head."), oml_names)
        for name in OML
    },
}

# Libraries of so many networks that any name of theirs is taken.
OPEN_LIBRARIES = ("timm", "torchvision")
_FEATURES = "features"  # what goes into the classifier, which is left out
_HEAD = "head"  # followed by a number: the classifier's outputs, so many


def is_published(name: str) -> bool:
    """Whether a name is that of a whole network: a key of ``PUBLISHED``, or one of ``whole_network``."""
    return name in PUBLISHED or (name.partition(":")[0] in OPEN_LIBRARIES and "+" in name)


def published(name: str) -> Published:
    """What is known of a whole network.

    Args:
        name: a key of ``PUBLISHED``; or ``timm:NAME+features`` or ``timm:NAME+head128``, and the same of
            torchvision: without its classifier, or with one of so many outputs.

    Raises:
        UsageError: there is none of that name.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    library, _, rest = name.partition(":")
    network, _, part = rest.partition("+")
    outputs = part.removeprefix(_HEAD)
    if library not in OPEN_LIBRARIES or not (
        part == _FEATURES or (part.startswith(_HEAD) and outputs.isdecimal() and int(outputs) > 0)
    ):
        raise UsageError(f"architecture {name!r} is unknown: choose one of {', '.join(PUBLISHED)}")
    count = 0 if part == _FEATURES else int(outputs)
    head = () if count else (f"{classifier_of(library, network)}.",)
    if library == "timm":
        return Published(partial(_timm, network, count), head=head, names=timm_names)
    return Published(partial(_torchvision, network, count), head=head, names=torchvision_names)


def _timm(name: str, outputs: int, height: int, width: int) -> nn.Module:
    return timm_network(name, outputs, img_size=(height, width))


def _torchvision(name: str, outputs: int, height: int, width: int) -> nn.Module:
    return torchvision_network(name, outputs)


def whole_network(name: str, checkpoint: Path | str | None = None) -> str:
    """The name of a whole network of timm or torchvision, for ``published``.

    Args:
        name: ``timm:NAME`` or ``torchvision:NAME``.
        checkpoint: whose classifier is kept, for its output is what the publisher embeds with; None leaves it
            out.

    Raises:
        UsageError: the library has no such network, or the file is missing.
        ReidError: the file is damaged or unsafe, or has no such classifier.
    """
    library, _, network = name.partition(":")
    classifier = classifier_of(library, network)
    if checkpoint is None:
        return f"{name}+{_FEATURES}"
    found = [
        len(value)
        for key, value in read_weights(checkpoint).items()
        if f".{key}".endswith(f".{classifier}.weight")
    ]
    if len(found) != 1:
        raise ReidError(
            f"weights {checkpoint} have no {classifier}.weight, the classifier of {name}: its head cannot be "
            "kept"
        )
    return f"{name}+{_HEAD}{found[0]}"


class PublishedNetwork(nn.Module):
    """A library's network in the place of a backbone: its own embedding (B, D) as maps (B, D, 1, 1), which
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
        name: see ``published``.
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
    own = published(name)
    shipped_start(weights, name)  # which is of no published network
    if weights == "imagenet":
        raise UsageError(
            f"architecture {name} has no weights of its own here: give those that its publisher "
            "trained as a file"
        )
    network = PublishedNetwork(own.build(height, width)).eval()
    if weights != "none":
        _load(network.net, name, weights)
    try:
        with torch.inference_mode():
            channels = int(network(torch.zeros(2, 3, height, width)).shape[1])
    except (AssertionError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReidError(
            f"architecture {name} takes no images of {height}x{width} ({reason}): its publisher uses "
            f"{own.height}x{own.width}"
        ) from error
    return network, channels


def _load(net: nn.Module, name: str, weights: str) -> None:
    own, read = published(name), read_weights(weights)
    try:
        load_weights(net, own.names(read, net), own.head, f"weights {weights} are not of {name}")
    except ReidError as error:
        fitting = fitting_architectures(read)
        raise ReidError(f"{error}; they fit {' and '.join(fitting)}" if fitting else str(error)) from error
    # What embedding does not use was left as the library drew it: equal checkpoints are to be equal models,
    # with one fingerprint.
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if own.head and key.startswith(own.head):
                parameter.zero_()


def fitting_architectures(given: Mapping[str, Tensor]) -> list[str]:
    """The names of ``PUBLISHED`` whose tensors are those given, by name and shape."""
    return [name for name, own in PUBLISHED.items() if _fits(own, given)]


def _fits(own: Published, given: Mapping[str, Tensor]) -> bool:
    with torch.device("meta"):  # shapes without memory
        net = own.build(own.height, own.width)
        wanted, named = net.state_dict(), own.names(given, net)
    return not describe_difference(
        *(
            {key: value for key, value in side.items() if not key.startswith(own.head)}
            for side in (wanted, named)
        )
    )
