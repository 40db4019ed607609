"""A camera job on rendered footage with truth: how many sightings have the right name, by detector.

Each town has people and cameras of its own that the model never saw; six of its eight people are enrolled
from their crops, the others must come out as unknown. ``--model`` is a model directory with a threshold, such
as ``exported`` after ``make run``; YOLOX-nano is read from REID_SHARED.
"""

import tempfile
from collections import defaultdict
from dataclasses import astuple
from pathlib import Path

import numpy as np
from _measure import SHARED, arguments, report

from reid.card import load_card
from reid.data.synthetic import TownSpec, generate_town
from reid.errors import UsageError
from reid.processors import processors
from serving.embedding import embed_files
from serving.gallery import Gallery
from serving.job.run import run_job
from serving.runtime import Embedder, load
from serving.scoring import CameraScore, NameAccuracy, score_job
from serving.spec import Camera, DetectorSpec, Job, Outputs

YOLOX = SHARED / "models" / "yolox_nano" / "yolox_nano.onnx"


def enrolled_town(spec: TownSpec, known: int, embedder: Embedder, folder: Path) -> None:
    """Render a town into ``folder`` and enrol its first people in ``gallery.db``."""
    generate_town(spec, folder, range(1, spec.people + 1), processes=processors())
    with Gallery.open(folder / "gallery.db", embedder.fingerprint, create=True) as gallery:
        for identity in range(1, known + 1):
            paths = sorted((folder / "crops").glob(f"{identity:04d}_*.jpg"))
            gallery.enroll(f"{identity:04d}", embed_files(embedder, paths).embeddings)


def score(folder: Path, model: str, detector: str, policy: str) -> CameraScore:
    """Run a job over all cameras of the town and score it."""
    videos = sorted((folder / "footage").glob("*.webm"))
    cameras = [
        Camera(
            id=video.stem,
            source=str(video),
            detections=str(video.with_suffix(".txt")) if detector == "mot" else None,
        )
        for video in videos
    ]
    job = Job(
        cameras=tuple(cameras),
        model=model,
        gallery=str(folder / "gallery.db"),
        detector=DetectorSpec(name=detector, model=str(YOLOX) if detector == "yolox" else None),
        policy=policy,  # type: ignore[arg-type]
        outputs=Outputs(video=False, crops=False),
    )
    run_job(job, folder / detector)
    return score_job(folder / detector, {video.stem: video.with_suffix(".txt") for video in videos}).total


def summed(parts: list[NameAccuracy]) -> dict[str, float]:
    """Shares of all jobs' sightings, each sighting counting alike."""
    total = NameAccuracy(*(sum(counts) for counts in zip(*map(astuple, parts), strict=True)))
    return {"sightings": total.sightings, **total.shares()}


def main() -> None:
    options = arguments(
        __doc__ or "",
        model="",
        towns=3,
        cameras=4,
        people=8,
        known=6,
        first_seed=101,
        detectors="mot,yolox,motion",
        policy="mean",
    )
    if not options.model:
        raise UsageError("--model is missing: name a model directory, such as exported after `make run`")
    embedder = load(options.model)
    if not load_card(options.model).thresholds:
        raise UsageError(
            f"{options.model} has no threshold: name a model directory that the calibrate stage has seen"
        )
    namings: dict[str, list[NameAccuracy]] = defaultdict(list)
    tracking: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for seed in range(options.first_seed, options.first_seed + options.towns):
        with tempfile.TemporaryDirectory(prefix="town-") as place:
            enrolled_town(
                TownSpec(seed=seed, people=options.people, cameras=options.cameras),
                options.known,
                embedder,
                Path(place),
            )
            for detector in options.detectors.split(","):
                total = score(Path(place), options.model, detector, options.policy)
                namings[detector].append(total.naming)
                tracking[detector].append((total.idf1, total.mota))
                print(f"town {seed}, {detector}: {total.naming.shares()}", flush=True)
    result = {
        name: summed(parts) | dict(zip(("idf1", "mota"), np.mean(tracking[name], 0), strict=True))
        for name, parts in namings.items()
    }
    columns = ("detector", *(name.removeprefix("named_") for name in next(iter(result.values()))))
    rows = [(name, *values.values()) for name, values in result.items()]
    report(
        f"Jobs in {options.towns} rendered towns of {options.cameras} cameras",
        columns,
        rows,
        {"detectors": result},
        options.json,
    )


if __name__ == "__main__":
    main()
