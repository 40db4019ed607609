"""Where else was this person: by picture, by sighting and by name, over several jobs' outputs."""

import json
import shutil
import stat
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipelines.cli import app
from reid.errors import ReidError, UsageError
from serving.job.finding import find, of_name, of_sighting, open_seen
from serving.job.layout import JobFolder
from serving.job.run import run_job
from serving.job.sighting_embeddings import read_embeddings, write_embeddings
from serving.spec import load_job
from tests.serving.execution_job import make_place
from tests.serving.tiny_footage import person


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with two finished jobs, ``one`` and ``two``, a camera each."""
    place = make_place(tmp_path_factory.mktemp("finding"))
    job = yaml.safe_load((place / "job.yaml").read_text())
    for camera in job["cameras"]:
        path = place / f"{camera['id']}.yaml"
        path.write_text(yaml.safe_dump(job | {"cameras": [camera]}))
        run_job(load_job(path), place / camera["id"])
    for name in ("anna", "carl"):
        cv2.imwrite(str(place / f"{name}.png"), person(name))
    return place


def asked(place: Path, *words: str, jobs: tuple[str, ...] = ("one", "two")) -> Result:
    places = [word for job in jobs for word in ("--in", str(place / job))]
    return CliRunner().invoke(app, ["find", *words, *places])


def found(place: Path, *words: str) -> list[dict[str, object]]:
    done = asked(place, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["sightings"]


@pytest.mark.parametrize("words", [["anna.png"], ["--person", "anna"]])
def test_all_sightings_of_a_person_come_first_from_all_jobs(place: Path, words: list[str]) -> None:
    if words[0].endswith(".png"):
        words = [str(place / words[0])]
    rows = found(place, *words)
    own = [row for row in rows if row["named"] == "anna"]
    assert sorted(Path(str(row["job"])).name for row in own) == ["one", "two"]
    assert rows[: len(own)] == own and all(row["within"] for row in own)
    assert [row["distance"] for row in rows] == sorted(row["distance"] for row in rows)
    assert not rows[-1]["within"]


def test_a_stranger_of_one_job_is_found_in_the_other_by_a_sighting(place: Path) -> None:
    (carl,) = (row for row in open_seen(place / "one").rows if row["provisional"])
    name = f"{place / 'one'}#{Path(carl['crop']).stem}"
    rows = found(place, "--sighting", name, "--top", "3")
    assert len(rows) == 3
    assert rows[0]["job"] == str(place / "two") and rows[0]["within"]
    assert str(rows[0]["named"]).startswith("unknown")
    assert not any(row["job"] == str(place / "one") and row["tracklet"] == carl["tracklet"] for row in rows)


def test_the_answer_is_that_of_all_distances(place: Path) -> None:
    jobs = [open_seen(place / name) for name in ("one", "two")]
    rng = np.random.default_rng(0)
    looked_for = rng.standard_normal(jobs[0].embeddings.shape[1]).astype(np.float32)
    looked_for /= np.linalg.norm(looked_for)
    every = [
        (float(np.linalg.norm(row - looked_for)), job.folder, index)
        for job in jobs
        for index, row in enumerate(job.embeddings)
    ]
    answer = find(looked_for, jobs, top=len(every))
    assert [one.folder for one in answer] == [folder for _, folder, _ in sorted(every)]
    assert [one.distance for one in answer] == pytest.approx([d for d, _, _ in sorted(every)], abs=1e-5)
    assert [one.distance for one in find(looked_for, jobs, top=2)] == [one.distance for one in answer[:2]]


def test_the_table_names_camera_time_and_crop(place: Path) -> None:
    done = asked(place, "--person", "anna", "--top", "1", jobs=("one",))
    assert done.exit_code == 0
    assert "1 of 1 lie within the threshold" in done.stdout


def test_embeddings_are_private_and_hardly_changed_by_sixteen_bits(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((20, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    sightings = [("hall", number) for number in range(20)]
    write_embeddings(tmp_path / "e.parquet", sightings, rows, "m")
    assert stat.S_IMODE((tmp_path / "e.parquet").stat().st_mode) == 0o600
    who, read, fingerprint = read_embeddings(tmp_path / "e.parquet")
    assert (who, fingerprint) == (sightings, "m")
    assert np.linalg.norm(read - rows, axis=1).max() < 1e-3
    (tmp_path / "e.parquet").chmod(0o644)
    with pytest.raises(ReidError, match="must be private"):
        read_embeddings(tmp_path / "e.parquet")


def test_a_job_that_saw_nobody_can_be_looked_into(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "e.parquet", [], np.zeros((0, 1), np.float32), "m")
    who, rows, _ = read_embeddings(tmp_path / "e.parquet")
    assert who == [] and len(rows) == 0


def test_embeddings_are_left_out_where_the_job_says_so(place: Path) -> None:
    job = yaml.safe_load((place / "one.yaml").read_text())
    path = place / "without.yaml"
    path.write_text(yaml.safe_dump(job | {"outputs": job["outputs"] | {"embeddings": False}}))
    out = run_job(load_job(path), place / "without").out
    assert not JobFolder(out).embeddings.exists()
    done = asked(place, "--person", "anna", jobs=("without",))
    assert isinstance(done.exception, UsageError) and "holds no embeddings.parquet" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "name whom to look for"),
        (("anna.png", "--person", "anna"), "name whom to look for"),
        (("--person", "nobody"), "nobody is called 'nobody'"),
        (("--person", "unknown-1"), "may be one person in"),
        (("--sighting", "hall-1"), "no job has such a sighting"),
        (("nothing.png",), "nothing.png"),
    ],
)
def test_what_cannot_be_looked_for_is_one_line(place: Path, words: tuple[str, ...], expected: str) -> None:
    done = asked(place, *(str(place / word) if word.endswith(".png") else word for word in words))
    assert isinstance(done.exception, UsageError)
    assert expected in str(done.exception) and "\n" not in str(done.exception)


def test_other_models_and_damaged_files_are_refused(place: Path, tmp_path: Path) -> None:
    jobs = [open_seen(place / name) for name in ("one", "two")]
    with pytest.raises(UsageError, match="no job has such a sighting"):
        of_sighting(jobs, "nothing")
    assert of_name(jobs, "anna").shape == (jobs[0].embeddings.shape[1],)
    other = Path(shutil.copytree(place / "two", tmp_path / "other"))
    files = JobFolder(other)
    who, rows, _ = read_embeddings(files.embeddings)
    write_embeddings(files.embeddings, who, rows, "another")
    done = CliRunner().invoke(
        app, ["find", "--person", "anna", "--in", str(place / "one"), "--in", str(other)]
    )
    assert "were embedded by different models" in str(done.exception)
    write_embeddings(files.embeddings, who[1:], rows[1:], "another")
    with pytest.raises(ReidError, match="is not of the sightings beside it"):
        open_seen(other)
    for table in (
        pa.table({"camera": ["a"], "tracklet": [1], "embedding": [[1.0]]}),
        pa.table({"camera": ["a"], "tracklet": [1]}),
    ):
        pq.write_table(table, files.embeddings)
        with pytest.raises(ReidError, match="run the job again"):
            open_seen(other)
    files.embeddings.write_bytes(b"text")
    with pytest.raises(ReidError, match="is damaged"):
        open_seen(other)
