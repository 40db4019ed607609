"""The sections of params.yaml that say where images come from. Torch-free."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from reid.wrong_values import TRUTH_FOR_NUMBER, truths_for_numbers

__all__ = ["DataParams", "FootageParams", "PolicyParams", "Section", "Source", "SyntheticParams"]


class Section(BaseModel):
    """A part of params.yaml: frozen, and a key that is not named here is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        kind = PydanticCustomError(TRUTH_FOR_NUMBER, "true and false are no numbers")
        wrong = [
            InitErrorDetails(type=kind, loc=place, input=truth)
            for place, truth in truths_for_numbers(value, cls.model_fields[str(info.field_name)].annotation)
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return value


# "synthetic" and "wardrobe" are rendered, "folder", "table" and "footage" are anybody's own; the rest are the
# keys of reid.data.datasets.DATASETS, written out here because a configuration must be checked without
# loading the readers.
Source = Literal[
    "synthetic",
    "wardrobe",
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


class FootageParams(Section):
    """How footage with truth is cut into crops."""

    every: int = Field(ge=1)
    min_height: int = Field(ge=8)
    min_visibility: float = Field(ge=0, le=1)
    shared_identities: bool


class PolicyParams(Section):
    """What the prepare stage does about each kind of finding (`reid.data.findings.KINDS`): stop, leave the
    images out, or keep them.
    """

    unmatched: Literal["stop", "leave_out"] = "leave_out"
    by_system: Literal["stop", "leave_out"] = "leave_out"
    junk: Literal["stop", "leave_out"] = "leave_out"
    distractor: Literal["stop", "leave_out", "keep"] = "keep"
    exif_damaged: Literal["stop", "leave_out", "keep"] = "keep"
    needs_package: Literal["stop", "leave_out"] = "leave_out"
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


class DataParams(Section):
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


class SyntheticParams(Section):
    """The rendered town: how many people, cameras, images and seconds."""

    people: int = Field(ge=10, le=1_000_000)
    cameras: int = Field(ge=2, le=1_000)
    images_per_camera: int = Field(ge=1, le=10_000)
    cameras_per_person: int | None = Field(default=None, ge=1, le=1_000)
    footage_people: int = Field(ge=2, le=10_000)
    footage_seconds: float = Field(gt=0, le=1_000_000)
    clothes_change: float = Field(ge=0, le=1)
    daylight: float = Field(ge=0, le=1)
    crowd: float = Field(ge=0, le=1)
    occluders: float = Field(ge=0, le=1)
    compression: float = Field(ge=0, le=1)
    look_alikes: float = Field(ge=0, le=1)
    views: Literal["disjoint", "overlapping", "passage"]
    ages: float = Field(default=0.0, ge=0, le=1)
    vignette: float = Field(default=0.0, ge=0, le=1)
    rolling_shutter: float = Field(default=0.0, ge=0, le=1)
    h264: float = Field(default=0.0, ge=0, le=1)
