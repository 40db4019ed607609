"""How often a job joins sightings of two people over its cameras, by looks alone and with places and times.

Rendered towns with views that overlap around one square, and along a street on which nobody is in two views;
nobody is enrolled, so that every name over cameras is the job's own joining. A join is a pair of sightings of
different cameras with one name: wrong where the footage's truth has two people, missed where one person has
two names. Each job looks at its footage once and names its people several times: *before*, as jobs did when
everybody joined the stranger whose mean embedding was nearest; by *looks* alone, as jobs without places and
times do; with travel times learned from the footage (*travel*); with the cameras' floors (*floor*); and with
both. Every figure is a sum over the towns. ``--stretch 1,1.2`` does so at that many times the threshold.

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

from reid.card import load_card
from reid.data.synthetic import TownSpec, generate_town
from reid.mot import MotTable, read_mot
from reid.processors import processors
from serving.job.afterwards.search import open_seen
from serving.job.layout import JobFolder, name_of, xyxy_of
from serving.job.run import run_job
from serving.scoring import true_identities
from serving.spec import Camera, DetectorSpec, Job, JoinSpec, Outputs

WAYS = {"looks": (False, False), "travel": (False, True), "floor": (True, False), "both": (True, True)}


def job_of(
    town: Path, model: Path, detector: str, floors: bool, travel: bool, threshold: float | None = None
) -> Job:
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
        threshold=threshold,
        outputs=Outputs(video=False, crops=False, report=False),
    )


def before(out: Path, limit: float) -> dict[tuple[str, int], str]:
    """The names that strangers had by the nearest mean embedding."""
    seen = open_seen(out)
    groups: list[list[int]] = []
    order = sorted(range(len(seen.rows)), key=lambda one: seen.rows[one]["start_time"])
    for at in order:
        row, possible = seen.rows[at], []
        for group in groups:
            here = [seen.rows[one] for one in group if seen.rows[one]["camera"] == row["camera"]]
            if any(one["end_s"] >= row["start_s"] and one["start_s"] <= row["end_s"] for one in here):
                continue
            mean = seen.embeddings[group].mean(axis=0)
            possible.append((float(np.linalg.norm(mean / np.linalg.norm(mean) - seen.embeddings[at])), group))
        near = min(possible, key=lambda one: one[0], default=(np.inf, []))
        if near[0] <= limit:
            near[1].append(at)
        else:
            groups.append([at])
    rows = [(number, seen.rows[at]) for number, group in enumerate(groups) for at in group]
    return {(row["camera"], row["tracklet"]): str(number) for number, row in rows}


def joins(out: Path, town: Path, names: dict[tuple[str, int], str] | None = None) -> Counter[str]:
    """Right, wrong and missed joins over cameras, and sightings of true people; by the job's own names where
    there are no others.
    """
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
    keys = [(row["camera"], row["tracklet"]) for row in rows]
    called = {key: name_of(row) for key, row in zip(keys, rows, strict=True)} if names is None else names
    seen = [(key[0], called[key], who.get(key)) for key in keys]
    counts = Counter({"sightings": sum(person is not None for *_, person in seen)})
    for (here, name, one), (there, other_name, other) in combinations(seen, 2):
        if here != there and None not in (one, other):
            same, joined = one == other, name == other_name
            counts["right" if same else "wrong"] += joined
            counts["missed"] += same and not joined
    return counts


def counted(town: Path, model: Path, detector: str, stretch: float) -> dict[str, Counter[str]]:
    """The joins of a town by every way, at so many times the model's threshold."""
    out, card = town / "job", load_card(model)
    # as a job takes it: one of tracklets, else one of pictures, which this benchmark's calibration writes
    calibrated = card.threshold("min", "tracklet") or card.threshold("min", "image")
    if calibrated is None:
        raise SystemExit(f"{model} has no calibrated threshold: run reid calibrate")
    limit = stretch * calibrated.distance
    found = {}
    for way, known in WAYS.items():
        run_job(job_of(town, model, detector, *known, limit), out)
        if way == "looks":
            found["before"] = joins(out, town, before(out, limit))
        found[way] = joins(out, town)
    return found


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
        stretch="1,1.2",
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
                for stretch in map(float, options.stretch.split(",")):
                    kind = f"{views} x {stretch:g}"
                    for way, counts in counted(town, model, options.detector, stretch).items():
                        totals.setdefault(f"{kind}, {way}", Counter()).update(counts)
                        print(seed, kind, way, dict(counts), flush=True)
    result = {name: dict(counts) | _shares(counts, totals, name) for name, counts in totals.items()}
    columns = ("joined by", *next(iter(result.values())))
    rows = [(name, *values.values()) for name, values in result.items()]
    report("Joins over cameras in rendered towns", columns, rows, {"joins": result}, options.json)


def _shares(counts: Counter[str], totals: dict[str, Counter[str]], name: str) -> dict[str, float]:
    today = totals[f"{name.split(',', maxsplit=1)[0]}, before"]
    return {
        "precision": counts["right"] / max(counts["right"] + counts["wrong"], 1),
        "recall": counts["right"] / max(counts["right"] + counts["missed"], 1),
        "wrong_vs_before": counts["wrong"] / max(today["wrong"], 1),
    }


if __name__ == "__main__":
    main()
