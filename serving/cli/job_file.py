"""From what ``reid match`` was given to a job: a job file, or videos and a model; and job files written for
people to go on with.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from reid.addresses import is_url, redacted
from reid.errors import UsageError
from reid.files import atomic_path
from reid.shipped import ready_model
from reid.video_files import is_video
from serving.spec import Job, check_job, load_job

__all__ = ["are_footage", "asked_job", "write_job_file", "write_template"]

_JOB_FILE = "job.yaml"
_TEMPLATE = """\
# A job for `reid match`: who was where and when. Paths are relative to this file.
# What stands behind a # is optional; the values shown are those that hold when it is left out.

cameras:
  - id: entrance                   # letters, digits, - _ .
    source: entrance.mp4           # a file, a pattern (entrance_*.mp4: files in order) or a URL (rtsp://...)
    # start_time: 2026-05-04T08:00:00+02:00   # clock time of the first frame, where the files do not tell it
    # step: 1                      # look at every step-th frame
    # frames: [1, 5000]            # first and last frame; all of them when left out
    # region: [[0, 200], [640, 200], [640, 480], [0, 480]]   # pixels; who stands outside does not count
    # frame_rate: 25               # of files without times (raw H.264)
    # file_starts: auto           # when each file was begun: auto, name, metadata, none, or cam_%Y%m%d_%H%M%S
    # decode: software             # of files: software, auto, cuda, vaapi
    # reconnect_s: 120             # a stream that stays away longer has ended
    # detections: entrance.txt     # boxes in MOTChallenge form, for the detector mot
    # floor: null                  # from pixels to metres on the ground that cameras share: [[column, row],
    #                              # [x, y]] for four or more points, or a homography's three rows
  # - {id: hall, source: hall.mp4}

model: model                       # a directory of `reid models import` or `dvc repro export`, or rendered
# gallery: people.db               # known people, of `reid gallery enroll`; left out, everybody is unknown
# threshold: 0.9                   # largest distance of one person; left out, that of `reid calibrate`

