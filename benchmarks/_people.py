"""Rendered and real people for the claims: their pictures, and what a frozen network says of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _measure import SHARED

from pipelines.model.ready import import_ready
from reid.data.datasets.folder import read_folder
from reid.data.store import load_images
from reid.data.synthetic import TownSpec, crop_poses
from reid.data.synthetic.crops import render_crop
from reid.errors import UsageError
from reid.evaluation import rank_gallery
from reid.losses import CombinedLoss, LossOutput
from reid.metric.distances import unit_rows
from reid.models.embedder import EmbeddingModel, ModelSpec, build_model, load_model
from reid.models.inference import extract_features
from reid.training.self_distillation import relation_loss
from serving.runtime import Said, load

__all__ = [
    "CUHK03",
    "OSNET",
    "PATTERN",
    "Features",
    "Taught",
    "World",
    "each_camera_asks",
    "imagenet",
    "instance_norm",
    "mean_ap",
    "mix_styles",
    "ready",
    "real",
    "rendered",
    "taught_by",
    "town_pictures",
]

HEIGHT, WIDTH = 128, 64
# Of torchreid, trained on MSMT17: it has seen other people in other cameras.
OSNET = SHARED / "models/osnet_x0_25_msmt17/osnet_x0_25_msmt17.onnx"
CUHK03 = SHARED / "data/cuhk03_np/bounding_box_train"
PATTERN = r"^(?P<identity>\d+)_c(?P<camera>\d)"
Features = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Unit features (N, C) of images (N, H, W, 3) uint8 RGB."""


@dataclass(frozen=True, eq=False)
class World:
    """People of one kind. A seed draws those who are held out for the test, ``held_out`` of them."""

    name: str
    network: Features
    images: npt.NDArray[np.uint8]  # (N, HEIGHT, WIDTH, 3)
    features: npt.NDArray[np.float32]  # (N, C), of norm 1
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]
    held_out: int
    poses: npt.NDArray[np.float64] | None = None  # (N, V)
    elsewhere: "World | None" = None  # other people in other cameras, seen by the same network
    steps: int = 300  # of a training

    def test_rows(self, seed: int) -> npt.NDArray[np.int64]:
        """Pictures of the people held out."""
        return np.flatnonzero(np.isin(self.identities, self._people(seed)[: self.held_out]))

    def training_rows(self, seed: int, people: int | None = None) -> npt.NDArray[np.int64]:
        """Pictures of all others, or of so many of them."""
        end = None if people is None else self.held_out + people
        return np.flatnonzero(np.isin(self.identities, self._people(seed)[self.held_out : end]))

    def _people(self, seed: int) -> npt.NDArray[np.str_]:
        people = np.unique(self.identities)
        return np.random.default_rng(seed).permutation(people)


def rendered(network: Features, people: int, held_out: int, town: int = 7) -> World:
    """People of a synthetic town, four pictures in each of three cameras; another ``town`` has others of
    both.
    """
    spec = TownSpec(people=people, seed=town, image_height=HEIGHT, image_width=WIDTH)
    images, who, seen_by = town_pictures(spec)
    labels = np.asarray(list(crop_poses(spec).values()))
    return World("rendered", network, images, network(images), who, seen_by, held_out, labels)


