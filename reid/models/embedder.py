"""The embedding model: a backbone, pooling, an optional linear reduction and a BN-neck; and the facts of its
preprocessing.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from reid.errors import ReidError, UsageError
from reid.files import atomic_path, existing
from reid.models.backbones import build_backbone
from reid.models.published import build_published, is_published
from reid.models.timm_backbone import TimmBackbone

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "EmbeddingModel",
    "ModelSpec",
    "build_model",
    "load_model",
    "normalise",
    "save_model",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pixels in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
_SPEC_KEY = "reid.model_spec"


@dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to build the network again, but its weights.

    ``weights`` is where training began (``imagenet``, ``none`` or a path). ``height`` and ``width`` are the
    input's, in pixels. ``embedding_dim`` None means the backbone's own channels. ``neck_feature`` is what
    retrieval uses. ``flip`` averages the embeddings of an image and of its mirror image, which doubles the
    time of an embedding and changes nothing in training. ``patch_stride`` and ``drop_path`` are of timm's
    networks (``reid.models.timm_backbone``). ``slices`` are the lengths of the embeddings of an ensemble,
    which are normalised one by one and count in the proportions of their lengths.
    """

    # a backbone (reid.models.backbones), or a whole network (reid.models.published)
    backbone: str = "mobilenet_v2"
    weights: str = "imagenet"
    height: int = 256
    width: int = 128
    pooling: Literal["avg", "gem"] = "avg"
    embedding_dim: int | None = None
    neck_feature: Literal["before_bn", "after_bn"] = "after_bn"
    last_stride: Literal[1, 2] = 1
    flip: bool = False
    patch_stride: int | None = None
    drop_path: float = 0.0
    slices: tuple[int, ...] | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class GeneralisedMeanPooling(nn.Module):
    """``(mean x^p)^(1/p)`` over the map with one learned p (Radenovic et al. 2018, equation 3), ``(B, C, h,
    w)`` to ``(B, C)``.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool in float32: in half precision a cube overflows at 41."""
        raised = maps.float().clamp(min=self.eps).pow(self.p)
        return raised.mean(dim=(2, 3)).pow(1.0 / self.p)


class AveragePooling(nn.Module):
    """The mean over the map, ``(B, C, h, w)`` to ``(B, C)``."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool."""
        return maps.mean(dim=(2, 3))


_POOLING = {"avg": AveragePooling, "gem": GeneralisedMeanPooling}
_NECK_FEATURES = ("before_bn", "after_bn")


class EmbeddingModel(nn.Module):
    """Backbone, pooling, reduction, BN-neck (Luo et al. 2019, section 3: metric losses take the feature
    before BN, classifiers the one after).

    Args:
        backbone: ``(B, 3, H, W)`` to feature maps ``(B, channels, h, w)``.
        channels: of the feature maps.
        pooling: ``avg`` or ``gem``.
        embedding_dim: D of a bias-free linear reduction, or None for D = channels.
        neck_feature: ``before_bn`` or ``after_bn``, which of the two ``embed`` returns.
        flip: ``embed`` averages an image and its mirror image.
        slices: lengths of the parts of an embedding that are normalised one by one; None: all in one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: int,
        *,
        pooling: str = "avg",
        embedding_dim: int | None = None,
        neck_feature: str = "after_bn",
        flip: bool = False,
        slices: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if pooling not in _POOLING:
            raise UsageError(f"pooling is {pooling!r}: choose one of {', '.join(_POOLING)}")
        if neck_feature not in _NECK_FEATURES:
            raise UsageError(f"neck_feature is {neck_feature!r}: choose one of {', '.join(_NECK_FEATURES)}")
        self.backbone = backbone
        self.pooling = _POOLING[pooling]()
        self.reduction: nn.Module = nn.Identity()
        if embedding_dim is not None:
            self.reduction = nn.Linear(channels, embedding_dim, bias=False)
            # Keeps the variance of the features, so that margins and learning rates mean the same with a
            # reduction and without.
            nn.init.normal_(self.reduction.weight, std=channels**-0.5)
        self.dim = channels if embedding_dim is None else embedding_dim
        self.bn = nn.BatchNorm1d(self.dim)
        # The paper's neck has no bias: a shared shift would move the embeddings off the origin that cosine
        # measures from.
        self.bn.bias.requires_grad_(False)
        self.neck_feature = neck_feature
        self.flip = flip
        if slices is not None and sum(slices) != self.dim:
            raise UsageError(f"slices {slices} are not the {self.dim} numbers of the embedding together")
        self.slices = slices

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features before BN, ``(B, D)``, of normalised float images ``(B, 3, H, W)``."""
        return self.head(self.backbone(images))

    def head(self, maps: torch.Tensor) -> torch.Tensor:
        """Features before BN, ``(B, D)``, of the backbone's maps ``(B, C, h, w)``."""
        return self.reduction(self.pooling(maps))

    def backbone_parameters(self) -> list[nn.Parameter]:
        """What the features before the BN-neck depend on."""
        return [*self.backbone.parameters(), *self.pooling.parameters(), *self.reduction.parameters()]

    def neck(self, features: torch.Tensor) -> torch.Tensor:
        """Features after BN, ``(B, D)``, of those before it."""
        return self.bn(features)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """L2-normalised embeddings ``(B, D)`` for retrieval; call ``eval()`` before."""
        if not self.flip:
            return self._unit_rows(images)
        # One pass through the backbone for both, so that an exported graph holds it once.
        both = self._unit_rows(torch.cat([images, images.flip(3)]))
        return _unit(both.view(2, -1, self.dim).sum(0))

    def _unit_rows(self, images: torch.Tensor) -> torch.Tensor:
        features = self(images)
        features = self.neck(features) if self.neck_feature == "after_bn" else features
        if self.slices is None:
            return _unit(features)
        # Squares of the factors add up to 1: the whole has norm 1, and its cosine is the mean of the parts',
        # each weighed by its share of the numbers (Opitz 2017; why the root: reid.losses.bier.BierLoss).
        parts = features.split(list(self.slices), 1)
        return torch.cat([_unit(part) * (part.shape[1] / self.dim) ** 0.5 for part in parts], 1)


