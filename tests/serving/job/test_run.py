import json
import shutil
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import save_file
from typer.testing import CliRunner

from pipelines.cli import app
from reid.card import Threshold, load_card, save_card
from reid.errors import ReidError, UsageError
from reid.images import read_image
from reid.model_files import PAIR_METRIC
from serving.gallery import Gallery
from serving.job.progress import Progress
from serving.job.run import Execution, run_job
from serving.job.stranger_file import read_strangers
from serving.runtime import load
from serving.scoring import score_job
from serving.scoring.crops import cut_crops
from serving.spec import Job, load_job
from tests.serving.tiny_footage import Walk, background, person, write_truth, write_video, write_walks
from tests.serving.tiny_models import tiny_model, with_self_test

IDS = {"anna": 1, "bert": 2, "carl": 3}
WALKS = [
    Walk("anna", (-12, 88), (3, 0), 8, 125),
    Walk("bert", (332, 165), (-3, 0), 20, 137),
    Walk("carl", (-12, 238), (3, 0), 60, 177),
]
FRAMES = 310
SHORT = Execution(segment_s=5.0)
LIMIT = Threshold(policy="min", unit="tracklet", false_accept_rate=0.01, distance=0.35)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a gallery of anna and bert, footage of three people with truth, and footage of nobody."""
    folder = tmp_path_factory.mktemp("job")
    tiny_model(folder / "model", thresholds=(LIMIT,))
    embedder = load(folder / "model")
    with Gallery.open(folder / "gallery.db", embedder.fingerprint, create=True) as gallery:
        for name in ("anna", "bert"):
            gallery.enroll(f"{IDS[name]:04d}", embedder([np.ascontiguousarray(person(name)[:, :, ::-1])]))
    write_walks(folder / "walk.avi", WALKS, FRAMES)
    write_truth(folder / "gt.txt", WALKS, FRAMES, IDS)
    write_video(folder / "empty.avi", [background()] * 40)
    return folder


def job_file(place: Path, name: str, cameras: list[dict[str, object]], **more: object) -> Path:
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"cameras": cameras, "model": "model", "gallery": "gallery.db", **more}))
    return path


def job_of(place: Path, name: str, cameras: list[dict[str, object]], **more: object) -> Job:
    return load_job(job_file(place, name, cameras, **more))


WALK = {"id": "hall", "source": "walk.avi", "start_time": "2026-05-04T10:00:00+00:00"}


@pytest.fixture(scope="module")
def done(place: Path) -> Path:
    return run_job(job_of(place, "done", [WALK]), place / "done").out


def test_the_learned_metric_decides_between_the_near(place: Path, tmp_path: Path) -> None:
    """One that takes the alike for different turns round the names of those near enough to several people."""
    job = job_of(place, "rescored", [WALK], rescore=True, threshold=2.0)
    with pytest.raises(UsageError, match="has no learned metric"):
        run_job(job, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shutil.copytree(place / "model", tmp_path / "model")
    dim = load(tmp_path / "model").card.dim
    zeros, ones = np.zeros(dim, np.float32), np.ones(dim, np.float32)
    names = []
    for number, difference in enumerate((ones, -ones)):
        save_file(
            {"difference": difference, "product": zeros, "bias": np.zeros((), np.float32)},
            tmp_path / "model" / PAIR_METRIC,
        )
        changed = job.model_copy(update={"model": str(tmp_path / "model")})
        result = run_job(changed, tmp_path / f"out{number}")
        assert result.summary["decision"]["rescore"] is True
        rows = pq.read_table(tmp_path / f"out{number}" / "sightings.parquet").to_pylist()
        names.append({row["identity"] for row in rows if row["identity"] != "unknown"})
        plain = [
            min(row["distance"], row["runner_up_distance"]) == row["distance"]
            for row in rows
            if row["identity"] != "unknown"
        ]
        assert all(plain) if number == 0 else not any(plain)
    assert names[0]


def test_nobody_is_named_between_two_who_look_alike(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "gallery.db", tmp_path / "twins.db")
    embedder = load(place / "model")
    with Gallery.open(tmp_path / "twins.db", embedder.fingerprint) as gallery:
        gallery.enroll("twin", embedder([np.ascontiguousarray(person("anna")[:, :, ::-1])]))
    named = {}
    for ratio in (0.95, 1.0):
        job = job_of(place, "twins", [WALK], ratio_test=ratio).model_copy(
            update={"gallery": str(tmp_path / "twins.db")}
        )
        rows = pq.read_table(run_job(job, tmp_path / f"out{ratio}").out / "sightings.parquet").to_pylist()
        assert {rows[0]["nearest"], rows[0]["runner_up"]} == {"0001", "twin"}
        assert rows[0]["certainty"] < 0.01
        named[ratio] = [row["identity"] for row in rows]
    assert named[0.95] == ["unknown", "0002", "unknown"]
    assert named[1.0] in (["0001", "0002", "unknown"], ["twin", "0002", "unknown"])


def test_everybody_is_seen_and_named(place: Path, done: Path) -> None:
    score = score_job(done, {"hall": place / "gt.txt"}).total
    assert score.naming.right == 3
    assert (score.naming.wrong, score.naming.unknown, score.naming.no_truth) == (0, 0, 0)
    assert score.idf1 > 0.85
    assert score.mota > 0.7


def test_sightings_say_where_when_and_how_sure(done: Path) -> None:
    rows = pq.read_table(done / "sightings.parquet").to_pylist()
    assert [row["identity"] for row in rows] == ["0001", "0002", "unknown"]
    assert [row["tracklet"] for row in rows] == [1, 2, 3]
    for row, walk in zip(rows, WALKS, strict=True):
        assert abs(row["start_frame"] - walk.first) <= 12
        assert abs(row["end_frame"] - walk.last) <= 12
        assert row["start_s"] == pytest.approx((row["start_frame"] - 1) / 10)
        assert row["start_time"].isoformat()[:16] == "2026-05-04T10:00"
        assert (row["end_time"] - row["start_time"]).total_seconds() == pytest.approx(
            row["end_s"] - row["start_s"]
        )
        x0, y0, *_ = walk.box(row["best_frame"])
        assert abs(row["x"] - x0) < 8
        assert abs(row["y"] - y0) < 8
        assert row["threshold"] == LIMIT.distance
        assert (row["distance"] <= row["threshold"]) == (row["identity"] != "unknown")
        assert row["certainty"] >= 0
        crop = read_image(done / row["crop"])[:, :, ::-1]
        wanted = person(walk.name)
        middle = crop[crop.shape[0] // 8, crop.shape[1] // 2].astype(int)
        assert np.abs(middle - wanted[4, 12]).max() < 60


def test_boxes_carry_the_names_of_their_sightings(done: Path) -> None:
    names = {
        row["tracklet"]: row["identity"] for row in pq.read_table(done / "sightings.parquet").to_pylist()
    }
    table = pq.read_table(done / "detections.parquet")
    assert {row["tracklet"] for row in table.select(["tracklet"]).to_pylist()} == set(names)
    assert all(names[row["tracklet"]] == row["identity"] for row in table.to_pylist())
    frames = table["frame"].to_numpy()
    assert (np.diff(frames) >= 0).all()
    assert (frames.min() >= 1) and (frames.max() <= FRAMES)


def test_the_record_says_what_was_done_with_what(place: Path, done: Path) -> None:
    record = json.loads((done / "job.json").read_text())
    assert record["model"]["fingerprint"] == "tiny-1"
    known = {"identities": ["0001", "0002"], "version": 2, "references": 2, "index": None}
    assert record["gallery"] == known
    assert record["decision"] == {
        "policy": "min",
        "top_k": 3,
        "ratio_test": 0.95,
        "rescore": False,
        "threshold": 0.35,
        "from": "model card, calibrated for one tracklet",
    }
    assert record["counts"]["frames"] == FRAMES
    assert (record["counts"]["sightings"], record["counts"]["named"], record["counts"]["unknown"]) == (
        3,
        2,
        1,
    )
    assert record["counts"]["detections"] == pq.read_table(done / "detections.parquet").num_rows
    assert record["problems"] == []
    assert {"detection", "tracking", "embedding", "video", "wall"} <= record["seconds"].keys()
    assert not list(place.glob(".*work"))


def _packets(path: Path) -> list:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def test_the_annotated_video_is_vp8_in_webm_with_every_frame(done: Path) -> None:
    with av.open(str(done / "annotated-hall.webm")) as container:
        stream = container.streams.video[0]
        assert (container.format.name, stream.codec_context.name) == ("matroska,webm", "vp8")
        images = [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]
        times = [float(packet.pts * stream.time_base) for packet in _packets(done / "annotated-hall.webm")]
    assert len(images) == FRAMES
    np.testing.assert_allclose(times, np.arange(FRAMES) / 10, atol=2e-3)
    assert images[0].shape == (240, 320, 3)
    rows = pq.read_table(done / "detections.parquet").to_pylist()
    row = next(row for row in rows if row["frame"] == 80)
    assert not list(done.glob(".*"))
    # On the edge of a box there is its colour and not the ground's.
    x, y = round(row["x"]), round(row["y"] + row["h"] / 2)
    assert np.abs(images[79][y, x].astype(int) - background()[y, x].astype(int)).max() > 30


def test_a_part_of_the_frames_and_every_other_one(place: Path) -> None:
    camera = WALK | {"frames": [41, 140], "step": 2}
    out = run_job(
        job_of(place, "part", [camera], outputs={"video": False, "report": False, "crops": False}),
        place / "part",
    ).out
    frames = pq.read_table(out / "detections.parquet")["frame"].to_numpy()
    assert frames.min() >= 41
    assert frames.max() <= 140
    assert set(frames % 2) == {1}
    assert json.loads((out / "job.json").read_text())["counts"]["frames"] == 50
    assert sorted(path.name for path in out.iterdir()) == [
        *("detections.parquet", "embeddings.parquet", "job.json", "kept-segments"),
        *("sightings.parquet", "strangers.parquet"),
    ]


def test_cutting_into_segments_changes_no_sighting(place: Path, done: Path) -> None:
    job = job_of(place, "cut", [WALK], outputs={"video": False})
    out = run_job(job, place / "cut", execution=SHORT).out
    whole, cut = (pq.read_table(folder / "sightings.parquet").to_pylist() for folder in (done, out))
    assert [row["identity"] for row in cut] == [row["identity"] for row in whole]
    for one, other in zip(whole, cut, strict=True):
        assert abs(one["start_frame"] - other["start_frame"]) <= 3
        assert abs(one["end_frame"] - other["end_frame"]) <= 3
    assert score_job(out, {"": place / "gt.txt"}).total.mota > 0.7
    assert score_job(out, {"": place / "gt.txt"}).total.id_switches == 0


def test_what_is_mostly_doubtful_is_nobody(place: Path) -> None:
    lines = []
    for number in range(1, 61):
        sure = 0.9 if number < 30 else 0.3
        lines.append(f"{number},-1,40,100,30,80,{0.9 if number < 20 else 0.3}")  # less than half of them
        lines.append(f"{number},-1,200,100,30,80,{sure if number < 55 else 0.9}")  # more than half
    (place / "det.txt").write_text("\n".join(lines))
    camera = {"id": "hall", "source": "walk.avi", "frames": [1, 60], "detections": "det.txt"}
    job = job_of(
        place, "doubt", [camera], detector={"name": "mot"}, outputs={"video": False, "report": False}
    )
    rows = pq.read_table(run_job(job, place / "doubt").out / "sightings.parquet").to_pylist()
    assert len(rows) == 1
    assert 190 < rows[0]["x"] < 210


class _StopAfter(Progress):
    def __init__(self, frames: int) -> None:
        self.left = frames
        self.seen = 0

    def advance(self, camera: str) -> None:
        self.seen += 1
        if self.seen == self.left:
            raise KeyboardInterrupt


def test_a_stopped_job_goes_on_where_it_was_and_ends_the_same(place: Path) -> None:
    job = job_of(place, "stopped", [WALK], outputs={"video": False, "report": False})
    straight = run_job(job, place / "straight", execution=SHORT).out
    with pytest.raises(KeyboardInterrupt):
        run_job(job, place / "stopped", _StopAfter(130), SHORT)
    assert not (place / "stopped").exists()
    kept = sorted(path.name for path in (place / ".stopped.work").iterdir())
    assert kept == ["hall-00000", "hall-00001", "ledger.json"]
    marks = {name: (place / ".stopped.work" / name).stat().st_mtime_ns for name in kept[:2]}

    class Watch(Progress):
        def done(self, camera: str, problem: str | None) -> None:
            assert {name: (place / ".stopped.work" / name).stat().st_mtime_ns for name in marks} == marks

    out = run_job(job, place / "stopped", Watch(), SHORT).out
    for name in ("sightings", "detections"):
        assert pq.read_table(out / f"{name}.parquet").equals(pq.read_table(straight / f"{name}.parquet"))
    assert not (place / ".stopped.work").exists()


def test_segments_of_other_footage_are_not_taken_up(place: Path, tmp_path: Path) -> None:
    video = write_walks(tmp_path / "v.avi", WALKS[:1], 130)
    camera = {"id": "hall", "source": str(video)}
    job = job_of(place, "changed", [camera], outputs={"video": False, "report": False})
    with pytest.raises(KeyboardInterrupt):
        run_job(job, tmp_path / "out", _StopAfter(80), SHORT)
    write_video(video, [background()] * 130)
    assert run_job(job, tmp_path / "out", execution=SHORT).summary["counts"]["sightings"] == 0


def test_nobody_in_the_footage_is_an_answer(place: Path) -> None:
    path = job_file(place, "nobody", [{"id": "c", "source": "empty.avi"}])
    metrics = place / "reid.prom"
    result = CliRunner().invoke(
        app, ["match", str(path), "--out", str(place / "no"), "--json-lines", "--metrics", str(metrics)]
    )
    assert result.exit_code == 0, result.output
    assert "nobody was seen in 40 frames" in result.stdout
    assert json.loads(result.stderr.splitlines()[-1]) == {
        "event": "done",
        "camera": "c",
        "done": 40,
        "problem": None,
    }
    assert 'reid_frames_total{camera="c"} 40' in metrics.read_text()
    assert pq.read_table(place / "no" / "sightings.parquet").num_rows == 0
    assert pq.read_table(place / "no" / "detections.parquet").num_rows == 0
    assert "Nobody was seen." in (place / "no" / "report.html").read_text()


def test_one_bad_camera_does_not_stop_the_others(place: Path) -> None:
    (place / "zero.avi").touch()
    (place / "cut.avi").write_bytes((place / "walk.avi").read_bytes()[:60_000])
    cameras = [
        {"id": "gone", "source": "gone.avi"},
        {"id": "zero", "source": "zero.avi"},
        {"id": "cut", "source": "cut.avi"},
        {"id": "late", "source": "walk.avi", "frames": [500, 600]},
        WALK,
    ]
    path = job_file(place, "bad", cameras, outputs={"video": False})
    result = CliRunner().invoke(app, ["match", str(path), "--out", str(place / "bad"), "--quiet"])
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert "camera gone: video" in lines[0] and "gone.avi does not exist" in lines[0]
    assert "camera zero: video" in lines[1] and "is empty" in lines[1]
    assert "camera cut: video" in lines[2] and "is cut off" in lines[2]
    assert "camera late: frames [500, 600] are not in video" in lines[3]
    record = json.loads((place / "bad" / "job.json").read_text())
    assert record["problems"] == lines
    assert record["counts"]["cameras"]["hall"]["sightings"] == 3
    assert record["counts"]["cameras"]["cut"]["frames"] > 0
    assert all(line.split(":")[0] in (place / "bad" / "report.html").read_text() for line in lines)


def test_no_camera_at_all_leaves_nothing(place: Path) -> None:
    job = job_of(place, "none", [{"id": "gone", "source": "gone.avi"}])
    with pytest.raises(ReidError, match=r"camera gone: video .*gone\.avi does not exist"):
        run_job(job, place / "none")
    assert not (place / "none").exists()
    assert not (place / ".none.work").exists()


def test_the_output_of_another_job_is_not_overwritten(place: Path, done: Path) -> None:
    job = job_of(place, "other", [{"id": "c", "source": "empty.avi"}])
    with pytest.raises(UsageError, match=r"output folder .*done is that of another job"):
        run_job(job, done)
    (place / "mine").mkdir()
    (place / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(UsageError, match=r"output folder .*mine holds something else"):
        run_job(job, place / "mine")
    assert (place / "mine" / "letter.txt").read_text() == "keep me"


def test_the_same_job_may_be_run_again(place: Path) -> None:
    job = job_of(place, "again", [{"id": "c", "source": "empty.avi"}])
    run_job(job, place / "again")
    (place / "again" / "old.txt").touch()
    (place / "again" / "report.html").unlink()
    run_job(job, place / "again")
    assert (place / "again" / "report.html").is_file()
    assert not (place / "again" / "old.txt").exists()


def test_strangers_keep_their_numbers_in_later_jobs_and_can_be_named(place: Path, done: Path) -> None:
    (stranger,) = read_strangers(done).rows
    assert (stranger["camera"], stranger["tracklet"], stranger["number"]) == ("hall", 3, 1)
    assert stranger["end"] - stranger["start"] > 5
    assert (done / stranger["crop"]).is_file()
    brief = {"crops": False, "video": False, "report": False}
    next_day, after = (
        {"id": "yard", "source": "walk.avi", "frames": [70, 130], "start_time": f"2026-05-0{day}T10:00Z"}
        for day in (5, 6)
    )
    cases = {
        "apart": (next_day, {}, 1),  # a job on its own begins to count anew
        "later": (next_day, {"earlier": ["done"]}, 1),
        "later still": (after, {"earlier": ["later", "done"]}, 1),
        "twice": (next_day, {"earlier": ["later"]}, 2),  # nobody is twice in one camera at one time
        "far": (
            next_day,
            {"earlier": ["done"], "travel": [{"between": ["hall", "yard"], "at_least_s": 2 * 86400}]},
            2,
        ),
    }
    for name, (camera, more, number) in cases.items():
        run_job(job_of(place, name, [camera], outputs=brief, **more), place / name)
        names = [
            row["provisional"]
            for row in pq.read_table(place / name / "sightings.parquet").to_pylist()
            if row["identity"] == "unknown"
        ]
        assert (name, names) == (name, [f"unknown-{number}"])
    shutil.copy(place / "gallery.db", place / "named.db")
    result = CliRunner().invoke(
        app,
        ["gallery", "promote", str(place / "named.db"), str(place / "later"), "unknown-1", "0003", "--json"],
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sightings"] == ["yard:3"]
    named = run_job(
        job_of(place, "named", [next_day], outputs=brief, gallery="named.db"), place / "named"
    ).summary
    assert (named["counts"]["named"], named["counts"]["unknown"]) == (3, 0)
    with pytest.raises(UsageError, match="camera 'yard', which the job has not"):
        job_of(place, "bad", [WALK], travel=[{"between": ["hall", "yard"], "at_least_s": 5}])
    with pytest.raises(UsageError, match="camera 'c', which has no start_time"):
        job_of(
            place,
            "bad",
            [WALK, {"id": "c", "source": "walk.avi"}],
            travel=[{"between": ["hall", "c"], "at_least_s": 5}],
        )


def test_a_gallery_of_another_model(place: Path, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g.db", "other-model", create=True) as gallery:
        gallery.enroll("x", np.eye(6, dtype=np.float32)[:1])
    job = job_of(place, "model", [WALK], gallery=str(tmp_path / "g.db"))
    with pytest.raises(ReidError, match="holds embeddings of model other-model"):
        run_job(job, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_threshold_for_the_policy(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no calibrated threshold for the policy 'mean'"):
        run_job(job_of(place, "mean", [WALK], policy="mean"), tmp_path / "out")
    record = run_job(
        job_of(place, "own", [{"id": "c", "source": "empty.avi"}], policy="mean", threshold=0.4),
        tmp_path / "out",
    ).summary
    assert record["decision"]["threshold"] == 0.4
    assert record["decision"]["from"] == "job"


def test_an_empty_gallery_names_nobody(place: Path, tmp_path: Path) -> None:
    Gallery.open(tmp_path / "g.db", "tiny-1", create=True).close()
    out = run_job(
        job_of(place, "strangers", [WALK], gallery=str(tmp_path / "g.db"), outputs={"video": False}),
        tmp_path / "out",
    ).out
    rows = pq.read_table(out / "sightings.parquet").to_pylist()
    assert {row["identity"] for row in rows} == {"unknown"}
    assert {row["distance"] for row in rows} == {None}


def test_commands_score_and_report(place: Path, done: Path) -> None:
    run = CliRunner().invoke
    scored = run(app, ["score", str(done), "--truth", f"hall={place / 'gt.txt'}", "--json"])
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.output) == json.loads((done / "score.json").read_text())
    assert json.loads(scored.output)["total"]["named_right"] == 1
    text = run(app, ["score", str(done), "--truth", str(place / "gt.txt"), "--frames", "20-100"])
    assert text.output.startswith("hall: HOTA 0.")
    (done / "report.html").unlink()
    assert run(app, ["report", str(done)]).exit_code == 0
    assert (done / "report.html").is_file()


def test_crops_of_truth_are_named_for_enrolment(place: Path, tmp_path: Path) -> None:
    count = cut_crops(place / "walk.avi", place / "gt.txt", tmp_path / "crops", (30, 60), every=10, camera=4)
    names = sorted(path.name for path in (tmp_path / "crops").iterdir())
    assert len(names) == count
    assert names == [f"{one:04d}_c4_f{frame:06d}.jpg" for one in (1, 2) for frame in (30, 40, 50, 60)]
    crop = read_image(tmp_path / "crops" / names[0])[:, :, ::-1].astype(int)
    assert np.abs(crop - person("anna")).mean() < 15
    with pytest.raises(ReidError, match="is not empty"):
        cut_crops(place / "walk.avi", place / "gt.txt", tmp_path / "crops")
    with pytest.raises(ReidError, match="has no box in frames 180 to 190"):
        cut_crops(place / "walk.avi", place / "gt.txt", tmp_path / "none", (180, 190))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["5", "9-3", "0-4", "a-b", "1-2-3"])
def test_a_range_of_frames_that_is_none(place: Path, done: Path, text: str) -> None:
    result = CliRunner().invoke(app, ["score", str(done), "--truth", str(place / "gt.txt"), "--frames", text])
    assert isinstance(result.exception, UsageError)
    assert text in str(result.exception)


def test_a_url_with_a_password_is_nowhere_in_the_output(place: Path) -> None:
    cameras = [
        {"id": "net", "source": "http://user:s3cret@127.0.0.1:9/live?token=t0ken"},
        {"id": "c", "source": "empty.avi"},
    ]
    result = CliRunner().invoke(
        app, ["match", str(job_file(place, "net", cameras)), "--out", str(place / "net")]
    )
    assert result.exit_code == 3
    assert "http://127.0.0.1:9/live" in result.stderr
    written = [path.read_bytes() for path in (place / "net").rglob("*") if path.is_file()]
    for secret in ("s3cret", "t0ken"):
        assert secret not in result.output
        assert not any(secret.encode() in data for data in written)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_runs_the_precision_it_names(place: Path, workers: int) -> None:
    folder = place / f"int8-{workers}"
    with_self_test(folder / "model", int8=True, thresholds=(LIMIT,))
    card = load_card(folder / "model")
    # no other could be run by mistake
    save_card(card.model_copy(update={"files": {"int8": card.files["int8"]}}), folder / "model")
    job = job_of(place, f"int8-{workers}", [WALK | {"frames": [1, 60]}], precision="int8")
    job = job.model_copy(update={"model": str(folder / "model")})
    result = run_job(job, folder / "out", execution=Execution(segment_s=3.0, workers=workers))
    assert not result.problems
    out = result.out
    assert json.loads((out / "job.json").read_text())["model"]["precision"] == "int8"


def test_a_job_that_names_a_precision_the_model_lacks_is_refused_before_the_work(place: Path) -> None:
    with pytest.raises(UsageError, match="int8"):
        run_job(job_of(place, "lacks", [WALK], precision="int8"), place / "lacks")
    assert not (place / "lacks").exists()
