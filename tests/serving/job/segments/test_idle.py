"""The detector looks at few frames while nothing moves, and nobody is lost by it: the sightings are those of
a job that looks at every frame. Real encoded footage, and a network that finds the people in it.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from serving.job.run import Execution, JobResult, run_job
from serving.spec import Camera, DetectorSpec, IdleSpec, Job, Outputs
from tests.serving.colourful_detector import colourful_detector
from tests.serving.execution_job import same_rows
from tests.serving.job.segments.idle_scenes import FAR, FRAMES, write_scene
from tests.serving.tiny_models import tiny_model

OFF = IdleSpec(enabled=False)
# Of these scenes so many frames at least need no look. Somebody who stands in front of a background that was
# seen empty is looked at in every frame; a camera that moves too.
SKIPPED = {
    "nobody": 200,
    "walks through": 60,
    "stands from the first frame": 200,
    "walks in and stands": 20,
    "enters slowly": 15,
    "small and far": 50,
    "night": 15,
    "light switched": 40,
    "flicker": 20,
    "pulses": 60,
    "moving camera": 0,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("idle")
    tiny_model(folder / "model")
    colourful_detector(folder / "near.onnx")
    colourful_detector(folder / "far.onnx", FAR)
    return folder


def run(place: Path, scene: str, idle: IdleSpec, way: str, execution: Execution | None = None) -> JobResult:
    name = scene.replace(" ", "-")
    if not (place / f"{name}.avi").exists():
        write_scene(place / f"{name}.avi", scene)
    file = place / ("far.onnx" if scene == "small and far" else "near.onnx")
    job = Job(
        cameras=(Camera(id="c", source=str(place / f"{name}.avi")),),
        model=str(place / "model"),
        threshold=0.4,
        threads=1,
        backend="onnxruntime",
        detector=DetectorSpec(name="yolov8", model=str(file), backend="onnxruntime"),
        idle=idle,
        outputs=Outputs(video=False, report=False, segments=False),
    )
    return run_job(job, place / f"{name}-{way}", execution=execution)


def sightings(result: JobResult) -> list[dict[str, object]]:
    return pq.read_table(result.out / "sightings.parquet").to_pylist()


@pytest.mark.parametrize("scene", SKIPPED)
def test_nobody_is_lost(place: Path, scene: str) -> None:
    every, few = run(place, scene, OFF, "off"), run(place, scene, IdleSpec(), "on")
    spans = [
        [(row["start_frame"], row["end_frame"], row["frames"]) for row in sightings(one)]
        for one in (every, few)
    ]
    assert len(spans[0]) == (scene != "nobody")
    assert spans[1] == spans[0]
    boxes = [pq.read_table(one.out / "detections.parquet").to_pandas() for one in (every, few)]
    assert np.abs(boxes[0][list("xywh")] - boxes[1][list("xywh")]).to_numpy().max(initial=0) <= 4
    counts = few.summary["counts"]
    assert counts["frames"] == counts["looked_at"] + counts["skipped"] == FRAMES
    assert counts["skipped"] >= SKIPPED[scene]
    assert counts["cameras"]["c"]["forced"] == counts["forced"]
    assert every.summary["counts"]["looked_at"] == FRAMES
    assert not few.problems
    assert any("camera that moves" in note for note in few.notes) == (scene == "moving camera")


def test_a_forced_look_finds_whom_the_brightness_does_not_tell(place: Path) -> None:
    scene = "as bright as the ground"
    result = run(place, scene, IdleSpec(every_s=2.0), "on")
    (row,) = sightings(result)
    assert 60 <= row["start_frame"] < 66  # the look that finds her, at 70, and the ten frames before it
    assert 200 <= row["end_frame"] <= 221
    assert result.summary["counts"]["forced"] >= 5


def test_segments_and_workers_make_no_difference(place: Path) -> None:
    scene, short = "walks in and stands", 7.0
    one = run(place, scene, IdleSpec(), "one", Execution(short))
    two = run(place, scene, IdleSpec(), "two", Execution(short, workers=2))
    same_rows(one.out, two.out)
    assert one.summary["counts"] == two.summary["counts"]
    whole = run(place, scene, OFF, "off")
    spans = [[(row["start_frame"], row["end_frame"]) for row in sightings(result)] for result in (one, whole)]
    assert spans[0] == spans[1]


def test_a_camera_that_is_moved_is_said(place: Path) -> None:
    every, few = (run(place, "moved camera", idle, way) for way, idle in (("off", OFF), ("on", IdleSpec())))
    spans = [[(row["start_frame"], row["end_frame"]) for row in sightings(one)] for one in (every, few)]
    assert len(spans[0]) == 2
    assert spans[1] == spans[0]
    (note,) = few.notes
    assert "changed at once in frame 120, as when a camera is moved" in note
    assert few.summary["counts"]["skipped"] > 50  # from there on it has another background


def test_segments_of_another_watch_are_not_taken_up() -> None:
    camera = Camera(id="c", source="a.mp4")
    jobs = [Job(cameras=(camera,), model="m", idle=idle) for idle in (IdleSpec(), OFF, IdleSpec(every_s=9))]
    assert len({job.seen_key() for job in jobs}) == 3
