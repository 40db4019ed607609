"""The model card, ``model.json``: what a model is, where it came from, which thresholds hold. Torch-free.

A model directory holds ``model.json`` and the files it names. Galleries and calibrated thresholds are bound
to ``fingerprint``: two models with different fingerprints have embeddings that cannot be compared.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reid.errors import ReidError, UsageError
from reid.files import read_json, sha256_of, write_json
from reid.shipped import CARD_NAME, model_folder, shipped_models, shipped_weights

__all__ = [
    "CARD_NAME",
    "Certainty",
    "GroupFigure",
    "GroupRecord",
    "InputSpec",
    "MetricRecord",
    "ModelCard",
    "ModelFile",
    "SelfTestRecord",
    "Threshold",
    "check_file",
    "content_hash",
    "fingerprint_for",
    "fitted_fingerprint",
    "load_card",
    "refuse_foreign",
    "save_card",
    "shipped_start",
]

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"  # no escape codes of terminals


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputSpec(_Frozen):
    """What the model file wants as input. ``uint8_nhwc_rgb`` means that all preprocessing but the resize is
    inside the graph.
    """

    height: int = Field(gt=0, le=4096)
    width: int = Field(gt=0, le=4096)
    layout: Literal["nhwc", "nchw"] = "nhwc"
    dtype: Literal["uint8", "float32"] = "uint8"
    colour: Literal["rgb", "bgr"] = "rgb"
    # serving computes (pixel * scale - mean) / std; identity when the graph does it itself
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @field_validator("std")
    @classmethod
    def _divides(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if 0 in std:
            raise ValueError("pixels cannot be divided by 0")
        return std


class ModelFile(_Frozen):
    """One file of the model directory. ``sha256`` may be empty in a hand-written card; then it is not
    checked.
    """

    path: str = Field(max_length=255, pattern=_PRINTABLE)
    sha256: str = ""


class Threshold(_Frozen):
    """A calibrated decision threshold: distances at or below ``distance`` are accepted.

    ``distance`` is Euclidean (not squared) between L2-normalised embeddings, in 0..2. ``unit`` is what a
    probe is: one ``image`` or a pooled ``tracklet``. ``policy`` is how the references of one person are
    combined, ``top_k`` how many of them the policy of that name takes.
    """

    policy: Literal["min", "mean", "top_k"]
    unit: Literal["image", "tracklet"]
    false_accept_rate: float
    distance: float
    low: float | None = None  # bootstrap confidence interval of the distance
    high: float | None = None
    probes: int = 0  # impostor probes that the figure stands on
    top_k: int = Field(default=3, ge=1)


class Certainty(_Frozen):
    """How a distance between two tracklets becomes a chance that they show one person.

    ``middle`` is the distance at which it is one half where both were equally likely beforehand, ``slope``
    how fast the logarithm of the odds falls with the distance; ``apart`` is the mean distance of two people.
    """

    middle: float = Field(ge=0, le=2)
    slope: float = Field(gt=0, le=100)
    apart: float | None = Field(default=None, ge=0, le=2)
    genuine: int = 0  # pairs of one person, and of two, that it was calibrated on
    impostor: int = 0

    def log_ratio(self, distance: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The logarithm of how many times likelier the distance is for one person than for two."""
        return np.asarray(self.slope * (self.middle - np.asarray(distance, np.float64)))

    def of(self, distance: npt.ArrayLike, prior: float) -> npt.NDArray[np.float64]:
        """The chance, 0 to 1, where ``prior`` is the chance before the distance is known, above 0 and below
        1.
        """
        odds = self.log_ratio(distance) + np.log(prior / (1 - prior))
        return np.asarray(1 / (1 + np.exp(-np.clip(odds, -500, 500))))


class SelfTestRecord(_Frozen):
    """The directory's self-test (see ``reid.self_test``) and, by precision, the lowest cosine that the
    exporting machine measured on it.
    """

    path: str
    sha256: str
    lowest: dict[str, float]


