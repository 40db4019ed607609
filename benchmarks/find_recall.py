"""How much of a person `reid find` finds: in rendered towns of two cameras, and in the real PETS clip cut in
two jobs.

Every sighting of somebody who was seen again is asked for once, by its embedding, among the sightings of all
jobs but itself; in the towns pictures of each person are asked with, too. Who a sighting shows is settled by
the footage's truth. OSNet x0.25 from MSMT17 and YOLOX-nano are read from REID_SHARED; ``--model`` names a
copy of another model directory for the towns. Threshold and certainty are calibrated on pictures of another
town.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from _measure import arguments, report
from camera_job import CLIP, PEOPLE, YOLOX, prepare

from reid.card import load_card, save_card
from reid.data.synthetic import TownSpec, generate_town
from reid.embeddings import pool
from reid.evaluation.calibration import certainty
from reid.evaluation.open_set import calibrate_threshold
from reid.mot import MotTable, read_mot
from reid.processors import processors
from serving.embedding import embed_files
from serving.job.afterwards.search import Seen, certainty_of, find, open_seen
from serving.job.layout import JobFolder, xyxy_of
from serving.job.run import run_job
from serving.runtime import load
from serving.scoring import true_identities
from serving.spec import Camera, DetectorSpec, Job, Outputs

_FRAMES = ((1, 397), (398, 795))  # of the clip: the two jobs
_TOWN = 50_000  # seed of the town that calibrates
_EVERYTHING = Outputs(video=False, crops=False, report=False, segments=False)


@dataclass
class Tally:
    """What all questions of a kind came to."""

    precision: list[float] = field(default_factory=list)  # average, of each question
    first: list[bool] = field(default_factory=list)
    within: list[tuple[int, int, int]] = field(default_factory=list)  # theirs found, found, theirs
    sure: list[tuple[float, bool]] = field(default_factory=list)

    def ask(
        self,
        person: npt.NDArray[np.float32],
        name: str,
        jobs: Sequence[Seen],
        who: dict[tuple[Path, int], str | None],
        without: tuple[Path, int] | None = None,
    ) -> None:
        """Ask for somebody; ``who`` says whom each sighting shows, by folder and row."""
        row_of = {(job.folder, id(row)): at for job in jobs for at, row in enumerate(job.rows)}
        found = find(person, jobs, 100_000, without=without, certainty=certainty_of(jobs))
        right = np.array([who[one.folder, row_of[one.folder, id(one.row)]] == name for one in found])
        if not right.any():
            return
        ranks = np.flatnonzero(right) + 1
        self.precision.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
        self.first.append(bool(right[0]))
        inside = np.array([one.within for one in found])
        self.within.append((int((right & inside).sum()), int(inside.sum()), int(right.sum())))
        self.sure += [(one.certainty or 0.0, bool(is_so)) for one, is_so in zip(found, right, strict=True)]

    def row(self) -> dict[str, float]:
        """The figures."""
        found, inside, theirs = np.sum(self.within, axis=0)
        sure, right = np.array(self.sure).T
        edges = np.clip((sure * 10).astype(int), 0, 9)
        bins = [edges == edge for edge in np.unique(edges)]
        error = sum(abs(sure[one].mean() - right[one].mean()) * one.mean() for one in bins)
        return {
            "questions": len(self.first),
            "rank1": float(np.mean(self.first)),
            "mean_ap": float(np.mean(self.precision)),
            "recall_within": float(found / theirs),
            "precision_within": float(found / max(inside, 1)),
            "calibration_error": float(error),
        }


def seen_by(
    folder: Path, camera: Camera, model: Path, detector: DetectorSpec, truth: Path, people: dict[str, str]
) -> tuple[Seen, dict[tuple[Path, int], str | None]]:
    """Run a job of one camera; its sightings, and whom each shows."""
    out = folder / f"job-{camera.id}"
    run_job(Job(cameras=(camera,), model=str(model), detector=detector, outputs=_EVERYTHING), out)
    boxes = JobFolder(out).read_detections()
    xyxy = xyxy_of(boxes, np.float32)
    frame, tracklet = (boxes[name].to_numpy() for name in ("frame", "tracklet"))
    found = MotTable(frame, tracklet, xyxy, np.ones(len(xyxy), np.float32))
    names = true_identities(read_mot(truth), found, people)
    seen = open_seen(out)
    return seen, {(out, at): names.get(row["tracklet"]) for at, row in enumerate(seen.rows)}


def ask_all(tally: Tally, jobs: Sequence[Seen], who: dict[tuple[Path, int], str | None]) -> None:
    """Every sighting of a true person once."""
    for job in jobs:
        for at, embedding in enumerate(job.embeddings):
            name = who[job.folder, at]
            if name is not None:
                tally.ask(embedding, name, jobs, who, (job.folder, at))


def calibrated(model: Path, folder: Path, people: int) -> None:
    """Write threshold and certainty into the card, from pictures of people of another town."""
    spec = TownSpec(seed=_TOWN, people=people, cameras=4, footage_people=1, footage_seconds=6.0)
    generate_town(spec, folder, range(1, people + 1), processes=processors())
    paths = sorted((folder / "crops").glob("*.jpg"))
    rows = embed_files(load(model), paths).embeddings
    who, where = (np.array([path.name.split("_")[part] for path in paths]) for part in (0, 1))
    limit = calibrate_threshold(
        rows, who, rows, who, probe_cams=where, reference_cams=where, false_accept_rate=0.02, policy="min"
    )
    card = load_card(model)
    save_card(
        card.model_copy(update={"thresholds": (limit,), "certainty": certainty(rows, who, where)}), model
    )


def towns(
    seeds: Sequence[int], seconds: float, detectors: Sequence[str], place: Path, model: Path
) -> dict[str, Tally]:
    """Questions in rendered towns, by sighting and by pictures."""
    tallies: dict[str, Tally] = {}
    for seed in seeds:
        town = place / f"town-{seed}"
        spec = TownSpec(seed=seed, people=8, cameras=2, footage_people=8, footage_seconds=seconds)
        generate_town(spec, town, range(1, 9), processes=processors())
        for detector in detectors:
            jobs, who = [], {}
            for video in sorted((town / "footage").glob("*.webm")):
                truth = video.with_suffix(".txt")
                boxes = str(truth) if detector == "mot" else None
                camera = Camera(id=f"{detector}-{video.stem}", source=str(video), detections=boxes)
                spec_of = DetectorSpec(name=detector, model=str(YOLOX) if detector == "yolox" else None)
                seen, names = seen_by(town, camera, model, spec_of, truth, {})
                jobs.append(seen)
                who |= names
            ask_all(tallies.setdefault(f"towns, {detector}: a sighting", Tally()), jobs, who)
            asked = tallies.setdefault(f"towns, {detector}: pictures", Tally())
            embedder = load(model)
            for name in sorted({one for one in who.values() if one is not None}):
                paths = sorted((town / "crops").glob(f"{int(name):04d}_*.jpg"))[:4]
                asked.ask(pool(embed_files(embedder, paths).embeddings), name, jobs, who)
    return tallies


def real(place: Path) -> dict[str, Tally]:
    """Questions in the clip, whose halves are two jobs; threshold and certainty from truth boxes of its first
    200 frames.
    """
    prepare(place)
    model = place / "model"
    paths = sorted((place / "crops").iterdir())
    names = np.array([PEOPLE.get(str(int(path.name[:4])), str(int(path.name[:4]))) for path in paths])
    # In place of cameras: other seconds.
    thirds = np.array([str(int(path.stem[-6:]) // 67) for path in paths])
    sure = certainty(embed_files(load(model), paths).embeddings, names, thirds)
    save_card(load_card(model).model_copy(update={"certainty": sure}), model)
    jobs, who = [], {}
    for half, frames in enumerate(_FRAMES):
        camera = Camera(id=f"half-{half + 1}", source=str(CLIP / "vtest.avi"), frames=frames)
        detector = DetectorSpec(name="yolox", model=str(YOLOX))
        seen, names_of = seen_by(place, camera, model, detector, CLIP / "gt.txt", PEOPLE)
        jobs.append(seen)
        who |= names_of
    tally = Tally()
    ask_all(tally, jobs, who)
    return {"PETS, yolox: a sighting": tally}


def main() -> None:
    options = arguments(
        __doc__ or "",
        model="",
        towns=4,
        first_seed=101,
        seconds=24.0,
        calibration_people=40,
        detectors="mot,yolox",
    )
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="find-") as folder:
        place = Path(folder)
        (place / "real").mkdir()
        tallies |= real(place / "real")
        print({name: tally.row() for name, tally in tallies.items()}, flush=True)
        model = Path(options.model) if options.model else place / "real" / "model"
        if options.towns:
            calibrated(model, place / "calibration", options.calibration_people)
            seeds = range(options.first_seed, options.first_seed + options.towns)
            tallies |= towns(seeds, options.seconds, options.detectors.split(","), place, model)
    result = {name: tally.row() for name, tally in tallies.items()}
    columns = ("asked for", *(name.replace("_", " ") for name in next(iter(result.values()))))
    rows = [(name, *values.values()) for name, values in result.items()]
    report("Recall of reid find", columns, rows, {"questions": result}, options.json)


if __name__ == "__main__":
    main()
