"""Networks of timm, torchvision and OML (open-metric-learning), whole, as they embed: without their
classifier, or with it where the publisher's embedding is its output.
"""

import sys
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.errors import UsageError

__all__ = [
    "OML",
    "classifier_of",
    "oml_names",
    "oml_network",
    "timm_config",
    "timm_names",
    "timm_network",
    "torchvision_names",
    "torchvision_network",
    "without_common_prefix",
]

_OML_VITS = {
    "vits16": "vit_small_patch16_224",
    "vits8": "vit_small_patch8_224",
    "vitb16": "vit_base_patch16_224",
    "vitb8": "vit_base_patch8_224",
}
_OML_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
OML = (*_OML_VITS, *_OML_RESNETS)


def timm_network(name: str, outputs: int = 0, **options: Any) -> nn.Module:
    """A network of timm's at random weights.

    Args:
        name: in timm's registry.
        outputs: of its classifier; 0 leaves the classifier out, and what goes into it comes out.
        options: ``img_size``, which only networks of one size take, and others of ``timm.create_model``.

    Raises:
        UsageError: timm is not installed, or knows no such network.
    """
    import timm

    if not timm_config(name).fixed_input_size:
        options.pop("img_size", None)
    return timm.create_model(name, pretrained=False, num_classes=outputs, **options)


def timm_config(name: str) -> Any:
    """What timm says of a network of its registry: its size, classifier, weights.

    Raises:
        UsageError: timm is not installed, or knows no such network.
    """
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"timm:{name} needs the package timm: pip install 'reid-pipeline[train]'") from error
    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models(), n=5))
        raise UsageError(
            f"timm has no network {name!r}: "
            + (f"did you mean one of {near}?" if near else "timm.list_models() has their names")
        )
    return timm.get_pretrained_cfg(name)


def torchvision_network(name: str, outputs: int = 0) -> nn.Module:
    """A classification network of torchvision's at random weights; see ``timm_network``.

    Raises:
        UsageError: torchvision knows no such network, or it ends with something else than a linear layer.
    """
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UsageError(
            f"torchvision has no classification network {name!r}: it has "
            f"{', '.join(models.list_models(module=models)[:8])}, ..."
        )
    with warnings.catch_warnings():
        # that some draw their weights slowly
        warnings.filterwarnings("ignore", category=FutureWarning)
        net = models.get_model(name, weights=None, **({"num_classes": outputs} if outputs else {}))
    if not outputs:
        last = _last_linear(net)
        if not last:
            raise UsageError(f"torchvision:{name} has no linear layer at its end, which is what embeds")
        parent, _, own = last.rpartition(".")
        setattr(net.get_submodule(parent), own, nn.Identity())
    return net


def classifier_of(library: str, name: str) -> str:
    """The name of the last linear layer of a network of ``timm`` or ``torchvision``.

    Raises:
        UsageError: the library knows no such network.
    """
    if library == "timm":
        config = timm_config(name)
        return config.classifier if isinstance(config.classifier, str) else config.classifier[0]
    with torch.device("meta"):  # names without memory
        return _last_linear(torchvision_network(name, 2))


def _last_linear(net: nn.Module) -> str:
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else ""


def oml_network(name: str, height: int, width: int) -> nn.Module:
    """What ``ViTExtractor`` and ``ResnetExtractor(remove_fc=True, gem_p=None)`` of OML hold, at random
    weights; its ViTs are DINO's, whose layers and names are timm's.

    Args:
        name: one of ``OML``, as OML's argument ``arch``.
        height: of the input in pixels.
        width: likewise.
    """
    if name in _OML_VITS:
        return timm_network(_OML_VITS[name], img_size=(height, width))
    return torchvision_network(name)


def without_common_prefix(given: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors without what trainers put before all of their names (``model.``, ``backbone.``, ...).

    Args:
        given: tensors by name.
        names: of the network's own tensors.
    """
    own = set(names)
    found = dict(given)
    while found and own.isdisjoint(found):
        first = {key.partition(".")[0] for key in found}
        if len(first) != 1 or not all("." in key for key in found):
            return dict(given)
        found = {key.partition(".")[2]: value for key, value in found.items()}
    return found or dict(given)


def timm_names(given: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Tensors of a checkpoint as the network wants them: positions, windows and patches of another size are
    interpolated by what timm itself loads published weights with.
    """
    found = without_common_prefix(given, tuple(net.state_dict()))
    adapt = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    own = net.state_dict()
    different = any(key in own and own[key].shape != value.shape for key, value in found.items())
    if adapt is None or not (different or own.keys() - found.keys()):
        return found
    try:
        adapted = adapt(dict(found), net)
    except (KeyError, RuntimeError, AssertionError, ValueError, TypeError, AttributeError):
        return found  # of another network: which layers differ is said where they are loaded
    return {key: value for key, value in adapted.items() if isinstance(value, Tensor)}


def torchvision_names(given: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Tensors of a checkpoint without a trainer's prefix."""
    return without_common_prefix(given, tuple(net.state_dict()))


def oml_names(given: Mapping[str, Tensor], net: Any) -> dict[str, Tensor]:
    """Tensors of an extractor, or of OML's Lightning module around one, which has its loss beside it; of
    MoCo's own checkpoint the encoder that OML takes. Positions are interpolated as DINO does.
    """
    kept = {key: value for key, value in given.items() if not key.startswith("criterion.")}
    if any(key.startswith("encoder_q.") for key in kept):
        kept = {key: value for key, value in kept.items() if key.startswith("encoder_q.")}
    named = without_common_prefix(kept, tuple(net.state_dict()))
    own = net.state_dict().get("pos_embed")
    if own is not None and "pos_embed" in named and named["pos_embed"].shape != own.shape:
        rows, columns = net.patch_embed.grid_size
        named["pos_embed"] = _dino_positions(named["pos_embed"], rows, columns)
    return named


def _dino_positions(own: Tensor, rows: int, columns: int) -> Tensor:
    side = round((own.shape[1] - 1) ** 0.5)
    # DINO scales by a tenth of a patch too much, against rounding. It moves the samples, so it is kept.
    scaled = F.interpolate(
        own[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2),
        scale_factor=((rows + 0.1) / side, (columns + 0.1) / side),
        mode="bicubic",
    )
    return torch.cat([own[:, :1], scaled.flatten(2).transpose(1, 2)], dim=1)