def _unit(rows: torch.Tensor) -> torch.Tensor:
    # Spelt out, since ``F.normalize`` exports as a shape computation.
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """RGB pixels to what the backbone wants.

    Args:
        batch: uint8 ``(B, H, W, 3)`` or ``(B, 3, H, W)``.

    Returns:
        float32 ``(B, 3, H, W)``, scaled to 0..1, minus ImageNet's mean, divided by its standard deviation.

    Raises:
        ReidError: the batch is not uint8, or has no axis of three colours.
    """
    if batch.dtype != torch.uint8 or batch.ndim != 4 or 3 not in (batch.shape[-1], batch.shape[1]):
        raise ReidError(
            f"a batch of images is {batch.dtype} {tuple(batch.shape)}: want uint8 (B, H, W, 3) or (B, "
            "3, H, W)"
        )
    # Cast before transposing: TensorRT takes uint8 as an input, but can do nothing with it other than to cast
    # it.
    pixels = batch.float()
    if batch.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    mean = _numbers(IMAGENET_MEAN, batch.device).view(1, 3, 1, 1)
    std = _numbers(IMAGENET_STD, batch.device).view(1, 3, 1, 1)
    return (pixels / 255.0 - mean) / std


def _numbers(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    if device.type != "cuda":
        return torch.tensor(values, device=device)
    # Made there at once, they would be copied from memory that is not pinned, for which the processor waits.
    return torch.tensor(values).pin_memory().to(device, non_blocking=True)


def build_model(spec: ModelSpec) -> EmbeddingModel:
    """Build the network of a spec, in training mode.

    Raises:
        UsageError: a name in the spec is unknown.
        ReidError: its weights cannot be had (see ``build_backbone`` and ``build_published``).
    """
    if is_published(spec.backbone):
        backbone, channels = build_published(spec.backbone, spec.height, spec.width, spec.weights)
    else:
        backbone, channels = build_backbone(
            spec.backbone,
            spec.weights,
            spec.last_stride,
            size=(spec.height, spec.width),
            patch_stride=spec.patch_stride,
            drop_path=spec.drop_path,
        )
        if spec.pooling == "gem" and isinstance(backbone, TimmBackbone) and backbone.token:
            raise UsageError(
                f"backbone {spec.backbone} gives one token, of which pooling gem would cut what is below "
                "zero: set pooling to avg"
            )
    return EmbeddingModel(
        backbone,
        channels,
        pooling=spec.pooling,
        embedding_dim=spec.embedding_dim,
        neck_feature=spec.neck_feature,
        flip=spec.flip,
        slices=spec.slices,
    )


def save_model(model: EmbeddingModel, spec: ModelSpec, path: Path | str) -> None:
    """Write the weights as safetensors with the spec in the file's metadata, whole or not at all."""
    metadata = {_SPEC_KEY: TypeAdapter(ModelSpec).dump_json(spec).decode()}
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        # save_file would write to a name of its own first
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_model(path: Path | str) -> tuple[EmbeddingModel, ModelSpec]:
    """Read what ``save_model`` wrote.

    Returns:
        The model in evaluation mode, on the CPU, and its spec.

    Raises:
        UsageError: the file does not exist.
        ReidError: it is truncated, not safetensors, or of another program.
    """
    path = existing(path, "model")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            # safe_open is no mapping: keys() is its only way to list tensors.
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ReidError(
            f"model {path} is not a safetensors file, or truncated ({error}): train the model again or "
            "restore it"
        ) from error
    if _SPEC_KEY not in metadata:
        raise ReidError(
            f"model {path} carries no {_SPEC_KEY}: it was not written by this project; use it as "
            "`weights` instead"
        )
    try:
        spec = TypeAdapter(ModelSpec).validate_json(metadata[_SPEC_KEY])
    except ValidationError as error:
        first = error.errors()[0]
        raise ReidError(
            f"model {path}: {_SPEC_KEY}.{'.'.join(map(str, first['loc']))}: {first['msg']}: train the "
            "model again"
        ) from error
    model = build_model(dataclasses.replace(spec, weights="none"))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ReidError(
            f"model {path}: its tensors do not fit its spec ({spec.backbone}): train the model again"
        ) from error
    return model.eval(), spec
