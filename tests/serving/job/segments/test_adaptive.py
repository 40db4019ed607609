"""Steps that adapt to how people move: fewer looks, the same sightings, whoever works and whatever is
killed.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from serving.job.progress import Progress
from serving.job.run import Execution, JobResult, run_job
from serving.spec import AdaptiveSpec, Camera, DetectorSpec, IdleSpec, Job, Outputs
from tests.serving.colourful_detector import colourful_detector
from tests.serving.execution_job import FRAMES, WALKS, same_rows
from tests.serving.tiny_footage import Walk, write_walks
from tests.serving.tiny_models import tiny_model

ON, OFF = AdaptiveSpec(enabled=True), AdaptiveSpec()
SEGMENT_S = 7.0
# Comes, turns round twice, and is gone from one frame to the next.
TURNS = [
    Walk("anna", (-12, 160), (3, 0), 5, 65),
    Walk("anna", (165, 160), (-3, 0), 66, 90),
    Walk("anna", (96, 160), (3, 0), 91, 140),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adaptive")
    tiny_model(folder / "model")
    colourful_detector(folder / "near.onnx")
    write_walks(folder / "walks.avi", WALKS, FRAMES)
    write_walks(folder / "turns.avi", TURNS, 150)
    return folder


def job_of(place: Path, adaptive: AdaptiveSpec, footage: str = "walks", idle: bool = False) -> Job:
    return Job(
        cameras=(Camera(id="c", source=str(place / f"{footage}.avi")),),
        model=str(place / "model"),
        threshold=0.4,
        threads=1,
        backend="onnxruntime",
        detector=DetectorSpec(name="yolov8", model=str(place / "near.onnx"), backend="onnxruntime"),
        idle=IdleSpec(enabled=idle),
        adaptive=adaptive,
        outputs=Outputs(video=False, report=False, segments=False),
    )


def spans(result: JobResult) -> list[tuple[int, int]]:
    rows = pq.read_table(result.out / "sightings.parquet").to_pylist()
    for row in rows:  # frames that were passed over count
        assert 0.75 < row["frames"] / (row["end_frame"] - row["start_frame"] + 1) <= 1
    return [(row["start_frame"], row["end_frame"]) for row in rows]


@pytest.mark.parametrize("footage", ["walks", "turns"])
@pytest.mark.parametrize("idle", [False, True])
def test_fewer_looks_give_the_same_sightings(place: Path, footage: str, idle: bool) -> None:
    every, few = (
        run_job(job_of(place, how, footage, idle), place / f"{footage}-{idle}-{how.enabled}")
        for how in (OFF, ON)
    )
    assert spans(few) == spans(every)
    assert len(spans(few)) == (2 if footage == "walks" else 1)
    boxes = [pq.read_table(one.out / "detections.parquet").to_pandas() for one in (every, few)]
    keys = [one[["frame", "tracklet"]].to_numpy() for one in boxes]
    np.testing.assert_array_equal(*keys)
    assert np.abs(boxes[0][list("xywh")] - boxes[1][list("xywh")]).to_numpy().max() <= 6
    counts = few.summary["counts"]
    assert counts["frames"] == counts["looked_at"] + counts["skipped"] == every.summary["counts"]["frames"]
    assert counts["skipped"] >= counts["between"] > 0.25 * counts["frames"]
    assert counts["cameras"]["c"]["between"] == counts["between"]
    assert every.summary["counts"]["between"] == 0


def test_segments_and_workers_make_no_difference(place: Path) -> None:
    one = run_job(job_of(place, ON), place / "one", execution=Execution(SEGMENT_S))
    two = run_job(job_of(place, ON), place / "two", execution=Execution(SEGMENT_S, workers=2))
    same_rows(one.out, two.out)
    assert one.summary["counts"] == two.summary["counts"]
    assert spans(one) == spans(run_job(job_of(place, OFF), place / "off"))
    assert not one.problems


def test_a_job_that_was_stopped_goes_on_as_if_nothing_had_been(place: Path) -> None:
    class Stop(Progress):
        frames = 0

        def advance(self, camera: str) -> None:
            self.frames += 1
            if self.frames == 100:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job_of(place, ON), place / "stopped", Stop(), Execution(SEGMENT_S))
    assert (place / ".stopped.work" / "c-00000").is_dir()
    again = run_job(job_of(place, ON), place / "stopped", execution=Execution(SEGMENT_S))
    whole = run_job(job_of(place, ON), place / "whole", execution=Execution(SEGMENT_S))
    same_rows(again.out, whole.out)
    assert again.summary["counts"] == whole.summary["counts"]


def test_segments_of_other_steps_are_not_taken_up() -> None:
    ways = (OFF, ON, AdaptiveSpec(enabled=True, longest_s=0.2), AdaptiveSpec(enabled=True, min_iou=0.6))
    camera = Camera(id="c", source="a.mp4")
    assert len({Job(cameras=(camera,), model="m", adaptive=one).seen_key() for one in ways}) == len(ways)
