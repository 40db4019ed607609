"""Detectors on real footage with truth, in each runtime of this machine: what they find, what a tracker makes
of it, and how fast they are.

Footage, truth and models are read from REID_SHARED. Recall is of the detector alone, over all boxes of the
truth file, matched one to one at IoU 0.5: at the confidence that leaves 0.4 false boxes a frame, and at a
confidence of 0.25 with the false boxes that come with it. MOTA and IDF1 are of a job with the boxes, without
a gallery; they leave out the true boxes that the file marks as not counting.

Frames are decoded before the clock runs; what is timed is pictures in memory to boxes, as a job has it: an
inference of one thread for each processor, over the first frames, all detectors and runtimes in turns, the
median of the rounds.
"""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import supervision as sv
from _measure import SHARED, abilities, alternate, arguments, report

from reid.card import InputSpec, ModelCard, ModelFile, save_card
from reid.mot import MotTable, read_mot
from serving.detection import NetworkDetector, open_model
from serving.job.run import run_job
from serving.overlap import box_iou
from serving.runtime import runtimes_for
from serving.scoring import CameraScore, score_job
from serving.spec import Camera, DetectorSpec, Job, Outputs
from serving.video import Frame, open_footage, read_frames

CLIP = SHARED / "data" / "pets09_s2l1"
MODELS = SHARED / "models"
PEDESTRIANS = "pedestrian-detection-adas-0002"
FILES = {
    "YOLOX-nano": MODELS / "yolox_nano" / "yolox_nano.onnx",
    f"{PEDESTRIANS} FP16": MODELS / PEDESTRIANS / "FP16" / f"{PEDESTRIANS}.xml",
    f"{PEDESTRIANS} INT8": MODELS / PEDESTRIANS / "FP16-INT8" / f"{PEDESTRIANS}.xml",
}
OSNET = MODELS / "osnet_x0_25_msmt17" / "osnet_x0_25_msmt17.onnx"
FALSE_BOXES = 0.4  # a frame
CONFIDENCE = 0.25
TIMED_FRAMES = 200
GROUP = 4  # frames of one call, as in a job


def embedder(folder: Path) -> Path:
    """OSNet x0.25 as a model directory."""
    folder.mkdir()
    shutil.copy(OSNET, folder / "model.onnx")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    spec = InputSpec(height=256, width=128, layout="nchw", dtype="float32", scale=1 / 255, mean=mean, std=std)
    files = {"fp32": ModelFile(path="model.onnx")}
    save_card(ModelCard(name="osnet", dim=512, normalised=False, input=spec, files=files), folder)
    return folder


def detected(detector: NetworkDetector, frames: list[Frame]) -> list[sv.Detections]:
    """Detections of all frames."""
    groups = [frames[start : start + GROUP] for start in range(0, len(frames), GROUP)]
    with ThreadPoolExecutor(detector.at_once) as pool:
        return [one for group in pool.map(detector.detect, groups) for one in group]


@dataclass(frozen=True)
class Recall:
    """What a detector finds: ``at_false_boxes`` is the share of true boxes at ``FALSE_BOXES`` a frame,
    ``at_confidence`` that at ``CONFIDENCE``, where ``false_boxes`` a frame come with it.
    """

    at_false_boxes: float
    at_confidence: float
    false_boxes: float


def recall(found: list[sv.Detections], truth: dict[int, MotTable]) -> Recall:
    """Recall of a detector; the surest box has the first choice of a true one."""
    sure: list[tuple[float, bool]] = []
    for number, one in enumerate(found, start=1):
        true = truth.get(number)
        overlaps = box_iou(
            one.xyxy.astype(np.float64), np.zeros((0, 4)) if true is None else true.xyxy.astype(np.float64)
        )
        for row in np.argsort(-one.confidence):
            best = int(overlaps[row].argmax()) if overlaps.shape[1] else -1
            right = best >= 0 and overlaps[row, best] >= 0.5
            if right:
                overlaps[:, best] = 0
            sure.append((float(one.confidence[row]), right))
    sure.sort(reverse=True)
    total = sum(len(table) for table in truth.values())
    right = np.cumsum([0, *(right for _, right in sure)]) / total
    wrong = np.cumsum([0, *(not right for _, right in sure)]) / len(found)
    most = int(np.searchsorted(wrong, FALSE_BOXES, side="right")) - 1
    asked = sum(confidence >= CONFIDENCE for confidence, _ in sure)
    return Recall(float(right[most]), float(right[asked]), float(wrong[asked]))


def tracked(found: list[sv.Detections], model: Path, folder: Path) -> CameraScore:
    """Scores of a job with these boxes."""
    folder.mkdir(parents=True)
    lines = [
        f"{number},-1,{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f},{confidence:.4f}"
        for number, one in enumerate(found, start=1)
        for (x0, y0, x1, y1), confidence in zip(one.xyxy, one.confidence, strict=True)
    ]
    (folder / "det.txt").write_text("\n".join(lines) + "\n")
    source, boxes = str(CLIP / "vtest.avi"), str(folder / "det.txt")
    job = Job(
        cameras=(Camera(id="view1", source=source, detections=boxes, frames=(1, len(found))),),
        model=str(model),
        threshold=0.5,
        detector=DetectorSpec(name="mot"),
        outputs=Outputs(video=False, crops=False, report=False, segments=False),
    )
    run_job(job, folder / "out")
    return score_job(folder / "out", {"": CLIP / "gt.txt"}).total


def main() -> None:
    options = arguments(__doc__ or "", frames=0, rounds=5)
    frames = list(islice(read_frames(open_footage([str(CLIP / "vtest.avi")])), options.frames or None))
    truth = read_mot(CLIP / "gt.txt")
    true = truth.select(truth.frame <= len(frames)).by_frame()
    detectors = {
        (name, runtime): NetworkDetector(open_model(path, backend=runtime))
        for name, path in FILES.items()
        for runtime in runtimes_for(path)
    }
    runs = {" ".join(at): partial(detected, one, frames[:TIMED_FRAMES]) for at, one in detectors.items()}
    timed = alternate(runs, options.rounds, warmup=1, memory=False)
    result: dict[str, dict[str, object]] = {}
    rows = []
    with tempfile.TemporaryDirectory() as place:
        model = embedder(Path(place) / "model")
        for at, detector in detectors.items():
            name, runtime = at
            found = detected(detector, frames)
            speed = min(TIMED_FRAMES, len(frames)) / timed[" ".join(at)].median
            score, one = tracked(found, model, Path(place) / runtime / name), recall(found, true)
            figures = asdict(one) | {"mota": score.mota, "idf1": score.idf1, "frames_per_second": speed}
            result.setdefault(name, {"layout": detector.model.layout.name})[runtime] = figures
            rows.append((name, detector.model.layout.name, runtime, *figures.values()))
    title = f"{len(frames)} frames, {abilities()}, {datetime.now(UTC):%Y-%m-%d}"
    recalls = (f"recall, {FALSE_BOXES} false", f"recall, confidence {CONFIDENCE}", "false boxes a frame")
    columns = ("detector", "layout", "runtime", *recalls, "MOTA", "IDF1", "frames/s")
    report(title, columns, rows, {"detectors": result}, options.json)


if __name__ == "__main__":
    main()
