"""How often a job joins sightings of two people over its cameras, by looks alone and with places and times.

Rendered towns with views that overlap around one square, and along a street on which nobody is in two views;
nobody is enrolled, so that every name over cameras is the job's own joining. A join is a pair of sightings of
different cameras with one name: wrong where the footage's truth has two people, missed where one person has
two names. Each job looks at its footage once and names its people several times: by *looks* alone, as jobs
without places and times do; with travel times learned from the footage (*travel*); with the cameras' floors
(*floor*); and with both. Every figure is a sum over the towns.

OSNet x0.25 from MSMT17 is read from REID_SHARED, its threshold and certainty are calibrated on pictures of
people of another town; ``--model`` names a copy of another model directory.
"""

import json
import tempfile
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
from _measure import arguments, report
from camera_job import YOLOX, prepare
from find_recall import calibrated

from reid.data.synthetic import TownSpec, generate_town
from reid.processors import processors
from serving.job.layout import JobFolder, name_of, xyxy_of
from serving.job.run import run_job
from serving.mot import MotTable, read_mot
from serving.scoring import true_identities
from serving.spec import Camera, DetectorSpec, Job, JoinSpec, Outputs

WAYS = {"looks": (False, False), "travel": (False, True), "floor": (True, False), "both": (True, True)}


def job_of(town: Path, model: Path, detector: str, floors: bool, travel: bool) -> Job:
    facts = json.loads((town / "town.json").read_text())
    cameras = []
    for number, start in facts["camera_start"].items():
        video = town / "footage" / f"camera{number}.webm"
        cameras.append(
            Camera(
                id=video.stem,
                source=str(video),
                start_time=f"{start}+00:00",  # type: ignore[arg-type]
                detections=str(video.with_suffix(".txt")) if detector == "mot" else None,
                floor=facts["floor"].get(number) if floors else None,
            )
        )
    return Job(
        cameras=tuple(cameras),
        model=str(model),
        detector=DetectorSpec(name=detector, model=str(YOLOX) if detector == "yolox" else None),
        join=JoinSpec(learn_travel=travel),
        outputs=Outputs(video=False, crops=False, report=False),
    )


def joins(out: Path, town: Path) -> Counter[str]:
    """Right, wrong and missed joins over cameras, and sightings of true people."""
    files = JobFolder(out)
    boxes, rows = files.read_detections(), files.read_sightings().to_pylist()
    camera, xyxy = np.asarray(boxes["camera"].to_pylist()), xyxy_of(boxes, np.float32)
    frame, tracklet = (boxes[name].to_numpy() for name in ("frame", "tracklet"))
    who: dict[tuple[str, int], str | None] = {}
    for name in sorted(set(camera.tolist())):
        mine = camera == name
        found = MotTable(frame[mine], tracklet[mine], xyxy[mine], np.ones(int(mine.sum()), np.float32))
        truth = read_mot(town / "footage" / f"{name}.txt")
        who |= {(name, one): person for one, person in true_identities(truth, found, {}).items()}
    seen = [(row["camera"], name_of(row), who.get((row["camera"], row["tracklet"]))) for row in rows]
    counts = Counter({"sightings": sum(person is not None for *_, person in seen)})
    for (here, name, one), (there, other_name, other) in combinations(seen, 2):
        if here != there and None not in (one, other):
            same, joined = one == other, name == other_name
            counts["right" if same else "wrong"] += joined
            counts["missed"] += same and not joined
    return counts


def main() -> None:
    options = arguments(
        __doc__ or "",
        model="",
        towns=3,
        first_seed=301,
        people=16,
        cameras=3,
        seconds=24.0,
        street_seconds=90.0,
        look_alikes=0.5,
        calibration_people=40,
        detector="mot",
        views="overlapping,passage",
        folder="",
    )
    totals: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="joining-", dir=options.folder or None) as folder:
        place = Path(folder)
        model = Path(options.model) if options.model else place / "model"
        if not options.model:
            prepare(place)
        calibrated(model, place / "calibration", options.calibration_people)
        for views in options.views.split(","):
            for seed in range(options.first_seed, options.first_seed + options.towns):
                town = place / f"{views}-{seed}"
                seconds = options.street_seconds if views == "passage" else options.seconds
                spec = TownSpec(
                    seed=seed,
                    people=options.people,
                    footage_people=options.people,
                    cameras=options.cameras,
                    footage_seconds=seconds,
                    images_per_camera=1,
                    look_alikes=options.look_alikes,
                    views=views,
                )
                generate_town(spec, town, range(1, options.people + 1), processes=processors())
                for way, known in WAYS.items():
                    run_job(job_of(town, model, options.detector, *known), town / "job")
                    counts = joins(town / "job", town)
                    totals.setdefault(f"{views}, {way}", Counter()).update(counts)
                    print(seed, views, way, dict(counts), flush=True)
    result = {name: dict(counts) | _shares(counts, totals, name) for name, counts in totals.items()}
    columns = ("joined by", *next(iter(result.values())))
    rows = [(name, *values.values()) for name, values in result.items()]
    report("Joins over cameras in rendered towns", columns, rows, {"joins": result}, options.json)


def _shares(counts: Counter[str], totals: dict[str, Counter[str]], name: str) -> dict[str, float]:
    looks = totals[f"{name.split(',', maxsplit=1)[0]}, looks"]
    return {
        "precision": counts["right"] / max(counts["right"] + counts["wrong"], 1),
        "recall": counts["right"] / max(counts["right"] + counts["missed"], 1),
        "wrong_vs_looks": counts["wrong"] / max(looks["wrong"], 1),
    }


if __name__ == "__main__":
    main()
