"""`reid rematch`: finished jobs named anew without their footage, as another `reid match` would name them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipelines.cli import app
from reid.errors import ReidError, UsageError
from serving.gallery import Gallery
from serving.job.layout import JobFolder
from serving.job.run import Execution, run_job
from serving.job.stranger_file import read_strangers
from serving.spec import load_job
from tests.serving.execution_job import SEGMENT_S, make_place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job of two cameras with a clock: anna and bert are known, carl walks through both."""
    place = make_place(tmp_path_factory.mktemp("rematching") / "place")
    job = yaml.safe_load((place / "job.yaml").read_text())
    job["outputs"] |= {"report": True}
    for camera in job["cameras"]:
        camera["start_time"] = "2026-05-04T10:00:00+02:00"
    (place / "job.yaml").write_text(yaml.safe_dump(job))
    run_job(load_job(place / "job.yaml"), place / "found", execution=Execution(SEGMENT_S))
    return place


@pytest.fixture
def place(made: Path) -> Path:
    """The place with what the module's tests change as it was; paths in the record stay right."""
    for name in ("again", "fresh"):
        shutil.rmtree(made / name, ignore_errors=True)
    for name in ("found", "gallery.db"):
        store, there = made.parent / f"kept-{name}", made / name
        if not store.exists():
            (shutil.copytree if there.is_dir() else shutil.copy)(there, store)
        elif there.is_dir():
            shutil.rmtree(there)
            shutil.copytree(store, there)
        else:
            shutil.copy(store, there)
    return made


