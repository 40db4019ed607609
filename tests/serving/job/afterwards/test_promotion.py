"""Unknown people of finished jobs: found again in later jobs, and given names."""

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reid.errors import ReidError, UsageError
from serving.gallery import Gallery
from serving.job.afterwards.promotion import promote
from serving.job.stranger_file import read_earlier, read_strangers, write_strangers
from tests.serving.rows import at_angle


def job_folder(
    folder: Path, rows: list[tuple[str, int, int, float]], series: str | None = None, fingerprint: str = "m"
) -> Path:
    """What a job leaves of its unknown people: (camera, tracklet, number, angle)."""
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"decision": {"threshold": 0.2}}))
    table = [
        {
            "camera": camera,
            "tracklet": tracklet,
            "number": number,
            "start": 1e9 + 60 * at,
            "end": 1e9 + 60 * at + 5,
            "quality": 0.5,
        }
        | {"crop": f"crops/{camera}-{tracklet:05d}.jpg", "embedding": at_angle(angle)[0].tolist()}
        for at, (camera, tracklet, number, angle) in enumerate(rows)
    ]
    write_strangers(folder / "strangers.parquet", table, fingerprint, series)
    return folder


@pytest.fixture
def gallery(tmp_path: Path):
    with Gallery.open(tmp_path / "g.db", "m", create=True) as opened:
        opened.enroll("anna", at_angle(0))
        yield opened


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return job_folder(tmp_path / "job", [("hall", 1, 1, 90), ("yard", 1, 1, 92), ("hall", 2, 2, 5)])


def test_all_sightings_of_a_stranger_become_references(gallery: Gallery, job: Path) -> None:
    done = promote(gallery, read_strangers(job), "unknown-1", "bert")
    assert (done.identity, done.sightings, done.warnings, done.version) == (
        "bert",
        ("hall:1", "yard:1"),
        (),
        2,
    )
    facts = [(one.source, one.camera, one.taken_at, one.quality) for one in gallery.show("bert")]
    assert facts == [
        (str(job / "crops/hall-00001.jpg"), "hall", 1e9, 0.5),
        (str(job / "crops/yard-00001.jpg"), "yard", 1e9 + 60, 0.5),
    ]
    assert [found[0][0] for found in gallery.search(at_angle(90, 92), 1)] == ["bert", "bert"]
    with pytest.raises(ReidError, match="is enrolled as 'bert' already"):
        promote(gallery, read_strangers(job), "unknown-1", "bert")
    with pytest.raises(ReidError, match="is enrolled as 'bert' already"):
        promote(gallery, read_strangers(job), "yard:1", "bert")
    assert gallery.version == 2


def test_one_sighting_can_be_promoted_and_a_lookalike_is_pointed_out(gallery: Gallery, job: Path) -> None:
    assert promote(gallery, read_strangers(job), "yard:1", "bert").sightings == ("yard:1",)
    assert promote(gallery, read_strangers(job), "unknown-1", "bert").sightings == ("hall:1",)
    done = promote(gallery, read_strangers(job), "hall:2", "carl")
    assert done.warnings == (
        "'carl' looks like 'anna' (1 of 1 images): merge the two if they are one person",
    )
    assert promote(gallery, read_strangers(job), "unknown-2", "anna").warnings


def test_wrong_promotions_change_nothing(tmp_path: Path, gallery: Gallery, job: Path) -> None:
    strangers = read_strangers(job)
    for who, identity, message in (
        ("unknown-3", "bert", "saw no unknown person 'unknown-3': want unknown-NUMBER or CAMERA:TRACKLET"),
        ("hall", "bert", "saw no unknown person"),
        ("unknown-1", "unknown", "choose another name"),
        ("unknown-1", "tab\t", "control character"),
    ):
        with pytest.raises(ReidError, match=message):
            promote(gallery, strangers, who, identity)
    assert gallery.version == 1
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (tmp_path / "empty", "holds no strangers.parquet"),
        (tmp_path / "absent", "job output .* does not exist"),
    ):
        with pytest.raises(UsageError, match=message):
            read_strangers(folder)
    (job / "strangers.parquet").chmod(0o644)
    with pytest.raises(ReidError, match="must be private"):
        read_strangers(job)
    (job / "strangers.parquet").chmod(0o600)
    (job / "strangers.parquet").write_bytes(b"text")
    with pytest.raises(ReidError, match="is damaged: run the job again"):
        read_strangers(job)


def test_the_file_is_private(job: Path) -> None:
    assert stat.S_IMODE((job / "strangers.parquet").stat().st_mode) == 0o600


def test_earlier_jobs_must_be_of_one_model_and_one_series(tmp_path: Path, job: Path) -> None:
    assert read_earlier([], "m") == (None, None)
    seen, series = read_earlier([str(job)], "m")
    assert seen.numbers == (1, 1, 2)
    np.testing.assert_array_equal(seen.spans[1], [1e9 + 60, 1e9 + 65])
    follower = job_folder(tmp_path / "next", [("hall", 1, 3, 200)], series)
    both, same = read_earlier([str(job), str(follower)], "m")
    assert (both.numbers, same) == ((1, 1, 2, 3), series)
    with pytest.raises(ReidError, match="are of model m, not of other"):
        read_earlier([str(job)], "other")
    apart = job_folder(tmp_path / "apart", [("hall", 1, 1, 200)])
    with pytest.raises(ReidError, match="number their strangers apart: name one of them"):
        read_earlier([str(job), str(apart)], "m")


def test_a_camera_without_a_clock_has_no_span(tmp_path: Path, job: Path) -> None:
    table = pq.read_table(job / "strangers.parquet").to_pylist()
    folder = tmp_path / "clockless"
    shutil.copytree(job, folder)
    write_strangers(
        folder / "strangers.parquet", [row | {"start": None, "end": None} for row in table], "m", None
    )
    assert np.isnan(read_earlier([str(folder)], "m")[0].spans).all()
