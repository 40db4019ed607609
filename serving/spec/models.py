"""The keys of ``job.yaml``: which cameras, which detector, tracker, model and gallery, and what to write.

The comments beside the keys are the reference page (``docs/reference.py``).
"""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from reid.addresses import is_url, redacted
from serving.protocols import scheme_problem
from serving.spec.floor import Matrix, floor_matrix

__all__ = [
    "RECOGNISED",
    "AdaptiveSpec",
    "Camera",
    "CropSpec",
    "DetectorSpec",
    "IdleSpec",
    "Job",
    "JoinSpec",
    "LinkSpec",
    "Outputs",
    "TrackerSpec",
    "TravelSpec",
]


_FIRST_YEAR, _LAST_YEAR = 1970, 2200


_MANY = 10**9  # frames, pixels, counts: beyond it nothing can be meant, and no array holds it


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Camera(_Section):
    """One camera: a file, a glob of files (in order of their starts, else of the numbers in their names), or
    a URL.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)  # it is part of files' names
    # a file, a glob of files, or a URL; of a store (s3://bucket/*.mp4) too
    source: str = Field(min_length=1, max_length=4096)
    start_time: datetime | None = None  # clock time of the first frame
    # polygon in pixels; a detection counts when its feet are inside
    region: tuple[tuple[float, float], ...] = ()
    step: int = Field(default=1, ge=1, le=_MANY)  # look at every step-th frame
    frames: tuple[int, int] | None = None  # first and last frame, both included, counted from 1
    # frames a second, of files that have no times (raw H.264, H.265, MJPEG)
    frame_rate: float | None = Field(default=None, gt=0, le=480)
    # when each file was begun: auto | name | metadata | none | a pattern as cam_%Y%m%d_%H%M%S
    file_starts: str = "auto"
    # what decodes files: software | cuda | vaapi | auto, the first of these two that gives the same pictures
    decode: Literal["software", "auto", "cuda", "vaapi"] = "software"
    # a stream that stays away longer has ended
    reconnect_s: float = Field(default=120.0, ge=0, allow_inf_nan=False)
    detections: str | None = None  # MOTChallenge detection file of this camera, for the detector "mot"
    # the homography from pixels to metres on the ground that cameras share, three rows of three numbers; or
    # four or more pairs [[column, row], [x, y]] of a point in pixels and in metres
    floor: Annotated[Matrix, BeforeValidator(floor_matrix)] | None = None

    @field_validator("source")
    @classmethod
    def _reachable(cls, source: str) -> str:
        problem = scheme_problem(source) if is_url(source) else None
        if not problem and "**" in source:
            problem = (
                "** is not followed, it could lead through the whole disk: name the folder of "
                "the files, as in folder/*.mkv"
            )
        if problem:
            raise ValueError(problem)
        return source

    @field_validator("region")
    @classmethod
    def _polygon(cls, region: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if region and len(region) < 3:
            raise ValueError("a region needs at least three corners [x, y]")
        return region

    @field_validator("file_starts")
    @classmethod
    def _way(cls, way: str) -> str:
        if way not in ("auto", "name", "metadata", "none") and "%" not in way:
            raise ValueError("want auto, name, metadata, none, or a pattern like cam_%Y%m%d_%H%M%S")
        return way

    @field_validator("start_time")
    @classmethod
    def _plausible(cls, start: datetime | None) -> datetime | None:
        # Found now and not after hours of work, when an impossible sum of times would end the job.
        if start is not None and not _FIRST_YEAR <= start.year < _LAST_YEAR:
            raise ValueError(
                f"the year is {start.year}: want the clock time of the first frame, {_FIRST_YEAR} to "
                f"{_LAST_YEAR - 1}"
            )
        return start

    @field_validator("frames")
    @classmethod
    def _range(cls, frames: tuple[int, int] | None) -> tuple[int, int] | None:
        if frames is not None and not 1 <= frames[0] <= frames[1] <= _MANY:
            raise ValueError(f"want [first, last] with 1 <= first <= last <= {_MANY}")
        return frames


RECOGNISED = "auto"  # a detector's layout, from its file
_WITHOUT_FILE = ("motion", "mot")


def _is_file(name: str) -> bool:
    return "/" in name or Path(name).suffix.lower() in (".onnx", ".xml", ".plan", ".engine")


class DetectorSpec(_Section):
    """Which detector, and its decisions. Those of ``model``, and ``confidence``, belong to the detectors that
    have them.

    A file may stand as ``name``. However a job says it, ``name`` then is the layout, ``auto`` where it is to
    be recognised, and ``model`` the file.
    """

    name: str = "motion"  # motion, mot, a detector's file, or its layout; docs/camera_job.md has the layouts
    model: str | None = None  # file of a detector: ONNX, OpenVINO's .xml, or a TensorRT .plan
    layout: str | None = None  # of the file, where it is not to be recognised
    # runtime of the file: auto, onnxruntime, cuda, openvino or tensorrt
    backend: str = "auto"
    # the class that people are; null: 0, of layouts that count otherwise 1
    person_class: int | None = Field(default=None, ge=0, le=_MANY)
    # height and width of the input, of a file that takes any; null: 640 by 640
    size: tuple[Annotated[int, Field(ge=32, le=8192)], Annotated[int, Field(ge=32, le=8192)]] | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)  # None: the detector's own default
    # of two boxes that overlap more, the less confident is dropped
    nms_iou: float = Field(default=0.6, gt=0, le=1)
    min_height: int = Field(default=24, ge=1, le=_MANY)  # pixels; smaller boxes cannot be recognised
    min_width: int = Field(default=8, ge=1, le=_MANY)  # pixels

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        name, model, layout = raw.get("name"), raw.get("model"), raw.get("layout")
        if isinstance(name, str) and _is_file(name):
            if model is not None:
                raise ValueError("name and model are both files: leave one out")
            name, model = None, name
        if layout is not None and name in _WITHOUT_FILE:
            raise ValueError(f"{name} has no layout: leave it out, or name a file")
        if layout is not None and name not in (None, RECOGNISED, layout):
            raise ValueError(f"name says {name!r} and layout {layout!r}: leave one out")
        if model is not None:
            name = layout or name or RECOGNISED
        return raw | {"name": name or layout or "motion", "model": model, "layout": None}


class TrackerSpec(_Section):
    """Which tracker of the library ``trackers``, and its decisions; None is the tracker's own value."""

    name: str = "botsort"  # botsort, bytetrack, ocsort or sort
    # a lost person is followed by place alone this long; after that looks count too
    max_gap_s: float = Field(default=0.5, gt=0, le=_MANY)
    min_frames: int = Field(default=5, ge=1, le=_MANY)  # shorter sightings are dropped as false detections
    # overlap of a box with the place where a track expects it
    min_iou: float | None = Field(default=None, ge=0, le=1)
    # confidence that starts a tracklet, and that half of a sighting's boxes have
    activation: float = Field(default=0.6, ge=0, le=1)
    high_confidence: float = Field(default=0.6, ge=0, le=1)  # below it only existing tracklets are continued


