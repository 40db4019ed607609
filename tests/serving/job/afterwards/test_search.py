"""Where else was this person: by picture, by sighting and by name, over several jobs' outputs."""

import json
import re
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from pipelines.cli import app
from reid.card import Certainty, load_card, save_card
from reid.errors import ReidError, UsageError
from reid.evaluation.certainty import prior_of
from serving.job.afterwards.route import route_of
from serving.job.afterwards.search import (
    Found,
    Seen,
    certainty_of,
    find,
    of_name,
    of_sighting,
    open_seen,
    together,
)
from serving.job.layout import SIGHTINGS, JobFolder
from serving.job.run import run_job
from serving.job.sightings.embeddings import read_embeddings, write_embeddings
from serving.spec import load_job
from tests.serving.detection.tiny_detectors import HEIGHT, WIDTH, Detected, detector_file, yolov8
from tests.serving.execution_job import make_place
from tests.serving.job.folders import EVIL, sighting
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
    write_embeddings(files.embeddings, [*who[1:], ("nowhere", 1)], rows, "another")
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


def test_a_jobs_output_is_no_query_and_each_job_counts_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    done = CliRunner().invoke(app, ["find", "anna.png", "--in", "one", "two"])
    assert isinstance(done.exception, UsageError) and not done.stdout
    assert "two is a job's output and no query: name it by --in two" in str(done.exception)
    once = CliRunner().invoke(app, ["find", "--sighting", "one#one-00001", "--in", "one", "--json"])
    twice = ["find", "--sighting", "one#one-00001", "--in", "one", "--in", str(place / "one"), "--json"]
    assert once.exit_code == 0 and CliRunner().invoke(app, twice).stdout == once.stdout
    done = CliRunner().invoke(app, ["find", "--sighting", "two#two-00001", "--in", "one"])
    assert "two is not among --in: add --in two" in str(done.exception)


def test_a_page_is_refused_before_the_search_where_it_would_take_anothers_place(
    place: Path, tmp_path: Path
) -> None:
    job = Path(shutil.copytree(place / "one", tmp_path / "one"))
    own = JobFolder(job).report
    own.write_text("<!doctype html>the job's own")
    for page, told in (
        (
            own,
            "is the place of that job's own report: name another file",
        ),
        (job, "is a folder: name a file in it"),
        (place / "gallery.db", "is there and is no page"),
    ):
        for words in (
            ["find", "--person", "anna", "--in", str(job), "--report", str(page)],
            ["report", str(job), str(place / "two"), "--out", str(page)],
        ):
            done = CliRunner().invoke(app, words)
            assert isinstance(done.exception, UsageError) and told in str(done.exception)
            assert "\n" not in str(done.exception) and done.stdout == ""
    own.unlink()
    done = CliRunner().invoke(app, ["find", "--person", "anna", "--in", str(job), "--report", str(own)])
    assert isinstance(done.exception, UsageError) and not own.exists()
    assert CliRunner().invoke(app, ["report", str(job)]).exit_code == 0 and own.exists()


def picture_of(path: Path, people: dict[str, tuple[int, int]], wide: bool = True) -> Path:
    """A picture with people, by the left upper corner of each."""
    image = np.full((160, 240 if wide else 100, 3), 90, np.uint8)
    for name, (x, y) in people.items():
        image[y : y + 64, x : x + 24] = person(name)
    cv2.imwrite(str(path), image)
    return path


def detector_of(path: Path, *boxes: tuple[float, float, float, float]) -> Path:
    """A file that answers these boxes, in pixels of a picture of 160 x 240."""
    scale = min(HEIGHT / 160, WIDTH / 240)
    scaled = [Detected((x0 * scale, y0 * scale, x1 * scale, y1 * scale), 0, 0.9) for x0, y0, x1, y1 in boxes]
    return detector_file(path, yolov8(scaled, 2))


