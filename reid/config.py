"""params.yaml as frozen typed sections. Torch-free.

An unknown or missing key is an error that names the key, its section and the file.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from reid.config_data import DataParams, PolicyParams, Section, SyntheticParams
from reid.config_objectives import (
    UNTRAINED,
    DivideParams,
    ObjectiveParams,
    PretrainParams,
    TermParams,
    TreeParams,
    checked_objectives,
    checked_pretrainings,
)
from reid.errors import UsageError
from reid.text_files import read_yaml
from reid.wrong_values import what_to_take

__all__ = [
    "UNTRAINED",
    "CalibrateParams",
    "DataParams",
    "DivideParams",
    "EnrollParams",
    "EvaluateParams",
    "ExportParams",
    "MatchParams",
    "MetricParams",
    "ModelParams",
    "ObjectiveParams",
    "Params",
    "PolicyParams",
    "PretrainParams",
    "SyntheticParams",
    "TermParams",
    "TrackingParams",
    "TrainParams",
    "TreeParams",
    "TuneParams",
    "load_params",
    "objective_of",
    "parse_params",
    "settings_of",
    "with_values",
]

# The keys of reid.models.backbones.BACKBONES, written out because a configuration is checked before torch is
# loaded.
Backbone = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "osnet_x0_25",
    "osnet_x0_5",
    "osnet_x0_75",
    "osnet_x1_0",
    "osnet_ibn_x1_0",
    "osnet_ain_x1_0",
]


class ModelParams(Section):
    """The embedding network."""

    backbone: Backbone | Annotated[str, Field(pattern=r"^timm:[\w.]+$")]
    weights: str
    height: int = Field(ge=16, le=4096)
    width: int = Field(ge=16, le=4096)
    pooling: Literal["avg", "gem"]
    embedding_dim: int | None
    neck_feature: Literal["before_bn", "after_bn"]
    last_stride: Literal[1, 2]
    flip: bool
    patch_stride: int | None = Field(default=None, ge=1, le=64)
    drop_path: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("backbone", mode="wrap")
    @classmethod
    def _is_known(cls, value: object, check: ValidatorFunctionWrapHandler) -> str:
        try:
            return check(value)
        except ValidationError as error:
            known = ", ".join(map(repr, get_args(Backbone)))
            raise ValueError(f"{value!r} is unknown: choose timm:NAME or one of {known}") from error


class TrainParams(Section):
    """One training: length, optimiser, batches, augmentation."""

    steps: int = Field(ge=1)
    epoch_steps: int = Field(ge=1)
    max_seconds: float | None = Field(gt=0)
    learning_rate: float = Field(gt=0)
    layer_decay: float = Field(default=1.0, ge=0.1, le=1)
    weight_decay: float = Field(ge=0)
    warmup_share: float = Field(ge=0, lt=1)
    identities: int = Field(ge=2, le=100_000)
    images: int = Field(ge=2, le=10_000)
    camera_aware: bool
    flip: bool
    pad_crop: int = Field(ge=0, le=4096)
    erasing: float = Field(ge=0, le=1)
    colour_jitter: float = Field(ge=0, lt=1)
    min_crop: float = Field(default=1.0, gt=0, le=1)
    grey: float = Field(default=0.0, ge=0, le=1)
    blur: float = Field(default=0.0, ge=0, le=1)
    compression: float = Field(default=0.0, ge=0, le=1)
    auto_augment: float = Field(default=0.0, ge=0, le=1)
    gradient_clip: float = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    self_distillation: float = Field(default=0.0, ge=0)
    threads: int = Field(ge=1, le=4096)
    workers: int = Field(ge=1, le=4096)
    schedule: Literal["cosine", "one_cycle"]
    freeze_steps: int = Field(ge=0)
    freeze_blocks: int = Field(default=0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"]
    channels_last: bool
    compile: bool = False

    @field_validator("self_distillation")
    @classmethod
    def _has_a_teacher(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("ema") == 0:
            raise ValueError(
                "its teacher is the averaged weights, which train.ema 0 turns off: set train.ema, such as to "
                "0.99, or this to 0"
            )
        return value


_ARGUMENTS = {"choice": None, "uniform": 2, "loguniform": 2, "randint": 2, "quniform": 3}


def _is_known(distribution: dict[str, list[Any]]) -> dict[str, list[Any]]:
    name = next(iter(distribution)) if len(distribution) == 1 else ""
    if name not in _ARGUMENTS:
        raise ValueError(
            f"want exactly one of {', '.join(_ARGUMENTS)}, not {', '.join(distribution) or 'nothing'}"
        )
    values, count = distribution[name], _ARGUMENTS[name]
    if count is None:
        if not values:
            raise ValueError(f"{name}: want at least one value")
        return distribution
    if len(values) != count:
        raise ValueError(f"{name}: want {count} values, not {len(values)}")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise ValueError(f"{name}: want numbers, not {values}")
    if values[0] >= values[1]:
        raise ValueError(f"{name}: want the lower end first, not {values[0]:g} and {values[1]:g}")
    return distribution


Distribution = Annotated[dict[str, list[Any]], AfterValidator(_is_known)]
"""What a sweep draws a value from: the name of one of Ray Tune's distributions, and its arguments."""