def rematched(*words: object) -> Result:
    result = CliRunner().invoke(app, ["rematch", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def gallery(place: Path, *words: str) -> None:
    done = CliRunner().invoke(app, ["gallery", words[0], str(place / "gallery.db"), *words[1:]])
    assert done.exit_code == 0, done.output


def content(folder: Path) -> dict[str, object]:
    """All that an output says, but for when and how fast it was written."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            found[name] = (table.to_pylist(), table.schema.metadata)
        elif name == "job.json":
            record = json.loads(path.read_text())
            del record["seconds"], record["finished"]
            found[name] = record
        elif name == "report.html":
            text = path.read_text().replace(folder.name, "DIR")
            found[name] = text[: text.index("<footer>")]
        else:
            found[name] = path.read_bytes()
    return found


def test_names_given_later_are_written_as_another_match_writes_them(place: Path) -> None:
    number = next(row["number"] for row in read_strangers(place / "found").rows)
    gallery(place, "promote", str(place / "found"), f"unknown-{number}", "Carl")
    gallery(place, "rename", "bert", "Bertram")
    shutil.copytree(place / "found", place / "again")
    videos = [path.rename(path.with_suffix(".away")) for path in place.glob("*.avi")]
    try:
        done = rematched(place / "found")
    finally:
        for path in videos:
            path.rename(path.with_suffix(".avi"))
    assert "3 of 5 sightings have another name" in done.stdout
    run_job(load_job(place / "job.yaml"), place / "again", execution=Execution(SEGMENT_S))
    run_job(load_job(place / "job.yaml"), place / "fresh", execution=Execution(SEGMENT_S))
    ours, again, fresh = (content(place / name) for name in ("found", "again", "fresh"))
    assert ours.keys() == again.keys()
    for name, value in again.items():
        assert ours[name] == value, name
    # a job from the start measures other seconds for its segments, and begins a series of numbers of its own
    same = [name for name in fresh if not name.startswith(("kept-segments", "strangers"))]
    assert {name: ours[name] for name in same} == {name: fresh[name] for name in same}
    names = {
        row["provisional"] or row["identity"]
        for row in pq.read_table(place / "found/sightings.parquet").to_pylist()
    }
    assert names == {"anna", "Bertram", "Carl"}
    assert "nothing has changed since" in rematched(place / "found").stdout
    record = (place / "found" / "job.json").read_bytes()
    assert run_job(load_job(place / "job.yaml"), place / "found", execution=Execution(SEGMENT_S)).unchanged
    assert (place / "found" / "job.json").read_bytes() == record


def test_a_job_that_is_named_twice_is_named_anew_once(place: Path) -> None:
    gallery(place, "rename", "bert", "Bertram")
    (place / "aside").mkdir(exist_ok=True)
    again = place / "aside" / ".." / "found"
    assert rematched(place / "found", again).stdout.count("sightings have another name") == 1


def test_two_merged_are_one_and_others_keep_their_numbers(place: Path) -> None:
    before = {row["number"] for row in read_strangers(place / "found").rows}
    gallery(place, "merge", "bert", "anna")
    done = json.loads(rematched(place / "found", "--json").stdout)
    # bert is taken for anna, who was there at the same time: one of the two is nobody now
    assert [one["changed"] for one in done["jobs"]] == [2]
    rows = pq.read_table(place / "found/sightings.parquet").to_pylist()
    assert {row["identity"] for row in rows} == {"anna", "unknown"}
    assert before < {row["number"] for row in read_strangers(place / "found").rows}


def test_a_job_without_a_gallery_gets_one(place: Path) -> None:
    job = yaml.safe_load((place / "job.yaml").read_text())
    del job["gallery"]
    (place / "without.yaml").write_text(yaml.safe_dump(job))
    run_job(load_job(place / "without.yaml"), place / "again", execution=Execution(SEGMENT_S))
    rematched(place / "again", "--gallery", place / "gallery.db")
    ours, named = (pq.read_table(place / name / "sightings.parquet") for name in ("again", "found"))
    columns = [name for name in ours.column_names if name != "provisional"]
    assert ours.select(columns).equals(named.select(columns))


def test_videos_with_other_names_are_taken_out_and_drawn_by_the_next_match(place: Path) -> None:
    job = yaml.safe_load((place / "job.yaml").read_text())
    job["outputs"] |= {"video": True}
    (place / "drawn.yaml").write_text(yaml.safe_dump(job))
    drawn = load_job(place / "drawn.yaml")
    run_job(drawn, place / "again", execution=Execution(SEGMENT_S))
    gallery(place, "rename", "bert", "Bertram")  # who is in camera one alone
    done = rematched(place / "again")
    assert "taken out, other names are drawn: annotated-one.webm" in done.stderr
    assert [path.name for path in (place / "again").glob("*.webm")] == ["annotated-two.webm"]
    names = pq.read_table(place / "again/sightings.parquet")["identity"].to_pylist()
    assert "Bertram" in names
    result = run_job(drawn, place / "again", execution=Execution(SEGMENT_S))
    assert result.seen_before and (place / "again" / "annotated-one.webm").is_file()


def test_what_cannot_be_named_anew_is_one_line_and_no_job_is_changed(place: Path) -> None:
    gallery(place, "rename", "bert", "Bertram")
    shutil.copytree(place / "found", place / "again")
    kept = JobFolder(place / "again").kept
    before = content(place / "found")
    (kept.path / "one-00001" / "tracklets.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReidError, match=r"one-00001.* is damaged"):
        rematched(place / "found", place / "again")
    shutil.rmtree(kept.path / "one-00001")
    with pytest.raises(ReidError, match="is not all of what the job has seen"):
        rematched(place / "found", place / "again")
    shutil.rmtree(kept.path)
    with pytest.raises(UsageError, match="holds no kept-segments"):
        rematched(place / "found", place / "again")
    with pytest.raises(UsageError, match=r"nobody\.db"):
        rematched(place / "found", "--gallery", place / "nobody.db")
    with Gallery.open(place / "other.db", "another", create=True) as other:
        assert other.version == 0
    with pytest.raises(ReidError, match=r"found: gallery .*another"):
        rematched(place / "found", "--gallery", place / "other.db")
    (place / "other.db").unlink()
    assert content(place / "found") == before


_HELPER = """
import os, signal, sys
from pathlib import Path
import reid.files, serving.job.kept
from serving.job import outputs
from serving.job.afterwards import erasure, rematch

folder = Path(sys.argv[1])
kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
def after(call):
    def both(*a, **k):
        call(*a, **k)
        kill()
    return both
points = {"embeddings": (outputs, "write_embeddings", kill), "boxes": (outputs, "_write_detections", kill),
          "keep": (outputs, "keep", after(outputs.keep)), "store": (erasure, "keep_embeddings", kill),
          "tables": (erasure, "write_detections", kill), "put": (reid.files, "_put", kill),
          "swap": (reid.files, "_put", after(reid.files._put))}
work = {"rematch": lambda: rematch.rematch([folder]),
        "forget": lambda: erasure.forget(folder, ["anna"])}
for name in sys.argv[3:]:
    if not (child := os.fork()):
        owner, what, instead = points[name]
        setattr(owner, what, instead)
        work[sys.argv[2]]()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, name
    print(*sorted(str(p.relative_to(folder)) for p in folder.rglob("*")))
"""


@pytest.mark.parametrize(
    ("work", "points"),
    [
        ("rematch", ["embeddings", "boxes", "keep", "put", "swap"]),
        ("forget", ["store", "tables", "put", "swap"]),
    ],
)
def test_killed_at_any_point_the_stores_are_whole_and_the_same_again_ends_it(
    place: Path, work: str, points: list[str]
) -> None:
    gallery(place, "rename", "bert", "Bertram")
    before = content(place / "found")
    *early, swap = points
    for names in (early, [swap]):
        helper = subprocess.run(
            [sys.executable, "-c", _HELPER, str(place / "found"), work, *names],
            capture_output=True, text=True, timeout=300, check=False, env=os.environ,
        )  # fmt: skip
        assert helper.returncode == 0, helper.stderr
        assert len(set(helper.stdout.splitlines())) == 1
        assert (content(place / "found") == before) == (names is early)
    rows = pq.read_table(place / "found/sightings.parquet").to_pylist()
    stored = pq.read_table(place / "found/embeddings.parquet")
    assert stored["tracklet"].to_pylist() == [row["tracklet"] for row in rows]
    names = {row["identity"] for row in rows}
    assert names == ({"anna", "Bertram", "unknown"} if work == "rematch" else {"bert", "unknown"})
    done = rematched(place / "found")
    assert ("already done" in done.stdout) == (work == "rematch")
