"""Positions and the gallery's index in whole jobs: a small rendered town whose cameras look at one square."""

import json
from pathlib import Path

import numpy as np
import pytest

from reid.card import Certainty
from reid.data.synthetic import TownSpec, generate_town
from reid.mot import MotTable, read_mot
from serving.job.layout import JobFolder, name_of, xyxy_of
from serving.job.run import run_job
from serving.scoring import true_identities
from serving.spec import Camera, DetectorSpec, Job, Outputs
from tests.serving.tiny_models import tiny_model

PEOPLE = 4


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("square")
    spec = TownSpec(
        people=PEOPLE,
        footage_people=PEOPLE,
        cameras=2,
        images_per_camera=1,
        footage_seconds=8.0,
        footage_fps=5,
        footage_width=240,
        footage_height=180,
        views="overlapping",
        seed=3,
    )
    generate_town(spec, folder, range(1, PEOPLE + 1))
    # what the model is sure of: looks weigh little against places
    tiny_model(folder / "model", card={"certainty": Certainty(middle=0.3, slope=4.0)})
    return folder


def job_of(town: Path, floors: bool, clock: bool = True) -> Job:
    facts = json.loads((town / "town.json").read_text())
    cameras = [
        Camera(
            id=f"camera{number}",
            source=str(town / "footage" / f"camera{number}.webm"),
            detections=str(town / "footage" / f"camera{number}.txt"),
            start_time=start + "+00:00" if clock else None,
            floor=facts["floor"][number] if floors else None,
        )
        for number, start in facts["camera_start"].items()
    ]
    # So strict that looks alone join nobody.
    return Job(
        cameras=tuple(cameras),
        model=str(town / "model"),
        threshold=0.02,
        detector=DetectorSpec(name="mot"),
        outputs=Outputs(video=False, crops=False, report=False),
    )


def people_of(town: Path, out: Path) -> dict[str, set[tuple[str, str | None]]]:
    """Whom the sightings of each name show, and where."""
    files = JobFolder(out)
    boxes = files.read_detections()
    found: dict[str, set[tuple[str, str | None]]] = {}
    for name in ("camera1", "camera2"):
        mine = boxes.filter(np.asarray(boxes["camera"].to_pylist()) == name)
        ones = np.ones(len(mine), np.float32)
        table = MotTable(
            mine["frame"].to_numpy(), mine["tracklet"].to_numpy(), xyxy_of(mine, np.float32), ones
        )
        who = true_identities(read_mot(town / "footage" / f"{name}.txt"), table, {})
        for row in files.read_sightings().to_pylist():
            if row["camera"] == name:
                found.setdefault(name_of(row), set()).add((name, who[row["tracklet"]]))
    return found


def test_whoever_two_cameras_see_at_one_place_is_one_person(town: Path, tmp_path: Path) -> None:
    apart = run_job(job_of(town, floors=False), tmp_path / "out").summary
    assert apart["over_cameras"]["seen_together"] == 0
    alone = people_of(town, tmp_path / "out")
    assert all(len(seen) == 1 for seen in alone.values())
    result = run_job(job_of(town, floors=True), tmp_path / "out")
    assert result.seen_before  # a floor changes names and nothing that was seen
    assert result.summary["over_cameras"]["positions"] == ["camera1", "camera2"]
    together = people_of(town, tmp_path / "out")
    assert all(len({who for _, who in seen}) == 1 for seen in together.values())
    both = [name for name, seen in together.items() if len({camera for camera, _ in seen}) == 2]
    assert len(both) == PEOPLE and len(together) < len(alone)


def test_a_floor_without_a_clock_is_left_out_and_said(town: Path, tmp_path: Path) -> None:
    summary = run_job(job_of(town, floors=True, clock=False), tmp_path / "out").summary
    assert summary["over_cameras"]["positions"] == []
    said = "its floor is not used, for it has no clock: give it a start_time"
    assert summary["notes"] == [f"camera {name}: {said}" for name in ("camera1", "camera2")]