class MetricRecord(_Frozen):
    """Where a fitted metric comes from, which is folded into the files of the directory.

    ``fitted_to`` is the fingerprint of the model whose embeddings it was fitted to, ``data_hash`` of the
    pictures and labels; ``mean_ap`` are the figures of held-out people with that model's own embeddings and
    with the metric, where one of them could be found.
    """

    method: Literal["kissme", "xqda", "lmnn"]
    shrinkage: float
    landmarks: int | None = None  # of the kernel's Nystroem map; None for a linear metric
    fitted_to: str
    data_hash: str
    images: int
    people: int
    cameras: int
    held_out_people: int
    mean_ap: tuple[float, float] | None = None


class GroupFigure(_Frozen):
    """Rank-1 and mAP of the queries of one group, such as ``dark`` of ``skin``."""

    of: str = Field(max_length=255, pattern=_PRINTABLE)
    group: str = Field(max_length=255, pattern=_PRINTABLE)
    queries: int = Field(ge=1)
    rank1: float = Field(ge=0, le=1)
    mean_ap: float = Field(ge=0, le=1)


class GroupRecord(_Frozen):
    """How well people are found by what they look like: rendered ones of a seed, each picture asking for the
    same person in other cameras.
    """

    people: int = Field(ge=1)
    images: int = Field(ge=1)
    seed: int = Field(ge=0)
    groups: tuple[GroupFigure, ...]

    def lines(self) -> list[str]:
        """One for people to read of each group, and one before them."""
        head = (
            f"by group: {self.people} rendered people of seed {self.seed}, {self.images} pictures, each "
            "asking for the same person in other cameras"
        )
        return [
            head,
            *(
                f"{one.of} {one.group}: rank-1 {one.rank1:.3f}, mAP {one.mean_ap:.3f}, {one.queries} queries"
                for one in self.groups
            ),
        ]


class ModelCard(_Frozen):
    """Everything outside the weights that a user of the model must know."""

    format: Literal[1] = 1
    name: str
    dim: int = Field(gt=0, le=65_536)
    metric: Literal["euclidean"] = "euclidean"  # of L2-normalised embeddings, not squared
    normalised: bool = True  # the graph ends with L2; serving normalises when it does not
    input: InputSpec
    # "fp32", "fp16", "int8" (ONNX), "openvino" (IR .xml), "engine_fp32" (TensorRT plan)
    files: dict[str, ModelFile]
    # of the embedding space; empty in a hand-written card: then computed from the fp32 file
    fingerprint: str = ""
    thresholds: tuple[Threshold, ...] = ()
    certainty: Certainty | None = None  # None: of a card before it was calibrated
    self_test: SelfTestRecord | None = None  # None in a hand-written card
    fitted_metric: MetricRecord | None = None
    by_group: GroupRecord | None = None  # None: not measured; the shipped model's is
    left_out: dict[str, str] = {}  # precisions that were asked for and failed at the export, and why
    backbone: str = ""
    objective: str = ""
    neck_feature: Literal["before_bn", "after_bn", ""] = ""
    data_hash: str = ""
    git_commit: str = ""
    mlflow_run_id: str = ""
    licence: str = ""
    about: str = ""  # what it is for, what it was measured on, where it fails

    def threshold(self, policy: str, unit: str, top_k: int = 3) -> Threshold | None:
        """The calibrated threshold for a policy and unit, or None when the model has none; ``top_k`` counts
        for that policy alone.
        """
        fitting = (t for t in self.thresholds if t.policy == policy and t.unit == unit)
        return next((t for t in fitting if policy != "top_k" or t.top_k == top_k), None)


def fingerprint_for(weights_sha256: str, spec: InputSpec) -> str:
    """Identity of an embedding space, 32 hexadecimal digits: of the weights' bytes and of how pixels reach
    them.
    """
    facts = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{weights_sha256}\n{facts}".encode()).hexdigest()[:32]


def fitted_fingerprint(fingerprint: str, metric: bytes) -> str:
    """Identity of the space that a fitted metric, of this content, makes of another one; as
    ``fingerprint_for``.
    """
    content = hashlib.sha256(metric).hexdigest()
    return hashlib.sha256(f"{fingerprint}\n{content}".encode()).hexdigest()[:32]


