"""The record of a job, ``job.json``: typed, whole for whoever writes it and in parts for whoever reads it.

A reader checks only the part that it needs: the record may be damaged, of another program, or of an older
version that said less.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "SCHEMA",
    "ByHandRecord",
    "CorrectedRecord",
    "CountedRecord",
    "DecidedRecord",
    "DoneRecord",
    "DrawnRecord",
    "FinishedRecord",
    "ForgottenRecord",
    "FoundRecord",
    "JobFacts",
    "JobRecord",
    "LearnedWay",
    "NamingRecord",
    "OverCameras",
    "RecordPart",
    "ScoredRecord",
    "SeenRecord",
    "ShownRecord",
    "TracksRecord",
    "UsedIndex",
]

SCHEMA = 1  # of job.json; a record that says none is of the first


def _iso_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


_IsoTime = Annotated[str, AfterValidator(_iso_time)]


class RecordPart(BaseModel):
    """A part of the record; keys that it does not know are kept."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, populate_by_name=True)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, with all that was given and nothing else."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class _Named(RecordPart):
    name: str


class _Camera(RecordPart):
    id: str
    frames: tuple[int, int] | None = None


class _Job(RecordPart):
    cameras: list[_Camera]


class _ShownJob(_Job):
    gallery: str | None = None
    detector: _Named
    tracker: _Named
    rescore: bool = False


class _Model(RecordPart):
    name: str
    fingerprint: str


class _Enrolled(RecordPart):
    identities: list[str]


class _Gallery(RecordPart):
    version: int


class _Threshold(RecordPart):
    threshold: float


class _Decision(_Threshold):
    policy: str
    origin: str = Field(alias="from")


class _OfCamera(RecordPart):
    video_start_s: float | None = None
    fps: float | None = None
    width: int | None = None  # of a frame, upright; not in records of earlier versions
    height: int | None = None


class _CameraCounts(RecordPart):
    cameras: dict[str, _OfCamera] = {}


class _Counts(_CameraCounts):
    frames: int
    sightings: int
    named: int
    unknown: int


class _Seconds(RecordPart):
    wall: float


class ScoredRecord(RecordPart):
    """What scoring needs."""

    job: _Job
    gallery: _Enrolled
    counts: _CameraCounts = _CameraCounts()


class ForgottenRecord(RecordPart):
    """What erasing people needs and changes."""

    counts: _Counts
    written: list[str]
    finished: _IsoTime


class _CountedJob(_Job):
    gallery: str | None = None


class CountedRecord(RecordPart):
    """What a page over many jobs needs."""

    job: _CountedJob
    finished: _IsoTime


class _NamingJob(RecordPart):
    gallery: str | None = None


class NamingRecord(RecordPart):
    """What tells whether a job knew anybody."""

    job: _NamingJob


class _FoundDetector(RecordPart):
    model: str | None = None


class _FoundJob(_Job):
    model: str
    detector: _FoundDetector = _FoundDetector()


class FoundRecord(RecordPart):
    """What finding somebody in a job's output needs."""

    job: _FoundJob
    model: _Model
    decision: _Threshold


class _TracksCamera(_Camera):
    step: int = 1


class _TracksJob(RecordPart):
    cameras: list[_TracksCamera]


class TracksRecord(RecordPart):
    """What exporting tracks needs."""

    job: _TracksJob
    counts: _CameraCounts


class DecidedRecord(RecordPart):
    """What promoting needs."""

    decision: _Threshold


class _Corrections(RecordPart):
    """What people corrected: the digests of the files applied, and the sightings (``camera:tracklet``) that
    show somebody else than the model found.
    """

    applied: list[str] = []
    sightings: list[str] = []


class ByHandRecord(RecordPart):
    """What tells whether people corrected anything."""

    corrections: _Corrections = _Corrections()


class CorrectedRecord(RecordPart):
    """What corrections need and change."""

    job: _ShownJob
    gallery: _Enrolled
    decision: _Threshold
    counts: _Counts
    corrections: _Corrections = _Corrections()