class TuneParams(Section):
    """The Ray Tune run around a training."""

    trials: int = Field(ge=1)
    concurrent: int = Field(ge=1)
    gpus: float = Field(ge=0)
    metric: Literal["mean_ap", "rank1", "ndcg"]
    grace_epochs: int = Field(ge=1)
    retries: int = Field(ge=0)
    storage: str
    space: dict[str, Distribution]


class TrackingParams(Section):
    """MLflow."""

    uri: str
    experiment: str
    records: str


class MetricParams(Section):
    """A metric fitted to the chosen model's embeddings, which stay as they are."""

    method: Literal["kissme", "xqda", "lmnn"] | None = None
    dim: int | None = Field(default=None, ge=1, le=65_536)
    shrinkage: float = Field(default=0.1, ge=0, le=1)
    kernel: Literal["nystroem"] | None = None
    landmarks: int = Field(default=512, ge=2, le=65_536)


class EvaluateParams(Section):
    """The figures on test people."""

    bootstrap: int = Field(ge=0, le=1_000_000)
    ranked_queries: int = Field(ge=1)
    shift_severity: int = Field(ge=0, le=5)


class CalibrateParams(Section):
    """The thresholds for 'unknown'."""

    false_accept_rate: float = Field(gt=0, lt=1)
    placement: Literal["limit", "middle"] = "middle"
    policies: tuple[Literal["min", "mean", "top_k"], ...]
    bootstrap: int = Field(ge=0, le=1_000_000)