def test_a_picture_with_people_is_looked_at_where_the_person_is(place: Path, tmp_path: Path) -> None:
    both = picture_of(tmp_path / "both.png", {"anna": (20, 30), "carl": (150, 60)})
    best = {name: found(place, str(place / f"{name}.png"))[0] for name in ("anna", "carl")}
    assert best["anna"]["crop"] != best["carl"]["crop"]
    for name, box in (("anna", "20,30,24,64"), ("carl", "150,60,24,64")):
        assert found(place, str(both), "--box", box)[0]["crop"] == best[name]["crop"]
    two = detector_of(tmp_path / "two.onnx", (20, 30, 44, 94), (149, 57, 176, 126))
    done = asked(place, str(both), "--detector", str(two), "--json")
    assert json.loads(done.stdout)["sightings"][0]["crop"] == best["carl"]["crop"]  # the larger box
    assert "shows 2 people: looking for the largest, --box 1" in done.stderr
    assert done.stderr.count("\n") == 1 and "others: 20,30,24,64" in done.stderr
    nobody = detector_of(tmp_path / "nobody.onnx")
    with_nobody = asked(place, str(both), "--detector", str(nobody))
    assert isinstance(with_nobody.exception, ReidError)
    assert "shows nobody to" in str(with_nobody.exception)
    assert "is wider than high" in asked(place, str(both)).stderr
    for words, told in (
        ((str(both), "--box", "1,2,3"), "want LEFT,TOP,WIDTH,HEIGHT"),
        ((str(both), "--box", "900,2,3,3"), "lies outside"),
        ((str(both), str(place / "anna.png"), "--box", "1,2,30,30"), "2 are named"),
        (("--person", "anna", "--box", "1,2,30,30"), "are of pictures"),
    ):
        done = asked(place, *words)
        assert isinstance(done.exception, UsageError) and told in str(done.exception)


def calibrated(place: Path, tmp_path: Path) -> Path:
    """The model with a certainty in its card."""
    model = Path(shutil.copytree(place / "model", tmp_path / "model"))
    card = load_card(model)
    save_card(card.model_copy(update={"certainty": Certainty(middle=0.4, slope=30)}), model)
    return model


def test_certainty_falls_with_the_distance_and_with_how_few_are_the_persons(
    place: Path, tmp_path: Path
) -> None:
    assert all(row["certainty"] is None for row in found(place, "--person", "anna"))
    model = calibrated(place, tmp_path)
    rows = found(place, "--person", "anna", "--model", str(model))
    sure = [row["certainty"] for row in rows]
    assert sure == sorted(sure, reverse=True) and sure[0] > 0.9 > 0.1 > sure[-1]
    rng = np.random.default_rng(3)
    certainty = Certainty(middle=0.9, slope=12)
    for share in (0.02, 0.3):  # of sightings drawn so that the calibration is right
        same = rng.random(40_000) < share
        distance = rng.uniform(0.3, 1.5, 400_000)
        likely = certainty.of(distance, 0.5)
        own = distance[rng.random(len(distance)) < likely]
        other = distance[rng.random(len(distance)) < 1 - likely]
        seen = np.where(same, own[: len(same)], other[: len(same)])
        scale = len(own) / len(other)  # the two densities as drawn have these weights
        right = Certainty(middle=0.9 + np.log(1 / scale) / 12, slope=12)
        assert prior_of(right, seen.astype(np.float32)) == pytest.approx(share, rel=0.15)


