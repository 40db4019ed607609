"""A finished job run again: with another gallery or threshold people are named anew from stored segments,
without detecting anew.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipelines.cli import app
from serving.job.layout import JobFolder
from serving.job.run import Execution, run_job
from serving.job.segments import segment as segments
from serving.job.stranger_file import read_strangers
from serving.spec import load_job
from tests.serving.execution_job import SEGMENT_S, make_place
from tests.serving.tiny_footage import Walk, write_walks

KEPT = JobFolder(Path()).kept.path.name


class Watch:
    """The entrance of detection, counted: segments that were detected."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.segments, real = 0, segments.detect_in_order

        def counting(*arguments: object):
            self.segments += 1
            return real(*arguments)

        monkeypatch.setattr(segments, "detect_in_order", counting)

    def during(self, work: Callable[[], object]) -> int:
        before = self.segments
        work()
        return self.segments - before


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A place with a finished job of two cameras, and a copy of it: anna and bert are known; carl walks
    through both cameras.
    """
    folder = tmp_path_factory.mktemp("rematch")
    place = make_place(folder / "place")
    change(place, outputs={"video": False, "crops": True, "report": True})
    assert match(place).exit_code == 0
    return place, Path(shutil.copytree(place, folder / "copy"))


@pytest.fixture
def place(finished: tuple[Path, Path]) -> Path:
    """The place as it was after the first job; the copy keeps the files' times."""
    place, copy = finished
    shutil.rmtree(place)
    shutil.copytree(copy, place)
    return place


def change(place: Path, **keys: object) -> None:
    job = yaml.safe_load((place / "job.yaml").read_text())
    (place / "job.yaml").write_text(yaml.safe_dump(job | keys))


def match(place: Path, *more: str) -> Result:
    words = [
        "match",
        str(place / "job.yaml"),
        "--out",
        str(place / "found"),
        "--quiet",
        "--segment-s",
        str(SEGMENT_S),
        *more,
    ]
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def names(place: Path) -> list[tuple[str, str]]:
    rows = pq.read_table(place / "found" / "sightings.parquet").to_pylist()
    return sorted((row["camera"], row["provisional"] or row["identity"]) for row in rows)


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def test_nothing_has_changed_is_one_line_and_touches_nothing(place: Path, watch: Watch) -> None:
    before = everything(place / "found")
    result = match(place)
    assert (result.exit_code, result.stdout.count("\n"), result.stderr) == (0, 1, "")
    assert result.stdout.startswith("already done: nothing has changed since, 5 sightings are in ")
    assert (everything(place / "found"), watch.segments) == (before, 0)
    assert not list(place.glob(".found*"))


def test_somebody_promoted_is_named_and_the_others_keep_their_numbers(place: Path, watch: Watch) -> None:
    change(place, gallery="nobody.db")
    shutil.copy(place / "gallery.db", place / "nobody.db")
    for name in ("anna", "bert"):
        assert CliRunner().invoke(app, ["gallery", "remove", str(place / "nobody.db"), name]).exit_code == 0
    assert watch.during(lambda: match(place)) == 0
    unknown = names(place)
    assert {name for _, name in unknown} == {"unknown-1", "unknown-2", "unknown-3"}
    series = read_strangers(place / "found").series
    first = next(row for row in read_strangers(place / "found").rows if row["number"] == 1)
    assert (
        CliRunner()
        .invoke(
            app, ["gallery", "promote", str(place / "nobody.db"), str(place / "found"), "unknown-1", "Zoe"]
        )
        .exit_code
        == 0
    )
    result = match(place)
    assert "nothing was detected again" in result.stdout
    assert names(place) == sorted(
        (camera, "Zoe" if name == "unknown-1" else name) for camera, name in unknown
    )
    assert (first["camera"], "Zoe") in names(place)
    assert read_strangers(place / "found").series == series
    assert match(place).stdout.startswith("already done")


