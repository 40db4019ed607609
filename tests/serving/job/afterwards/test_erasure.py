"""What a job keeps of people: private, encrypted where there is a key, erased with the person and in time."""

import json
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipelines.cli import app
from reid.errors import ReidError, UsageError
from serving.gallery.key import KEY_TEXT
from serving.job.afterwards.erasure import expire, forget
from serving.job.afterwards.rematch import rematch
from serving.job.afterwards.search import open_seen
from serving.job.encryption import read_sealed
from serving.job.layout import JobFolder
from serving.job.run import Execution, run_job
from serving.job.sightings.embeddings import read_embeddings
from serving.job.stranger_file import read_strangers
from serving.spec import load_job
from tests.serving.execution_job import SEGMENT_S, make_place
from tests.serving.rows import pieces_in_files

KEY = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make_place(tmp_path_factory.mktemp("forgetting") / "place")
    job = yaml.safe_load((place / "job.yaml").read_text())
    job["outputs"] |= {"report": True, "video": True}
    job["cameras"][0]["start_time"] = "2026-05-04T10:00:00+02:00"
    (place / "job.yaml").write_text(yaml.safe_dump(job))
    run_job(load_job(place / "job.yaml"), place / "found", execution=Execution(SEGMENT_S))
    shutil.copytree(place, place.parent / "as-made")
    return place


@pytest.fixture
def place(made: Path) -> Path:
    shutil.rmtree(made)
    return Path(shutil.copytree(made.parent / "as-made", made))


