"""Any frame rate: the same people in the same seconds are the same sightings, from 30 frames a second to one
in three seconds.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from serving.gallery import Gallery
from serving.job.run import Execution, JobResult, run_job
from serving.runtime import load
from serving.spec import load_job
from tests.serving.numbered import encode
from tests.serving.tiny_footage import Walk, draw, person, write_truth
from tests.serving.tiny_models import tiny_model

SECONDS = 12
RATES = [30, 10, 4, 2, 1, Fraction(1, 2)]


def walks(fps: float, walking: bool) -> list[Walk]:
    frames = round(SECONDS * fps)
    speed = (14.0 if walking else 0.4) / fps  # pixels a frame; a person is 24 wide
    return [Walk("anna", (30, 100), (speed, 0), 1, frames), Walk("bert", (290, 200), (-speed, 0), 1, frames)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rates")
    tiny_model(folder / "model")
    embedder = load(folder / "model", "onnxruntime", 1)
    with Gallery.open(folder / "gallery.db", embedder.fingerprint, create=True) as gallery:
        for name in ("anna", "bert"):
            gallery.enroll(name, embedder([np.ascontiguousarray(person(name)[:, :, ::-1])]))
    return folder


def run(place: Path, fps: int | Fraction, step: int, walking: bool, **more: object) -> JobResult:
    name = f"{'walk' if walking else 'stand'}-{float(fps):g}"
    frames = round(SECONDS * fps)
    if not (place / f"{name}.mkv").exists():
        people = walks(float(fps), walking)
        encode(
            place / f"{name}.mkv",
            [draw(number, people) for number in range(1, frames + 1)],
            "mpeg4",
            fps=fps,
            qmin=1,
            qmax=3,
        )
        write_truth(place / f"{name}.txt", people, frames, {"anna": 1, "bert": 2})
    camera = {"id": "c", "source": f"{name}.mkv", "detections": f"{name}.txt", "step": step}
    job = {
        "cameras": [camera],
        "model": "model",
        "gallery": "gallery.db",
        "threshold": 0.35,
        "threads": 1,
        "backend": "onnxruntime",
    }
    job |= {"detector": {"name": "mot"}, "outputs": {"video": False, "report": False, "crops": False}} | more
    path = place / f"{name}-{step}.yaml"
    path.write_text(yaml.safe_dump(job))
    return run_job(load_job(path), place / f"{name}-{step}-out", execution=Execution(8.0))


def sightings(result: JobResult) -> list[tuple[str, float, float]]:
    rows = pq.read_table(result.out / "sightings.parquet").to_pylist()
    return sorted((row["identity"], row["start_s"], row["end_s"]) for row in rows)


@pytest.mark.parametrize("walking", [False, True], ids=["standing", "walking"])
@pytest.mark.parametrize("fps", RATES, ids=lambda fps: f"{float(fps):g}")
def test_two_people_are_two_sightings_at_any_rate(place: Path, fps: int | Fraction, walking: bool) -> None:
    found = sightings(run(place, fps, 1, walking))
    assert [name for name, _, _ in found] == ["anna", "bert"]
    for _, start_s, end_s in found:
        assert start_s <= 2 / fps
        assert end_s >= SECONDS - 3 / fps


@pytest.mark.parametrize("walking", [False, True], ids=["standing", "walking"])
@pytest.mark.parametrize("step", [4, 6, 10, 30])
def test_two_people_are_two_sightings_at_any_step(place: Path, step: int, walking: bool) -> None:
    result = run(place, 10, step, walking)
    found = sightings(result)
    assert [name for name, _, _ in found] == ["anna", "bert"]
    assert all(start_s <= 2 * step / 10 and end_s >= SECONDS - 3 * step / 10 for _, start_s, end_s in found)
    assert result.summary["counts"]["frames"] == -(-SECONDS * 10 // step)
    assert any("apart: people are followed by appearance" in note for note in result.notes) == (step > 3)