def test_another_threshold_and_naming_are_matched_as_by_a_job_from_the_start(
    place: Path, watch: Watch
) -> None:
    known = names(place)
    for keys in ({"ratio_test": 0.2}, {"policy": "mean"}, {"threshold": 0.01, "link": {"enabled": False}}):
        change(place, **keys)
        assert watch.during(lambda: match(place)) == 0, keys
    run_job(load_job(place / "job.yaml"), place / "fresh", execution=Execution(SEGMENT_S))
    for table in ("sightings", "detections"):
        columns = [
            name
            for name in pq.read_schema(place / "found" / f"{table}.parquet").names
            if name != "provisional"
        ]
        ours, theirs = (
            pq.read_table(place / out / f"{table}.parquet", columns=columns) for out in ("found", "fresh")
        )
        assert ours.equals(theirs)
    assert names(place) != known


def test_what_decides_what_is_seen_is_another_job(place: Path) -> None:
    for keys in (
        {"tracker": {"max_gap_s": 1.0}},
        {"detector": {"name": "motion", "min_height": 30}},
        {"crops": {"per_tracklet": 2}},
    ):
        before = (place / "job.yaml").read_text()
        change(place, **keys)
        with pytest.raises(Exception, match="is that of another job"):
            match(place)
        (place / "job.yaml").write_text(before)


def test_other_footage_and_damaged_segments_are_detected_anew(place: Path, watch: Watch) -> None:
    sound = names(place)
    kept = place / "found" / KEPT
    (kept / "one-00001" / "tracklets.parquet").write_bytes(b"PAR1 no")
    (kept / "one-00002" / "counts.json").write_text("[]")
    for name, part in (("one-00003", {"seconds": {"detection": {}}}), ("two-00001", {"missing": ["x", 1]})):
        counts = json.loads((kept / name / "counts.json").read_text())
        (kept / name / "counts.json").write_text(json.dumps(counts | part))
    change(place, threshold=0.34)
    assert watch.during(lambda: match(place)) == 4
    assert names(place) == sound
    write_walks(place / "one.avi", [Walk("bert", (-12, 88), (3, 0), 8, 125)], 130)
    assert watch.during(lambda: match(place)) > 0
    assert names(place) != sound


def test_what_was_written_and_is_gone_is_written_again(place: Path, watch: Watch) -> None:
    (place / "found" / "report.html").unlink()
    assert watch.during(lambda: match(place)) == 0
    assert (place / "found" / "report.html").is_file()
    shutil.rmtree(place / "found" / KEPT)  # to keep no embeddings: the result stands
    assert match(place).stdout.startswith("already done")
    change(place, threshold=0.3)
    assert watch.during(lambda: match(place)) > 0


def test_a_job_that_lacked_something_is_not_done(place: Path) -> None:
    (place / "one.avi").rename(place / "away.avi")
    assert match(place).exit_code == 3
    assert match(place).exit_code == 3  # and not "already done"
    (place / "away.avi").rename(place / "one.avi")
    assert match(place).exit_code == 0
    assert match(place).stdout.startswith("already done")


def test_a_video_is_drawn_anew_where_other_names_are_on_it(place: Path) -> None:
    change(place, outputs={"video": True})
    match(place)
    videos = {camera: place / "found" / f"annotated-{camera}.webm" for camera in ("one", "two")}
    before = {camera: path.read_bytes() for camera, path in videos.items()}
    number = {camera: path.stat().st_ino for camera, path in videos.items()}
    # bert is in camera one alone
    CliRunner().invoke(app, ["gallery", "rename", str(place / "gallery.db"), "bert", "Bertram"])
    match(place)
    assert videos["two"].stat().st_ino == number["two"]
    assert videos["one"].stat().st_ino != number["one"]
    assert videos["one"].read_bytes() != before["one"]
    record = json.loads((place / "found" / "job.json").read_text())
    assert all(isinstance(record["counts"]["cameras"][camera]["video_start_s"], float) for camera in videos)


def test_segments_are_not_kept_where_nobody_wants_them(place: Path) -> None:
    change(place, outputs={"segments": False, "video": False})
    match(place)
    assert not (place / "found" / KEPT).exists()
    assert match(place).stdout.startswith("already done")