def test_the_answer_is_a_page_with_the_way_in_order_of_time(place: Path, tmp_path: Path) -> None:
    for folder, hour in (("one", 9), ("two", 8)):  # the second job was earlier
        copy = Path(shutil.copytree(place / folder, tmp_path / folder))
        files = JobFolder(copy)
        rows = files.read_sightings().to_pylist()
        for row in rows:
            for which in ("start", "end"):
                clock = datetime(2026, 5, 4, hour, tzinfo=UTC) + timedelta(seconds=row[f"{which}_s"])
                row[f"{which}_time"] = clock
            row["identity"] = EVIL if row["identity"] == "anna" else row["identity"]
        pq.write_table(pa.Table.from_pylist(rows, schema=SIGHTINGS), files.sightings)
    page = tmp_path / "answer.html"
    words = ["find", "--person", EVIL, "--in", str(tmp_path / "one"), "--in", str(tmp_path / "two")]
    words += ["--model", str(calibrated(place, tmp_path)), "--report", str(page)]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    way = re.findall(r"<b>(\d)\. (\w+)</b><span class=\"time\">2026-05-04 (\d\d)", text)
    assert way == [("1", "two", "08"), ("2", "one", "09")]
    assert "60 min later" in text and text.count("<meter") == text.count("<article") == 5
    assert EVIL not in text and "&lt;script&gt;alert" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)  # nothing is loaded from outside
    assert text.count("<img") >= 7  # the crops are inside


def test_sightings_at_one_time_in_two_cameras_are_pointed_out() -> None:
    def at(camera: str, start: float, end: float) -> Found:
        return Found(Path("a"), sighting(camera, 1, "anna", start, end, 0.1), 0.1, True, None)

    stops = route_of([at("west", 5, 15), at("east", 0, 10), at("east", 100, 400), at("west", 7200, 7300)])
    assert [(stop.found.row["camera"], stop.after, stop.overlaps) for stop in stops] == [
        ("east", "", False),
        ("west", "at the same time", True),
        ("east", "85 s later", False),
        ("west", "113 min later", False),
    ]
    assert stops[0].at == (0.0, 10.0)


def test_certainty_is_moved_by_people_who_are_seen_together(place: Path, tmp_path: Path) -> None:
    def seen(spans: list[tuple[str, float, float]], rows: np.ndarray) -> Seen:
        sightings = [sighting(camera, n, "anna", *span, 0.1) for n, (camera, *span) in enumerate(spans)]
        cameras = np.array([int(camera[1:]) for camera, *_ in spans], np.int64)
        times = np.array([span for _, *span in spans], np.float64).reshape(-1, 2)
        model = place / "model"
        return Seen(tmp_path, tuple(sightings), rows, "tiny-1", 0.5, model, None, cameras, times)

    rng = np.random.default_rng(2)
    rows = rng.standard_normal((30, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    spans = [(f"c{n % 3}", 100.0 * (n // 6) + n % 6 // 3, 100.0 * (n // 6) + 7.0) for n in range(30)]
    spans[3] = ("c0", 6.7, 8.0)  # a handover of 0.3 s
    found = together([seen(spans[:18], rows[:18]), seen(spans[18:], rows[18:])])
    plain = [
        float(np.linalg.norm(rows[i] - rows[j]))
        for i in range(30)
        for j in range(i)
        if spans[i][0] == spans[j][0] and min(spans[i][2], spans[j][2]) - max(spans[i][1], spans[j][1]) > 0.5
    ]
    assert len(plain) == 14  # of other cameras none
    assert sorted(found.tolist()) == pytest.approx(sorted(plain), abs=1e-6)
    model = Path(shutil.copytree(place / "model", tmp_path / "model"))
    card = load_card(model)
    sure = Certainty(middle=0.9, slope=30, apart=1.0)
    save_card(card.model_copy(update={"certainty": sure}), model)
    moved = certainty_of([seen(spans, rows)], model)
    assert moved is not None and moved.middle == pytest.approx(0.9 + np.mean(plain) - 1.0, abs=1e-6)
    assert certainty_of([seen(spans[:12], rows[:12])], model) == sure  # too few pairs
    many = seen([("c0", 0.1 * n, 0.1 * n + 9) for n in range(2000)], np.repeat(rows, 67, axis=0)[:2000])
    assert len(together([many, many])) == 3000  # over all jobs
    assert len(together([seen([], rows[:0])])) == 0