def town_pictures(
    spec: TownSpec,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Crops (N, H, W, 3) of a town's people, who is on them, and in which camera."""
    names = [name.removesuffix(".jpg").split("_") for name in crop_poses(spec)]
    keys = [(int(who), int(camera[1:]), int(n)) for who, camera, n in names]
    images = np.stack([render_crop(spec, *key) for key in keys])
    who, seen_by = (np.asarray([name[place] for name in names]) for place in (0, 1))
    return images, who, seen_by


def real(network: Features, folder: Path, held_out: int) -> World:
    """The people of a folder of crops."""
    records = read_folder(folder, PATTERN)
    images = load_images([record.path for record in records], HEIGHT, WIDTH)
    who, seen_by = (np.asarray([getattr(one, key) for one in records]) for key in ("identity", "camera"))
    return World("real", network, images, network(images), who, seen_by, held_out)


def imagenet() -> Features:
    """MobileNetV2 with ImageNet's weights, which has seen no person to tell from others."""
    model = build_model(ModelSpec(height=HEIGHT, width=WIDTH)).eval()

    def features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        rows = extract_features(model, images)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return features


def ready(model: Path) -> Features:
    """A model directory, or an ONNX file that torchreid exported."""
    with TemporaryDirectory() as folder:
        if model.is_file():
            import_ready(model, Path(folder) / "model", Said(height=256, width=128))
            model = Path(folder) / "model"
        embedder = load(model, "auto", 2)
    return lambda images: np.concatenate(
        [embedder(images[start : start + 64]) for start in range(0, len(images), 64)]
    )


def mean_ap(
    embeddings: npt.NDArray[np.float32],
    identities: npt.NDArray[np.str_],
    cameras: npt.NDArray[np.str_],
    asking: npt.NDArray[np.float32] | None = None,
) -> float:
    """mAP of every picture against those of other cameras; of other embeddings of the same pictures where
    ``asking`` gives some.
    """
    asks = embeddings if asking is None else asking
    return float(rank_gallery(asks, identities, cameras, embeddings, identities, cameras).mean_ap)


Side = tuple[npt.NDArray[np.float32], npt.NDArray[Any], npt.NDArray[Any]]


def each_camera_asks(
    embeddings: npt.NDArray[np.float32], identities: npt.NDArray[Any], cameras: npt.NDArray[Any]
) -> Iterator[tuple[Side, Side]]:
    """Query and gallery as ``rank_gallery`` takes them: one camera's pictures, and those of all others, for
    each camera in order.
    """
    for camera in np.unique(cameras):
        asks = cameras == camera
        query, gallery = ((embeddings[rows], identities[rows], cameras[rows]) for rows in (asks, ~asks))
        yield query, gallery


class Taught(torch.nn.Module):
    """How far ``model`` is from several teachers in whom it finds alike: ``relation_loss`` against the mean
    of their cosines (the cosine of their unit embeddings side by side). They see the very batch it sees.
    """

    def __init__(self, model: EmbeddingModel, teachers: list[Path]) -> None:
        super().__init__()
        # in a list, so that they are neither trained nor written into the checkpoint
        self.teachers = [load_model(file)[0].eval() for file in teachers]
        self.batch = torch.empty(0)
        model.register_forward_pre_hook(self._keep)

    def _keep(self, model: torch.nn.Module, images: tuple[torch.Tensor, ...]) -> None:
        if model.training:  # not the averaged network, which carries this hook too
            self.batch = images[0]

    def forward(self, embeddings: torch.Tensor, _: torch.Tensor) -> LossOutput:
        with torch.no_grad():
            rows = [unit_rows(teacher.neck(teacher(self.batch))) for teacher in self.teachers]
        apart = relation_loss(embeddings, torch.cat(rows, 1))
        nothing = torch.zeros(())
        return LossOutput(apart, nothing, nothing, nothing)


def taught_by(objective: CombinedLoss, taught: Taught, weight: float) -> CombinedLoss:
    """The objective with the agreement with the teachers in it, after the neck."""
    terms = {name: (objective.weights[name], term) for name, term in objective.terms.items()}
    return CombinedLoss(terms | {"teachers": (weight, taught)}, objective.after | {"teachers"})


def mix_styles(model: EmbeddingModel, share: float) -> None:
    """Mean and spread of early maps' channels are mixed between the images of a batch while training (Zhou et
    al. 2021, MixStyle), which makes up cameras that are not there.
    """

    def mixed(_: torch.nn.Module, __: object, maps: torch.Tensor) -> torch.Tensor | None:
        if not model.training or not torch.is_grad_enabled() or torch.rand(()) > share:
            return None
        mean = maps.mean((2, 3), keepdim=True).detach()
        spread = (maps.var((2, 3), keepdim=True) + 1e-5).sqrt().detach()
        part = torch.distributions.Beta(0.3, 0.3).sample((len(maps), 1, 1, 1)).to(maps.dtype)
        other = torch.randperm(len(maps))
        to_mean, to_spread = (part * one + (1 - part) * one[other] for one in (mean, spread))
        return (maps - mean) / spread * to_spread + to_mean

    for block in _features(model, "styles are mixed")[2:5:2]:
        block.register_forward_hook(mixed)


class HalfInstanceNorm(torch.nn.Module):
    """Half of the channels are normalised in each image by itself, which takes a camera's style away, the
    others as before (Pan et al. 2018, IBN-a). Weights and biases go on from those of the batch normalisation
    that was there.
    """

    def __init__(self, norm: torch.nn.BatchNorm2d) -> None:
        super().__init__()
        self.half = half = norm.num_features // 2
        self.instance = torch.nn.InstanceNorm2d(half, eps=norm.eps, affine=True)
        self.batch = torch.nn.BatchNorm2d(norm.num_features - half, eps=norm.eps, momentum=norm.momentum)
        before = norm.state_dict()
        counted = {"num_batches_tracked": before.pop("num_batches_tracked")}
        self.batch.load_state_dict({key: value[half:] for key, value in before.items()} | counted)
        self.instance.load_state_dict({key: before[key][:half] for key in ("weight", "bias")})

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.instance(maps[:, : self.half]), self.batch(maps[:, self.half :])), 1)


def instance_norm(model: EmbeddingModel, blocks: int) -> None:
    """In each of the first blocks, the first convolution among them, the first batch normalisation becomes a
    ``HalfInstanceNorm``.
    """
    if not 0 <= blocks <= 18:
        raise UsageError(f"instance norm in {blocks} blocks: want 0 to 18")
    for block in _features(model, "instance norm is put in")[:blocks] if blocks else ():
        name, norm = next(
            (name, part) for name, part in block.named_modules() if isinstance(part, torch.nn.BatchNorm2d)
        )
        parent, _, own = name.rpartition(".")
        setattr(block.get_submodule(parent), own, HalfInstanceNorm(norm))


def _features(model: EmbeddingModel, what: str) -> list[torch.nn.Module]:
    """The first convolution, the blocks and the last convolution of MobileNetV2."""
    children = dict(model.backbone.named_children())
    if list(children) != ["features"]:
        raise UsageError(f"{what} of mobilenet_v2 alone: set model.backbone to it")
    return list(children["features"].children())
