"""People to calibrate on out of footage: by its truth, or without any label.

Without truth people are followed from frame to frame. Two who are in one frame, apart from each other, are
two people: that is certain. All crops of one tracklet show one person: that is nearly certain. Two tracklets
that are never in one frame may be one person, and are not compared. So the figures rest on one camera and on
a few minutes, which is said.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.model.calibration import Calibration, calibrate_model
from pipelines.stage.console import progress_bar, say, working
from reid.card import Threshold, load_card, save_card
from reid.config import CalibrateParams
from reid.data.labelled import choose_people
from reid.errors import ReidError
from reid.evaluation import detection_identification_rate, threshold_of
from reid.evaluation.calibration import scores_without_labels, supported, with_thresholds
from serving.detection import build_detector, detect_in_order
from serving.overlap import box_iou
from serving.runtime import Embedder, load
from serving.scoring import plain, read_people
from serving.scoring.crops import cut_crops
from serving.spec import Job, source_files
from serving.tracking import Tracklet, TrackletBuilder, is_somebody, least_frames
from serving.video import frames_ahead, open_footage, queue_length

__all__ = ["Seen", "calibrate_on_footage", "calibrate_on_truth", "together"]

_EVERY = 10  # frames of truth between two crops
_LEAST_CROPS = 4  # of a tracklet: two to compare with two, which are seconds apart
_APART_FRAMES = 3  # frames in which two people are both there and do not overlap
_WAY_OUT = "take longer footage with more people in it, or --false-accept-rate {rate} or more"
ONE_CAMERA = (
    "this rests on one camera and on minutes: another camera, another light or another day shows people less "
    "like themselves. There more people will come out as unknown, and strangers may come nearer than here: "
    "calibrate on pictures of known people from several cameras when you have them"
)


@dataclass(frozen=True, eq=False)
class Seen:
    """A tracklet: its boxes (N, 4) xyxy at frames (N,), and embeddings (K, D) of its crops in order of
    time.
    """

    frames: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32]


def calibrate_on_truth(
    model: Path,
    video: Path,
    truth: Path,
    names: Path | None,
    wanted: CalibrateParams,
    seed: int,
    backend: str,
    threads: int | None,
) -> Calibration:
    """Calibrate on the people of a MOTChallenge truth: each person's earlier crops against the later ones.

    Args:
        model: model directory, whose card gets the thresholds.
        video: the footage.
        truth: boxes with identities.
        names: lines ``id,person``, where one person has several ids; None: an id is a person.
        wanted: the rate of false accepts and the policies.
        seed: of the draws for the intervals.
        backend: the model's runtime.
        threads: processors to use; all where None.

    Raises:
        UsageError: a file is missing.
        ReidError: it cannot be used, or shows too few people.
    """
    who = {plain(track): plain(person) for track, person in read_people(names).items()} if names else {}

    def called(track: str) -> str:
        return who.get(plain(track), plain(track))

    with tempfile.TemporaryDirectory(prefix="reid-crops-") as folder:
        place = Path(folder) / "crops"
        cut_crops(video, truth, place, every=_EVERY, on_problem=say)
        people = choose_people(place, r"^(?P<identity>\d+)_c(?P<camera>\d+)_", None, say, called)
        # Of a person with several ids too in order of time, which the names of the files do not give.
        frames = np.asarray([int(path.stem.rpartition("_f")[2]) for path in people.paths], np.int64)
        people = replace(people, order=frames)
        result = calibrate_model(model, people, wanted, seed=seed, backend=backend, threads=threads)
    say(ONE_CAMERA)
    return result


def calibrate_on_footage(
    job: Job, wanted: CalibrateParams, seed: int, backend: str, threads: int | None
) -> Calibration:
    """Calibrate on the people of unlabelled footage, and write the thresholds into the model's card.

    Args:
        job: of one camera; says model, footage, detector and tracker.
        wanted: the rate of false accepts and the policies.
        seed: of the draws for the intervals.
        backend: the model's runtime.
        threads: processors to use; all where None.

    Raises:
        UsageError: a file is missing.
        ReidError: the footage cannot be read, or too few people are in it together; the card is as it was.
    """
    card = load_card(job.model)
    seen = follow(job, load(job.model, backend, threads), threads)
    with working("calibrating"):
        apart = together(seen)
        meets: npt.NDArray[np.bool_] = np.asarray(apart.any(axis=1), np.bool_)
        met = int(meets.sum())
        say(
            f"{len(seen)} tracklets of {sum(len(one.embeddings) for one in seen)} crops, "
            f"{int(apart.sum()) // 2} pairs of them together in a frame, which are different people"
        )
        if met < 2:
            more = round(1 / wanted.false_accept_rate)
            raise ReidError(
                f"the footage shows {met} people together with others: a threshold needs people who are seen "
                f"together, some {more} for a rate of {wanted.false_accept_rate:g}: take busier or longer "
                "footage, or a detector that finds them (--detector FILE)"
            )
        made: list[Threshold] = []
        tracklets = [one.embeddings for one in seen]
        for unit in ("image", "tracklet"):
            scores = scores_without_labels(tracklets, apart, unit)
            rate, people = supported(scores, wanted.false_accept_rate, unit, _WAY_OUT, say)
            for policy in wanted.policies:
                draws = wanted.bootstrap if people > 1 else 0
                scores = scores_without_labels(tracklets, apart, unit, policy)
                made.append(
                    threshold_of(
                        scores,
                        false_accept_rate=rate,
                        policy=policy,
                        unit=unit,
                        bootstrap=draws,
                        seed=seed,
                        placement=wanted.placement,
                    )
                )
        curve = detection_identification_rate(scores_without_labels(tracklets, apart, "image"))
    save_card(with_thresholds(card, made), job.model)
    others = apart.sum(axis=1)[meets]
    say(f"strangers are asked against {np.mean(others):.1f} people on average: a larger gallery accepts more")
    say(ONE_CAMERA)
    used = [one for one, there in zip(seen, meets, strict=True) if there]
    return Calibration(
        tuple(made), curve, sum(len(one.embeddings) for one in used), len(used), (), "tracklets"
    )


def follow(job: Job, embedder: Embedder, threads: int | None) -> list[Seen]:
    """The tracklets of a job's camera that are long and sure enough, embedded as they end."""
    camera = job.cameras[0]
    footage = open_footage(source_files(camera), job.stall_s, camera.frame_rate, camera.file_starts)
    detector = build_detector(job.detector, camera, threads)
    builder = TrackletBuilder(job.tracker, job.crops, footage.fps / camera.step)
    least = least_frames(job.tracker.min_frames, footage.fps / camera.step)
    found: list[Seen] = []

    def keep(tracklets: list[Tracklet]) -> None:
        for one in tracklets:
            sure = int((one.confidence >= builder.activation).sum())
            if len(one.crops) >= _LEAST_CROPS and is_somebody(len(one.frames), sure, least):
                images = [np.ascontiguousarray(crop.image[:, :, ::-1]) for crop in one.crops]
                found.append(Seen(one.frames, one.boxes, embedder(images)))

    frames = frames_ahead(footage, 1, None, camera.step, job.stall_s)
    with progress_bar("following") as progress:
        done = 0
        for group, boxes in detect_in_order(frames, detector, camera.region, queue_length(footage), {}):
            for frame, detections in zip(group, boxes, strict=True):
                keep(builder.update(frame, detections))
                done += 1
                progress(done, max(footage.frames, done))
    keep(builder.finish())
    for problem in footage.missing:
        say(problem)
    return found


def together(seen: list[Seen]) -> npt.NDArray[np.bool_]:
    """Which of N tracklets are certainly different people (N, N): both are in three frames or more without
    their boxes touching, and never on each other.

    Two boxes on one person, which a detector may give, overlap all the time.
    """
    apart = np.zeros((len(seen), len(seen)), np.bool_)
    for i, one in enumerate(seen):
        for j in range(i):
            _, mine, theirs = np.intersect1d(one.frames, seen[j].frames, return_indices=True)
            if len(mine) < _APART_FRAMES:
                continue
            pairs = zip(
                one.boxes[mine].astype(np.float64), seen[j].boxes[theirs].astype(np.float64), strict=True
            )
            overlap = np.asarray([box_iou(a[None], b[None])[0, 0] for a, b in pairs])
            apart[i, j] = apart[j, i] = (overlap == 0).sum() >= _APART_FRAMES and (overlap < 0.5).all()
    return apart