class ExportParams(Section):
    """The model directory."""

    precisions: Annotated[tuple[Literal["fp32", "fp16", "int8"], ...], Field(min_length=1)]
    engines: Literal["tensorrt", "tensorrt_rtx"] | None
    parity: dict[Literal["fp32", "fp16", "int8"], Annotated[float, Field(ge=-1, le=1)]]
    required: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp32",)
    parity_int8_lowest: float = Field(default=0.95, ge=-1, le=1)
    parity_map_fall: float = Field(ge=0, lt=1)
    parity_images: int = Field(ge=2, le=1_000_000)
    parity_people: int = Field(ge=0)

    @field_validator("parity")
    @classmethod
    def _every_precision_has_a_limit(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        missing = [precision for precision in info.data.get("precisions", ()) if precision not in value]
        if missing:
            raise ValueError(
                f"says no limit for {', '.join(missing)}, which export.precisions asks for: add it"
            )
        return value

    @field_validator("required")
    @classmethod
    def _only_what_is_made_is_required(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        unmade = [precision for precision in value if precision not in info.data.get("precisions", value)]
        if unmade:
            raise ValueError(
                f"names {', '.join(unmade)}, which export.precisions does not ask for: add it there or "
                "leave it out here"
            )
        return value


class EnrollParams(Section):
    """The gallery of known people."""

    known_share: float = Field(gt=0, le=1)
    retain_days: int | None = Field(ge=1)


class MatchParams(Section):
    """The camera job of the embedded default."""

    detector: Literal["motion", "yolox", "mot"]
    policy: Literal["min", "mean", "top_k"]


class Params(Section):
    """All of params.yaml."""

    seed: int = Field(ge=0, lt=2**32)
    data: DataParams
    synthetic: SyntheticParams
    model: ModelParams
    train: TrainParams
    pretrain: Annotated[dict[str, PretrainParams], AfterValidator(checked_pretrainings)]
    objectives: dict[str, ObjectiveParams]
    tune: TuneParams
    tracking: TrackingParams
    metric: MetricParams = MetricParams()
    evaluate: EvaluateParams
    calibrate: CalibrateParams
    export: ExportParams
    enroll: EnrollParams
    match: MatchParams

    @field_validator("objectives")
    @classmethod
    def _objectives_fit(
        cls, value: dict[str, ObjectiveParams], info: ValidationInfo
    ) -> dict[str, ObjectiveParams]:
        return checked_objectives(value, info.data.get("pretrain", {}))


def settings_of(params: Params, name: str) -> TrainParams:
    """How an objective or a pre-training is trained: as train says, but for what it sets itself."""
    own: PretrainParams | ObjectiveParams = params.pretrain.get(name) or params.objectives[name]
    return params.train.model_copy(update=own.settings())


def objective_of(params: Params, name: str) -> ObjectiveParams:
    """The objective of this name; a pre-training in the form of one."""
    if name in params.pretrain:
        return params.pretrain[name].as_objective(settings_of(params, name).ema)
    return params.objectives[name]


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
        reason = {
            "extra_forbidden": "unknown key, remove it or correct its spelling",
            "missing": "missing key, add it",
        }.get(first["type"])
        line = what_to_take(first, key, Params) if reason is None else f"{key}: {reason}"
        raise UsageError(f"{where}: {line}") from error


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read params.yaml.

    Raises:
        UsageError: the file is missing, is not YAML, or has a wrong key or value.
    """
    return parse_params(read_yaml(path, "params file"), str(path))


def with_values(params: Params, values: dict[str, Any]) -> Params:
    """A copy with dotted keys replaced, e.g. ``{"train.learning_rate": 1e-4}``; checked like the file
    itself.

    The last name may be a new one below ``terms`` and ``options`` alone: ``{"objectives.NAME.terms.TERM":
    {...}}`` is a term more. What it lies in must be there.

    ``{"objectives.NAME": "OTHER"}`` puts the section of another objective in the place of one. Both must
    start alike, since a start is chosen before anything is tuned.
    """
    data = params.model_dump()
    for key, value in values.items():
        *parents, last = key.split(".")
        section: Any = data
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        free = parents[-1:] in (["options"], ["terms"])  # what may have names of any kind
        if not isinstance(section, dict) or not (last in section or free):
            raise UsageError(f"params.yaml has no key {key!r}: correct its spelling")
        section[last] = _in_its_place(params, key, last, value) if parents == ["objectives"] else value
    return parse_params(data, "tuned params")


def _in_its_place(params: Params, key: str, name: str, other: object) -> dict[str, Any]:
    """The section of ``other`` for the objective ``name``."""
    if not isinstance(other, str) or other not in params.objectives:
        raise UsageError(f"{key}: {other!r} is no objective: take one of {', '.join(params.objectives)}")
    own, theirs = params.objectives[name], params.objectives[other]
    if own.start != theirs.start:
        raise UsageError(
            f"{key}: {name} starts from {own.start} and {other} from {theirs.start}: search among objectives "
            "that start alike"
        )
    return theirs.model_dump()
