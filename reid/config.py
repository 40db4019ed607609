"""params.yaml as frozen typed sections. Torch-free.

An unknown or missing key is an error that names the key, its section and the file.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reid.errors import UsageError
from reid.files import existing

__all__ = [
    "CalibrateParams",
    "DataParams",
    "EnrollParams",
    "EvaluateParams",
    "ExportParams",
    "MatchParams",
    "ModelParams",
    "ObjectiveParams",
    "Params",
    "PolicyParams",
    "SyntheticParams",
    "TrackingParams",
    "TrainParams",
    "TuneParams",
    "load_params",
    "parse_params",
    "with_values",
]

OBJECTIVES = ("batch_hard", "quadruplet", "hierarchical")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# "synthetic" is rendered, "folder", "table" and "footage" are anybody's own; the rest are the keys of reid.data.datasets.DATASETS,
# written out here because a configuration must be checked without loading the readers.
Source = Literal[
    "synthetic",
    "folder",
    "table",
    "footage",
    "cuhk01",
    "cuhk02",
    "cuhk03_detected",
    "cuhk03_labelled",
    "dukemtmcreid",
    "grid",
    "ilids",
    "ilidsvid",
    "market1501",
    "mars",
    "msmt17",
    "occluded_reid",
    "prid",
    "prid2011",
    "sensereid",
    "viper",
]


class FootageParams(_Section):
    """How footage with truth is cut into crops."""

    every: int = Field(ge=1)
    min_height: int = Field(ge=8)
    min_visibility: float = Field(ge=0, le=1)
    shared_identities: bool


class PolicyParams(_Section):
    """What the prepare stage does about each kind of finding (`reid.data.findings.KINDS`): stop, leave the images out, or keep them."""

    unreadable: Literal["stop", "leave_out"]
    empty: Literal["stop", "leave_out"]
    not_an_image: Literal["stop", "leave_out"]
    truncated: Literal["stop", "leave_out"]
    tiny: Literal["stop", "leave_out", "keep"]
    non_rgb: Literal["stop", "leave_out", "keep"]
    exif_rotated: Literal["stop", "leave_out", "keep"]
    duplicate: Literal["stop", "leave_out", "keep"]
    near_duplicate: Literal["stop", "leave_out", "keep"]
    split_leak: Literal["stop", "leave_out", "keep"]
    identity_conflict: Literal["stop", "leave_out", "keep"]
    identity_in_train_and_test: Literal["stop", "leave_out", "keep"]
    single_image: Literal["stop", "leave_out", "keep"]
    single_camera: Literal["stop", "leave_out", "keep"]
    one_camera: Literal["stop", "keep"]
    no_match: Literal["stop", "keep"]


class DataParams(_Section):
    """Where images come from and how people are split."""

    source: Source
    root: str | None
    pattern: str | None
    partition: int = Field(ge=0)
    footage: FootageParams
    blur_heads: bool
    validation_share: float = Field(ge=0, lt=1)
    test_share: float = Field(gt=0, lt=1)
    query_per_camera: int = Field(ge=1)
    policies: PolicyParams


class SyntheticParams(_Section):
    """The rendered town: how many people, cameras, images and seconds."""

    people: int = Field(ge=10)
    cameras: int = Field(ge=2)
    images_per_camera: int = Field(ge=1)
    footage_people: int = Field(ge=2)
    footage_seconds: float = Field(gt=0)
    clothes_change: float = Field(ge=0, le=1)
    daylight: float = Field(ge=0, le=1)
    crowd: float = Field(ge=0, le=1)
    occluders: float = Field(ge=0, le=1)
    compression: float = Field(ge=0, le=1)
    look_alikes: float = Field(ge=0, le=1)
    views: Literal["disjoint", "overlapping"]


class ModelParams(_Section):
    """The embedding network."""

    backbone: str
    weights: str
    height: int = Field(ge=16)
    width: int = Field(ge=16)
    pooling: Literal["avg", "gem"]
    embedding_dim: int | None
    neck_feature: Literal["before_bn", "after_bn"]
    last_stride: Literal[1, 2]
    flip: bool


class TrainParams(_Section):
    """One training: length, optimiser, batches, augmentation."""

    steps: int = Field(ge=1)
    epoch_steps: int = Field(ge=1)
    max_seconds: float | None = Field(gt=0)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_share: float = Field(ge=0, lt=1)
    identities: int = Field(ge=2)
    images: int = Field(ge=2)
    camera_aware: bool
    flip: bool
    pad_crop: int = Field(ge=0)
    erasing: float = Field(ge=0, le=1)
    colour_jitter: float = Field(ge=0, lt=1)
    gradient_clip: float = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    threads: int = Field(ge=1)
    workers: int = Field(ge=1)
    schedule: Literal["cosine", "one_cycle"]
    freeze_steps: int = Field(ge=0)
    precision: Literal["auto", "float32", "bfloat16"]
    channels_last: bool


class ObjectiveParams(_Section):
    """One objective: the weights of its terms and its metric loss's own options; None leaves a value as in ``train``."""

    triplet_weight: float = Field(ge=0)
    softmax_weight: float = Field(ge=0)
    center_weight: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(ge=0, lt=1)
    options: dict[str, Any]
    tree_levels: int = Field(default=16, ge=1)
    neighbours: int = Field(default=4, ge=2)
    steps: int | None = None
    learning_rate: float | None = None


