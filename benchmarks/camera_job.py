"""A camera job on real footage, everything included, against the plain loop that people write.

Ours is ``reid match`` on the whole PETS clip: decoding, YOLOX-nano, tracking, OSNet x0.25 on chosen crops,
naming, tables, crops, annotated video and report. The plain loop, on its first frames: each frame, detect
with the same file, embed every person with torchreid's FeatureExtractor (the same architecture; random
weights, for only its time counts), look for the nearest reference. Rounds take turns, so whatever else the
machine does falls on both. Needs the real data of REID_SHARED.
"""

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
from _measure import SHARED, arguments, report
from torchreid.reid.models import build_model
from torchreid.reid.utils import FeatureExtractor

from reid.card import InputSpec, ModelCard, ModelFile, load_card, save_card
from reid.evaluation.open_set import calibrate_threshold
from reid.processors import processors
from serving.detection import DetectorModel, NetworkDetector
from serving.embedding import embed_files
from serving.gallery import Gallery
from serving.job.run import run_job
from serving.runtime import load
from serving.runtime.onnx import OnnxNetwork
from serving.scoring import score_job
from serving.scoring.crops import cut_crops
from serving.spec import Camera, DetectorSpec, Job, Outputs
from serving.video import open_footage, read_frames

CLIP = SHARED / "data" / "pets09_s2l1"
YOLOX = SHARED / "models" / "yolox_nano" / "yolox_nano.onnx"
OSNET = SHARED / "models" / "osnet_x0_25_msmt17" / "osnet_x0_25_msmt17.onnx"
ENROLLED = (1, 200)
CROPS = 16  # of a batch
# The truth's ids are of tracks; who is the same person was settled by looking at the crops of every track.
PEOPLE = {"14": "15", "18": "15", "8": "15", "4": "12", "2": "13", "3": "11", "5": "9", "1": "19", "6": "10"}


def prepare(folder: Path) -> None:
    """A model directory with a calibrated threshold and a gallery, both from the truth boxes of the first 200
    frames.
    """
    (folder / "model").mkdir()
    shutil.copy(OSNET, folder / "model" / "model.onnx")
    spec = InputSpec(
        height=256,
        width=128,
        layout="nchw",
        dtype="float32",
        scale=1 / 255,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    card = ModelCard(
        name="osnet_x0_25",
        dim=512,
        normalised=False,
        input=spec,
        files={"fp32": ModelFile(path="model.onnx")},
    )
    save_card(card, folder / "model")
    cut_crops(CLIP / "vtest.avi", CLIP / "gt.txt", folder / "crops", ENROLLED, every=7)
    paths = sorted((folder / "crops").iterdir())
    embedder = load(folder / "model")
    rows, names = embed_files(embedder, paths).embeddings, np.array([path.name[:4] for path in paths])
    probes = np.array([int(path.stem[-6:]) % 2 == 0 for path in paths])
    limit = calibrate_threshold(
        rows[probes], names[probes], rows[~probes], names[~probes], false_accept_rate=0.02, policy="min"
    )
    save_card(load_card(folder / "model").model_copy(update={"thresholds": (limit,)}), folder / "model")
    with Gallery.open(folder / "gallery.db", embedder.fingerprint, create=True) as gallery:
        for name in np.unique(names):
            gallery.enroll(str(name), rows[names == name])


def job_of(folder: Path, outputs: Outputs) -> Job:
    return Job(
        cameras=(Camera(id="view1", source=str(CLIP / "vtest.avi")),),
        model=str(folder / "model"),
        gallery=str(folder / "gallery.db"),
        detector=DetectorSpec(name="yolox", model=str(YOLOX)),
        outputs=outputs,
    )


def yolox(at_once: int, fit: bool) -> DetectorModel:
    """The detector in ONNX Runtime: so many inferences side by side, of one thread each; one has all of
    them.
    """
    within = processors() if at_once == 1 else 1
    return DetectorModel(OnnxNetwork(YOLOX, at_once, within=within), YOLOX, "onnxruntime", fit=fit)


class PlainLoop:
    """What one writes first: everything on every frame, one crop after the other (or all crops of a frame at
    once).
    """

    def __init__(self, folder: Path, at_once: bool) -> None:
        self.at_once = at_once
        weights = folder / "osnet.pth"
        torch.save({"state_dict": build_model("osnet_x0_25", 1000, pretrained=False).state_dict()}, weights)
        self.extract = FeatureExtractor("osnet_x0_25", model_path=str(weights), device="cpu", verbose=False)
        self.detector = NetworkDetector(yolox(at_once=1, fit=False), confidence=0.3)
        self.references = torch.nn.functional.normalize(
            torch.randn(161, 512, generator=torch.Generator().manual_seed(0)), dim=1
        )

    def run(self, frames: int) -> float:
        """Seconds for the clip's first ``frames`` frames."""
        began = time.perf_counter()
        capture = cv2.VideoCapture(str(CLIP / "vtest.avi"))
        for number in range(1, frames + 1):
            _, image = capture.read()
            boxes = self.detector.detect([_frame(number, image)])[0].xyxy.astype(int)
            crops = [cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_BGR2RGB) for x0, y0, x1, y1 in boxes]
            for group in [crops] if self.at_once and crops else [[crop] for crop in crops]:
                found = torch.nn.functional.normalize(self.extract(group), dim=1)
                torch.cdist(found, self.references).argmin(dim=1)
        return time.perf_counter() - began