class CropSpec(_Section):
    """How many crops of a tracklet are embedded, and how large they are kept."""

    per_tracklet: int = Field(default=8, ge=1, le=64)  # embedded crops of a tracklet
    max_height: int = Field(default=256, ge=32, le=_MANY)  # pixels; taller crops are kept smaller


class LinkSpec(_Section):
    """Joining tracklets of one camera that are the same person, by appearance and motion."""

    enabled: bool = True  # off: each tracklet is a sighting
    max_gap_s: float = Field(default=4.0, ge=0, le=_MANY)  # who stays away longer is a new sighting
    same_distance: float | None = Field(default=None, gt=0, le=2)  # None: learned from the footage


class IdleSpec(_Section):
    """Frames that the detector need not look at, for nothing moves in them; of detectors that are a network,
    on files of more than 3 frames a second.
    """

    enabled: bool = True  # off: the detector looks at every frame
    # a look at least so often while nothing moves, for who stands still
    every_s: float = Field(default=5.0, gt=0, le=3600)
    # before and after something moves every frame is looked at for so long
    around_s: float = Field(default=1.0, ge=0.5, le=60)


class AdaptiveSpec(_Section):
    """Frames that the detector need not look at, for everybody is afterwards where the frames before have
    foretold; of detectors that are a network, on files of more than 3 frames a second.
    """

    enabled: bool = False  # off: the detector looks at every frame in which something moves
    longest_s: float = Field(default=0.4, gt=0, le=2)  # the longest time between two looks
    # overlap (IoU) of each person's box with the place foretold, below which the frames between are looked at
    min_iou: float = Field(default=0.4, gt=0, le=1)


class TravelSpec(_Section):
    """How long it takes at least from one camera's picture to another's: nobody is taken for a stranger seen
    there sooner.
    """

    between: tuple[str, str]  # ids of two cameras
    at_least_s: float = Field(gt=0, le=_MANY)  # seconds from the one to the other