def refuse_foreign(out: Path) -> None:
    """See whether a model directory may be written in this place.

    Raises:
        UsageError: something else is there, which would be replaced.
    """
    if out.exists() and not (out / CARD_NAME).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"--out {out} is no model directory: name a new folder, what is in it would be replaced"
        )


def load_card(model_dir: Path | str) -> ModelCard:
    """Read ``model.json`` of a model directory and fill in an empty fingerprint.

    Raises:
        UsageError: the directory or the card is missing.
        ReidError: the card is not valid, or names a file that is not there.
    """
    model_dir = model_folder(model_dir)
    if not model_dir.is_dir():
        also = "".join(f", or {name}, which comes with this package" for name in shipped_models())
        raise UsageError(
            f"model directory {model_dir} does not exist: name a directory that holds {CARD_NAME}{also}"
        )
    path = model_dir / CARD_NAME
    try:
        card = ModelCard.model_validate(read_json(path, "model card"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ReidError(
            f"model card {path}: {key}: {first['msg']}; correct it or export the model again"
        ) from error
    if not card.files:
        raise ReidError(f"model card {path} names no file: export the model again")
    for role, file in card.files.items():
        _check_place(model_dir, file.path, role)
    if card.self_test:
        _check_place(model_dir, card.self_test.path, "self-test")
    if not card.fingerprint:
        first_file = card.files.get("fp32") or next(iter(card.files.values()))
        card = card.model_copy(update={"fingerprint": content_hash(model_dir / first_file.path)[:32]})
    return card


def _check_place(model_dir: Path, name: str, role: str) -> None:
    """Refuse a file that is not there or lies elsewhere: a model directory from outside must not make this
    machine open others of its.

    Raises:
        ReidError: it is so.
    """
    card, file = model_dir / CARD_NAME, model_dir / name
    # Both of an OpenVINO model.
    files = (file, file.with_suffix(".bin")) if file.suffix == ".xml" else (file,)
    try:
        inside = all(one.resolve().is_relative_to(model_dir.resolve()) for one in files)
    except (OSError, RuntimeError):  # links in a circle
        inside = False
    if not inside:
        raise ReidError(
            f"model card {card} names {name} ({role}), which lies outside {model_dir}: copy it there"
        )
    if not file.is_file():
        raise ReidError(
            f"model card {card} names {name} ({role}), which is not there: export the model again"
        )


def content_hash(path: Path) -> str:
    """SHA-256 of a model file, as 64 hexadecimal digits; of an OpenVINO ``.xml`` together with the weights in
    the ``.bin`` beside it.

    Raises:
        ReidError: the ``.bin`` is not there.
    """
    if path.suffix != ".xml":
        return sha256_of(path)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ReidError(f"{weights} is not there: an OpenVINO model is an .xml and a .bin, copy both")
    return hashlib.sha256(f"{sha256_of(path)}\n{sha256_of(weights)}".encode()).hexdigest()


def check_file(path: Path, sha256: str, remedy: str = "export again") -> None:
    """Hold a file against the hash in its card; an empty one is not checked.

    Raises:
        ReidError: it is another file.
    """
    if sha256 and sha256_of(path) != sha256:
        raise ReidError(f"{path} is not the file that {CARD_NAME} describes (SHA-256 differs): {remedy}")


def save_card(card: ModelCard, model_dir: Path | str) -> None:
    """Write ``model.json`` into ``model_dir``, whole or not at all."""
    write_json(Path(model_dir) / CARD_NAME, card.model_dump(mode="json"))


def shipped_start(weights: str, backbone: str) -> tuple[Path, ModelCard] | None:
    """The directory and the card of the shipped model whose weights a training starts from; None where
    ``weights`` mean something else.

    Raises:
        UsageError: they are of another network than ``backbone``.
    """
    shipped = shipped_weights(weights)
    if shipped is None:
        return None
    card = load_card(shipped)
    if card.backbone != backbone:
        raise UsageError(
            f"weights {weights} are of backbone {card.backbone}, not of {backbone}: change model.backbone or "
            "model.weights"
        )
    return shipped, card