def _frame(number: int, image: np.ndarray) -> Any:
    from serving.video import Frame

    return Frame(number, 0.0, image)


def pure_inference(folder: Path, frames: int, crops: int) -> dict[str, float]:
    """Seconds that the two models take alone, for as many prepared inputs as the job gave them.

    ``calls``: one call after the other, each with all processors and the detector's input of its file's size,
    as the plain loop makes them. ``calls, no padding``: the detector's input as the job cuts it. ``side by
    side``: the same in the job's own way, an inference of one thread for each processor at a time, which
    leaves the processors no pause.
    """
    picture = next(read_frames(open_footage([str(CLIP / "vtest.avi")]))).image
    embedder = load(folder / "model")
    batch = embedder.prepare([np.ascontiguousarray(picture[:128, :64])] * CROPS)
    whole = onnxruntime.InferenceSession(folder / "model" / "model.onnx")
    seconds = {}
    for name, at_once in (("calls", 1), ("calls, no padding", 1), ("side by side", processors())):
        detector = yolox(at_once, fit=name != "calls")
        blob = detector.blob([picture])
        detector.infer(blob)  # opens what the job has opened when it begins
        embed = (
            embedder.run
            if at_once > 1
            else lambda batch: whole.run(None, {whole.get_inputs()[0].name: batch})
        )
        began = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            for _ in pool.map(detector.infer, repeat(blob, frames)):
                pass
            for _ in pool.map(embed, repeat(batch, -(-crops // CROPS))):
                pass
        seconds[name] = time.perf_counter() - began
    return seconds


def main() -> None:
    options = arguments(__doc__ or "", rounds=2, plain_frames=100)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        plain, at_once = PlainLoop(folder, at_once=False), PlainLoop(folder, at_once=True)
        footage = open_footage([str(CLIP / "vtest.avi")])
        frames, plays_s = footage.frames, footage.frames / footage.fps
        per_frame: dict[str, list[float]] = {
            "ours": [],
            "ours, no video": [],
            "plain loop": [],
            "plain, crops of a frame at once": [],
        }
        alone: dict[str, list[float]] = defaultdict(list)
        for number in range(options.rounds):
            for name, outputs in (("ours", Outputs()), ("ours, no video", Outputs(video=False))):
                out = folder / f"{name}-{number}"
                began = time.perf_counter()
                summary = run_job(job_of(folder, outputs), out).summary
                wall = time.perf_counter() - began
                per_frame[name].append(wall / frames)
            for way, seconds in pure_inference(folder, frames, summary["counts"]["crops_embedded"]).items():
                alone[way].append(seconds / frames)
            per_frame["plain loop"].append(plain.run(options.plain_frames) / options.plain_frames)
            per_frame["plain, crops of a frame at once"].append(
                at_once.run(options.plain_frames) / options.plain_frames
            )
        total = score_job(folder / "ours-0", {"": CLIP / "gt.txt"}, people=PEOPLE).as_dict()["total"]
    median = {name: statistics.median(values) for name, values in per_frame.items()}
    # The fastest of each: two threads in one inference wait for each other, on some rounds for twice as long.
    overheads = {
        f"{way}{video}": min(per_frame[f"ours{video}"]) / min(values) - 1
        for way, values in alone.items()
        for video in ("", ", no video")
    }
    result = {
        "scores": {name: total[name] for name in ("hota", "idf1", "mota", "named_right", "named_wrong")},
        "frames_per_second": {name: 1 / value for name, value in median.items()},
        "ratios": {
            "wall_vs_plain_loop": median["plain loop"] / median["ours"],
            "wall_vs_plain_loop_at_once": median["plain, crops of a frame at once"] / median["ours"],
            "playing_time_vs_wall": plays_s / (frames * median["ours"]),
        },
        "overhead_shares": overheads,
    }
    rows = [(name, 1 / value, value / median["ours"]) for name, value in median.items()]
    report(f"Camera job, {frames} frames", ["", "frames/s", "time against ours"], rows, {}, False)
    rows = [(name, value) for name, value in result["scores"].items()]
    rows += [("faster than the footage plays", result["ratios"]["playing_time_vs_wall"])]
    rows += [(f"time beyond the models alone: {name}", value) for name, value in overheads.items()]
    report("Scores", ["", "value"], rows, result, options.json)


if __name__ == "__main__":
    main()