# detector:
#   name: motion                   # motion (fixed cameras, no weights), mot, or a detector's file:
#                                  # yolox_nano.onnx, yolo11n.onnx, pedestrian-detection-adas-0002.xml, ...
#   model: yolov8n.onnx            # the file, where name is not
#   layout: null                   # of the file, as yolov8; recognised when left out
#   person_class: null             # the class that people are; the layout's own when left out
#   backend: auto                  # runtime of the file: auto, onnxruntime, cuda, openvino, tensorrt
#   size: null                     # [height, width], of a file that takes any; 640 by 640 when left out
#   confidence: 0.3                # from 0 to 1; the detector's own when left out
#   nms_iou: 0.6
#   min_height: 24                 # pixels; smaller people cannot be recognised
#   min_width: 8
# idle: {enabled: true, every_s: 5.0, around_s: 1.0}   # frames in which nothing moves are not looked at
# adaptive: {enabled: false, longest_s: 0.4, min_iou: 0.4}   # nor where everybody moves as foretold
# tracker: {name: botsort, max_gap_s: 0.5, min_frames: 5, min_iou: null, activation: 0.6,
#           high_confidence: 0.6}
# crops: {per_tracklet: 8, max_height: 256}
# link: {enabled: true, max_gap_s: 4.0, same_distance: null}   # joins what is one person in one camera
# travel:                          # nobody is in another camera sooner than this; wants start_time
#   - {between: [entrance, hall], at_least_s: 20}
# join: {max_speed: 3.0, learn_travel: true}   # over cameras: metres a second; times learned from the footage
# earlier: []                      # output folders of earlier jobs, whose unknown people keep their names
# policy: min                      # over a person's references: min, mean, top_k
# top_k: 3
# index_above: 200000              # references from which on the gallery's index is searched
# ratio_test: 0.95                 # a name must be nearer than this share of the runner-up's distance
# rescore: false                   # let the model's learned metric decide between the near
# outputs: {video: true, video_height: null, crops: true, report: true, segments: true, embeddings: true}
# backend: auto                    # auto, onnxruntime, openvino, tensorrt
# precision: fp32                  # of the model: fp32, fp16, int8
# threads: null                    # all processors
# until: 2026-05-04T18:00:00       # when streams end
# max_s: null
# stall_s: 60                      # footage that gives nothing for so long is given up
"""


def asked_job(
    sources: Sequence[str],
    model: Path | None,
    gallery: Path | None,
    detector: str | None,
    threshold: float | None,
    person_class: int | None = None,
) -> Job:
    """The job that a command line asks for.

    Args:
        sources: one job file; or a video, a pattern or a URL for each camera.
        model: model directory; None: of videos, the one that comes with the package.
        gallery: of videos; None where nobody is known.
        detector: of videos; a file, or the name of one that needs no file.
        threshold: of videos; None for the model's own.
        person_class: of the detector's file; None for that of its layout.

    Raises:
        UsageError: nothing is named, job file and options are mixed, or the job is wrong; see ``load_job``.
    """
    if not sources:
        raise UsageError("name a job file, or videos; reid match --init writes a job file to begin with")
    files = [one for one in sources if not _is_footage(one)]
    if model is None and files:
        if len(sources) > 1:
            raise UsageError("name one job file alone, or videos alone")
        given = {"--gallery": gallery, "--detector": detector, "--threshold": threshold}
        given["--person-class"] = person_class
        for option in (name for name, value in given.items() if value is not None):
            raise UsageError(f"{option} is for videos: job file {sources[0]} says that itself")
        return load_job(sources[0])
    job_files = [one for one in files if Path(one).suffix.lower() in (".yaml", ".yml")]
    if job_files:
        raise UsageError(
            f"job file {job_files[0]} says its model itself: leave --model out, or name videos alone"
        )
    raw: dict[str, Any] = {"cameras": _cameras(sources), "model": str(model or ready_model())}
    if gallery is not None:
        raw["gallery"] = str(gallery)
    if detector is not None:
        raw["detector"] = {"name": "motion"} if detector == "motion" else {"model": detector}
    if person_class is not None:
        if detector in (None, "motion"):
            raise UsageError("--person-class is of a detector's file: name it with --detector FILE")
        raw["detector"]["person_class"] = person_class
    if threshold is not None:
        raw["threshold"] = threshold
    return check_job(raw, Path.cwd(), "reid match")


def are_footage(sources: Sequence[str]) -> bool:
    """Whether these are videos and not a job file."""
    return bool(sources) and all(_is_footage(one) for one in sources)


def _is_footage(source: str) -> bool:
    return is_url(source) or is_video(source)


def _cameras(sources: Sequence[str]) -> list[dict[str, str]]:
    """A camera for each source, named like its file; a second of the same name gets a number."""
    names: list[str] = []
    for source in sources:
        stem = "" if is_url(source) else re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source).stem).strip("-_.")[:90]
        plain, number = stem or "camera", 2
        name = plain
        while name in names:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return [{"id": name, "source": source} for name, source in zip(names, sources, strict=True)]


def write_job_file(job: Job, out: Path) -> Path:
    """Write the job that was run into its output folder, to copy and change; without passwords of addresses.

    Absolute paths: it runs from wherever it is copied to.
    """
    changed = job.model_dump(mode="json", exclude_defaults=True)
    for camera in changed["cameras"]:
        camera["source"] = redacted(camera["source"])
    path = out / _JOB_FILE
    with atomic_path(path, mode=0o600) as temporary:
        temporary.write_text(
            "# What `reid match` ran; `reid match --init` shows all that can be said.\n"
            + yaml.safe_dump(changed, sort_keys=False)
        )
    return path


def write_template(names: Sequence[str]) -> Path:
    """Write the commented job file.

    Args:
        names: its path, or nothing for ``job.yaml``.

    Raises:
        UsageError: several are named, or the file is there already.
    """
    if len(names) > 1:
        raise UsageError("--init writes one job file: name one")
    path = Path(names[0] if names else _JOB_FILE)
    if path.exists():
        raise UsageError(f"{path} is there already: name another file, it would be overwritten")
    with atomic_path(path) as temporary:
        temporary.write_text(_TEMPLATE)
    return path