class ShownRecord(RecordPart):
    """What the report shows."""

    job: _ShownJob
    model: _Model
    gallery: _Gallery
    decision: _Decision
    counts: _Counts
    problems: list[str]
    seconds: _Seconds
    finished: str | None = None
    corrections: _Corrections = _Corrections()


class FinishedRecord(RecordPart):
    """What tells whose output a folder is."""

    job_key: str
    seen_key: str | None = None
    problems: list[str] = []


class DoneRecord(RecordPart):
    """What tells whether anything is left to do."""

    inputs: str
    written: list[str]
    counts: _Counts
    problems: list[str]
    notes: list[str]


class _Outputs(RecordPart):
    video_height: int | None


class _DrawnJob(RecordPart):
    outputs: _Outputs


class DrawnRecord(RecordPart):
    """What tells whether an annotated video can be taken over."""

    job: _DrawnJob
    counts: _CameraCounts


class UsedModel(_Model):
    """The model that embedded, and the runtime and precision that ran it."""

    backend: str
    precision: str = "fp32"  # of records before there was a choice


class UsedIndex(RecordPart):
    """The index that a gallery was searched by: which, and the share of the ten nearest people that it was
    measured to find.
    """

    kind: str
    recall: float


class SearchedGallery(_Gallery, _Enrolled):
    """The gallery as it was searched: by its index, or all references where that is None."""

    references: int | None = None  # of records before they were counted
    index: UsedIndex | None = None


class DecisionRule(_Decision):
    """How names were given. ``origin``: where the threshold is from."""

    top_k: int
    ratio_test: float
    rescore: bool


class CameraCounts(_OfCamera):
    """What one camera came to. Of its frames the detector looked at some, forced to it or because something
    moved; the others were skipped, of these some between two looks at people who move, and some without being
    decoded. ``decoded``: where hardware was to decode, frames by what did, those at borders of segments and
    those read ahead in vain among them.
    """

    frames: int
    looked_at: int = 0
    forced: int = 0
    skipped: int = 0
    between: int = 0
    undecoded: int = 0
    decoded: dict[str, int] = {}
    crops_embedded: int
    sightings: int
    named: int
    unknown: int


class Counts(_Counts):
    """What all cameras came to."""

    looked_at: int = 0
    forced: int = 0
    skipped: int = 0
    between: int = 0
    undecoded: int = 0
    decoded: dict[str, int] = {}
    crops_embedded: int
    detections: int
    cameras: dict[str, CameraCounts]  # type: ignore[assignment]  # a dict is invariant, and this one is only read


class LearnedWay(RecordPart):
    """Between two cameras: how many sure joins told how long it takes, and whether that was used."""

    between: tuple[str, str]
    joins: int
    used: bool
    median_s: float
    spread_s: float
    share: float


class OverCameras(RecordPart):
    """What places and times said over cameras: the cameras whose floors were used, how many sightings were
    joined because several cameras saw one person at once, and the travel times that were learned.
    """

    positions: list[str]
    seen_together: int
    ways: list[LearnedWay]


class JobFacts(RecordPart):
    """What is known of a job before it is done.

    ``seen_key`` is of :meth:`serving.spec.Job.seen_key`, ``inputs`` of :func:`serving.job.kept.inputs_of`.
    """

    job: _ShownJob
    job_key: str
    seen_key: str
    inputs: str | None
    model: UsedModel
    gallery: SearchedGallery
    decision: DecisionRule


class SeenRecord(JobFacts):
    """What naming a job's people anew needs."""

    counts: _Counts
    problems: list[str]
    notes: list[str]
    corrections: _Corrections = _Corrections()


class JobRecord(JobFacts):
    """All that a job says of itself when it is done.

    ``version``: of the record's form; ``written``: names in the output folder that must be there for it to be
    whole; ``finished``: the time in ISO 8601, UTC.
    """

    version: int = Field(alias="schema")
    written: list[str]
    finished: str
    problems: list[str]
    notes: list[str]
    over_cameras: OverCameras | None = None  # of records before there were any
    counts: Counts
    seconds: _Seconds