class TuneParams(_Section):
    """The Ray Tune run around a training."""

    trials: int = Field(ge=1)
    concurrent: int = Field(ge=1)
    gpus: float = Field(ge=0)
    metric: Literal["mean_ap", "rank1"]
    grace_epochs: int = Field(ge=1)
    retries: int = Field(ge=0)
    storage: str
    space: dict[str, dict[str, list[Any]]]


class TrackingParams(_Section):
    """MLflow."""

    uri: str
    experiment: str
    records: str


class EvaluateParams(_Section):
    """The figures on test people."""

    bootstrap: int = Field(ge=0)
    ranked_queries: int = Field(ge=1)
    shift_severity: int = Field(ge=0, le=5)


class CalibrateParams(_Section):
    """The thresholds for 'unknown'."""

    false_accept_rate: float = Field(gt=0, lt=1)
    policies: tuple[Literal["min", "mean", "top_k"], ...]
    bootstrap: int = Field(ge=0)


class ExportParams(_Section):
    """The model directory."""

    precisions: tuple[Literal["fp32", "fp16", "int8"], ...]
    engines: Literal["tensorrt", "tensorrt_rtx"] | None
    parity: dict[Literal["fp32", "fp16", "int8"], float]
    parity_map_fall: float = Field(ge=0, lt=1)
    parity_images: int = Field(ge=2)
    parity_people: int = Field(ge=0)


class EnrollParams(_Section):
    """The gallery of known people."""

    known_share: float = Field(gt=0, le=1)
    retain_days: int | None = Field(ge=1)


class MatchParams(_Section):
    """The camera job of the embedded default."""

    detector: Literal["motion", "yolox", "mot"]
    policy: Literal["min", "mean", "top_k"]


class Params(_Section):
    """All of params.yaml."""

    seed: int
    data: DataParams
    synthetic: SyntheticParams
    model: ModelParams
    train: TrainParams
    objectives: dict[Literal["batch_hard", "quadruplet", "hierarchical"], ObjectiveParams]
    tune: TuneParams
    tracking: TrackingParams
    evaluate: EvaluateParams
    calibrate: CalibrateParams
    export: ExportParams
    enroll: EnrollParams
    match: MatchParams


def parse_params(value: object, where: str = "params.yaml") -> Params:
    """Check a parsed params.yaml.

    Raises:
        UsageError: a key is unknown, missing, or its value is out of range; the message names the key.
    """
    try:
        return Params.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the file"
        reason = {"extra_forbidden": "unknown key, remove it or correct its spelling", "missing": "missing key, add it"}
        raise UsageError(f"{where}: {key}: {reason.get(first['type'], first['msg'])}") from error


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read params.yaml.

    Raises:
        UsageError: the file is missing, is not YAML, or has a wrong key or value.
    """
    path = existing(path, "params file")
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path} is not YAML: {reason}") from error
    return parse_params(value, str(path))


def with_values(params: Params, values: dict[str, Any]) -> Params:
    """A copy with dotted keys replaced, e.g. ``{"train.learning_rate": 1e-4}``; checked like the file itself."""
    data = params.model_dump()
    for key, value in values.items():
        *parents, last = key.split(".")
        section = data
        for parent in parents:
            section = section.get(parent, {}) if isinstance(section, dict) else {}
        if not isinstance(section, dict) or (last not in section and "options" not in parents):
            raise UsageError(f"params.yaml has no key {key!r}: correct its spelling")
        section[last] = value
    return parse_params(data, "tuned params")