def reid(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def people(folder: Path) -> dict[tuple[str, int], str]:
    rows = JobFolder(folder).read_sightings().to_pylist()
    return {(row["camera"], row["tracklet"]): row["provisional"] or row["identity"] for row in rows}


def kept_rows(folder: Path) -> np.ndarray:
    paths = sorted(JobFolder(folder).kept.path.glob("*/tracklets.parquet"))
    rows = [vector for path in paths for vector in read_sealed(path, "segment", "")["embedding"].to_pylist()]
    return np.asarray(rows, np.float32)


def test_a_person_is_erased_from_gallery_and_jobs_with_all_that_is_kept(place: Path) -> None:
    found, twice = place / "found", place / "crops" / ".." / "found"
    (place / "crops").mkdir(exist_ok=True)
    before, kept = people(found), kept_rows(found)
    who, vectors, _ = read_embeddings(JobFolder(found).embeddings)
    nearest = [before[who[np.linalg.norm(vectors - row, axis=1).argmin()]] for row in kept]
    anna = [row for row, name in zip(kept, nearest, strict=True) if name == "anna"]
    assert len(anna) >= 3  # several segments saw her
    assert pieces_in_files(found, np.asarray(anna)) == len(anna)
    done = reid("gallery", "remove", place / "gallery.db", "anna", "--in", found, "--in", twice)
    assert len(done.stdout.splitlines()) == 2  # of the gallery, and of one job
    assert "1 references removed (anna)" in done.stdout and "2 sightings erased" in done.stdout
    left = {key: name for key, name in before.items() if name != "anna"}
    assert people(found) == left
    assert set(read_embeddings(JobFolder(found).embeddings)[0]) == set(left)
    assert len(kept_rows(found)) == len(kept) - len(anna)
    assert pieces_in_files(place, np.asarray(anna)) == 0  # nor in boxes, strangers, or anything left beside
    boxes = pq.read_table(JobFolder(found).detections).to_pylist()
    assert {(row["camera"], row["tracklet"]) for row in boxes} == set(left)
    record = json.loads(JobFolder(found).record.read_text())
    assert record["counts"]["sightings"] == len(left) == len(list(JobFolder(found).crops.iterdir()))
    assert not list(found.glob("*.webm"))  # she was in both cameras
    assert 'data-person="anna"' not in JobFolder(found).report.read_text()
    (again,) = rematch([found])
    assert again.sightings == len(left)
    assert set(people(found).values()) == set(left.values())


def test_a_stranger_is_erased_and_a_match_does_not_bring_them_back(place: Path) -> None:
    found = place / "found"
    job = load_job(place / "job.yaml")
    (place / "crops").mkdir(exist_ok=True)
    (carl,) = {name for name in people(found).values() if name.startswith("unknown")}
    stranger = read_strangers(found).embeddings
    done = reid("forget", found, place / "crops" / ".." / "found", "--person", carl)
    assert "2 sightings erased" in done.stdout and len(done.stdout.splitlines()) == 1
    assert read_strangers(found).rows == () and carl not in people(found).values()
    assert pieces_in_files(found, stranger) == 0
    assert run_job(job, found, execution=Execution(SEGMENT_S)).unchanged
    reid("gallery", "rename", place / "gallery.db", "bert", "Bertram")
    result = run_job(job, found, execution=Execution(SEGMENT_S))
    assert result.seen_before and set(people(found).values()) == {"anna", "Bertram"}
    crop = next(iter(JobFolder(found).crops.iterdir())).stem
    forget(found, [], [crop])
    assert not (JobFolder(found).crops / f"{crop}.jpg").exists()


def test_embeddings_go_when_their_time_is_over_as_in_the_gallery(place: Path) -> None:
    found = place / "found"
    before = people(found)
    one = {key for key in before if key[0] == "one"}  # camera one has a clock, of May 2026
    reid("gallery", "retention", place / "gallery.db", "30")
    finished = datetime.fromisoformat(json.loads(JobFolder(found).record.read_text())["finished"])
    assert finished > datetime(2026, 7, 1, tzinfo=UTC)
    early = ["--now", "2026-06-02T00:00", "--in", found]
    assert "nothing to erase" in reid("gallery", "expire", place / "gallery.db", *early).stdout
    later = ["--now", "2026-06-04T00:00", "--in", found, "--json"]
    told = json.loads(reid("gallery", "expire", place / "gallery.db", *later).stdout)
    assert [(job["embeddings"], job["kept"]) for job in told["jobs"]] == [(len(one), True)]
    assert people(found) == before  # tables stay
    assert set(read_embeddings(JobFolder(found).embeddings)[0]) == set(before) - one
    assert {row["camera"] for row in read_strangers(found).rows} == {"two"}
    assert not JobFolder(found).kept.path.exists()
    assert len(open_seen(found).rows) == len(before) - len(one)
    assert "2 embeddings erased" in expire(found, 1, finished.replace(year=finished.year + 1)).line
    assert len(open_seen(found).rows) == 0
    with pytest.raises(UsageError, match="nobody can be named anew"):
        reid("gallery", "rename", place / "gallery.db", "bert", "Bert")
        rematch([found])


@pytest.fixture
def sealed(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A job made with a key in the environment; it has no gallery."""
    monkeypatch.setenv(KEY_TEXT, KEY)
    job = yaml.safe_load((place / "job.yaml").read_text())
    del job["gallery"]
    job["outputs"]["video"] = False
    (place / "sealed.yaml").write_text(yaml.safe_dump(job))
    run_job(load_job(place / "sealed.yaml"), place / "sealed", execution=Execution(SEGMENT_S))
    yield place / "sealed"


def test_with_a_key_no_embedding_is_readable_and_all_commands_work(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = open_seen(sealed)
    kept = kept_rows(sealed)
    assert len(kept) > 5 and len(seen.rows) == 5
    names = ("embeddings.parquet", "strangers.parquet", "tracklets.parquet")
    private = [path for path in sealed.rglob("*.parquet") if path.name in names]
    assert len(private) > 5 and {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    for path in private:
        content = path.read_bytes()
        assert content[:4] == content[-4:] == b"PARE"
        assert not any(word in content for word in (b"camera", b"tiny-1", b"embedding"))
    assert pieces_in_files(sealed, kept) == 0
    assert rematch([sealed])[0].unchanged
    job = load_job(sealed.parent / "sealed.yaml")
    assert run_job(job, sealed, execution=Execution(SEGMENT_S)).unchanged
    assert "2 sightings erased" in reid("forget", sealed, "--person", "unknown-1").stdout
    for name, told in ((None, "is encrypted: set REID_GALLERY_KEY_FILE"), ("f" * 64, "another key")):
        monkeypatch.delenv(KEY_TEXT)
        if name:
            monkeypatch.setenv(KEY_TEXT, name)
        for call in (open_seen, read_strangers):
            with pytest.raises(ReidError, match=told) as error:
                call(sealed)
            assert "\n" not in str(error.value)
        monkeypatch.setenv(KEY_TEXT, KEY)


def test_a_sealed_job_is_not_detected_again_and_a_plain_one_is_read(sealed: Path) -> None:
    assert len(open_seen(sealed.parent / "found").rows) == 5
    job = load_job(sealed.parent / "sealed.yaml").model_copy(update={"threshold": 0.3})
    assert run_job(job, sealed, execution=Execution(SEGMENT_S)).seen_before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--person", "nobody"], "nobody is called 'nobody'"),
        (["--sighting", "one-99"], "has no sighting 'one-99'"),
        ([], "name whom to erase"),
        (["--person", "anna", "--older-than", "3"], "name whom to erase"),
    ],
)
def test_who_cannot_be_erased_is_one_line(place: Path, words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        reid("forget", place / "found", *words)
    with pytest.raises(ReidError, match="nobody named 'zoe'"):
        reid("gallery", "remove", place / "gallery.db", "zoe", "--in", place / "found")
    with pytest.raises(UsageError, match="keeps for ever"):
        reid("gallery", "expire", place / "gallery.db", "--in", place / "found")