class JoinSpec(_Section):
    """Joining sightings of several cameras, beside how alike people look: by positions, where cameras have a
    ``floor``, and by travel times.
    """

    # metres a second: nobody gets faster from one camera's floor to another's
    max_speed: float = Field(default=3.0, gt=0, le=50)
    # where there is no `travel`: how long people take from camera to camera, from the footage itself
    learn_travel: bool = True


class Outputs(_Section):
    """What ``reid match`` writes beside ``sightings.parquet``, ``detections.parquet`` and ``job.json``."""

    video: bool = True  # annotated video of each camera
    video_height: int | None = Field(default=None, ge=16, le=_MANY)  # None: as high as the footage
    crops: bool = True  # crops of each sighting
    report: bool = True  # report.html
    embeddings: bool = True  # everybody's, for `reid find`
    # what was seen, with everybody's embeddings: people can be named anew without looking at the footage
    # again
    segments: bool = True


class Job(_Section):
    """A validated job with absolute paths."""

    cameras: Annotated[tuple[Camera, ...], Field(min_length=1)]
    model: str  # model directory
    # gallery file; None: nobody is known, and unknown people are linked over cameras
    gallery: str | None = None
    backend: str = "auto"  # runtime: auto, onnxruntime, openvino or tensorrt
    precision: Literal["fp32", "fp16", "int8"] = "fp32"  # of the model's files
    threads: int | None = Field(default=None, ge=1, le=4096)  # None: all processors
    policy: Literal["min", "mean", "top_k"] = "min"  # how a person's references are combined
    top_k: int = Field(default=3, ge=1, le=_MANY)  # how many references the policy top_k takes
    # of a gallery with more references, its index is searched (`reid gallery index`), and not all are read
    index_above: int = Field(default=200_000, ge=0, le=_MANY)
    threshold: float | None = Field(default=None, ge=0, le=2)  # None: the model card's calibrated one
    # a name needs to be nearer than this share of the runner-up's distance; 1: off
    ratio_test: float = Field(default=0.95, gt=0, le=1)
    rescore: bool = False  # let the model's learned metric decide between those near enough
    detector: DetectorSpec = DetectorSpec()
    idle: IdleSpec = IdleSpec()
    adaptive: AdaptiveSpec = AdaptiveSpec()
    tracker: TrackerSpec = TrackerSpec()
    crops: CropSpec = CropSpec()
    link: LinkSpec = LinkSpec()
    travel: tuple[TravelSpec, ...] = ()
    join: JoinSpec = JoinSpec()
    earlier: tuple[str, ...] = ()  # output folders of jobs whose unknown people keep their provisional names
    outputs: Outputs = Outputs()
    until: datetime | None = None  # clock time at which streams end; without a zone it is this machine's
    # seconds of a stream after which it ends
    max_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    # footage that gives nothing for so long is given up
    stall_s: float = Field(default=60.0, gt=0, le=86_400, allow_inf_nan=False)

    @model_validator(mode="after")
    def _unique_cameras(self) -> "Job":
        ids = [camera.id for camera in self.cameras]
        double = sorted({name for name in ids if ids.count(name) > 1})
        if double:
            raise ValueError(f"two cameras have the id {double[0]!r}")
        return self

    @model_validator(mode="after")
    def _clocks_for_travel(self) -> "Job":
        cameras = {camera.id: camera for camera in self.cameras}
        for name in (name for one in self.travel for name in one.between):
            if name not in cameras and not self.earlier:
                raise ValueError(f"travel names camera {name!r}, which the job has not")
            if name in cameras and cameras[name].start_time is None:
                raise ValueError(
                    f"travel names camera {name!r}, which has no start_time: travel times need a clock"
                )
        return self

    def key(self) -> str:
        """A hash of everything the job says about its result: equal keys are the same job."""
        text = json.dumps(self.model_dump(mode="json", exclude={"stall_s"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def seen_key(self) -> str:
        """A hash of what decides what is seen in files, and not who that is: equal keys can share stored
        segments.
        """
        seen = self.model_dump(
            mode="json",
            include={"cameras", "detector", "idle", "adaptive", "tracker", "crops", "precision"},
        )
        for camera in seen["cameras"]:
            del camera["start_time"], camera["reconnect_s"], camera["floor"]
        del seen["tracker"]["min_frames"]  # what is shorter is dropped when everything is stored
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:32]

    def public(self) -> dict[str, Any]:
        """The job as JSON values without credentials, for outputs."""
        value: dict[str, Any] = self.model_dump(mode="json")
        for camera in value["cameras"]:
            camera["source"] = redacted(camera["source"])
        return value
