import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from reid.errors import ReidError, UsageError
from serving.job.layout import DETECTIONS, SIGHTINGS
from serving.scoring import NameAccuracy, read_people, score_job
from serving.scoring.names import name_sightings, true_identities
from tests.serving.tiny_footage import Walk, write_truth

WALKS = [Walk("anna", (30, 100), (4, 0), 1, 40), Walk("bert", (290, 220), (-4, 0), 11, 50)]
IDS = {"anna": 1, "bert": 2}


def output(
    folder: Path,
    camera: str,
    tracks: dict[int, tuple[Walk, str, range]],
    identities: list[str],
    cameras: list[str],
) -> Path:
    """A job's output in which tracklet ``number`` has the boxes of a walk in some frames, and a name."""
    folder.mkdir(exist_ok=True)
    boxes, sightings = [], []
    for number, (walk, name, frames) in tracks.items():
        for frame in frames:
            x0, y0, x1, y1 = walk.box(frame)
            boxes.append(
                {
                    "camera": camera,
                    "frame": frame,
                    "tracklet": number,
                    "x": x0,
                    "y": y0,
                    "w": x1 - x0,
                    "h": y1 - y0,
                }
                | {"confidence": 1.0, "identity": name}
            )
        sightings.append(
            {field.name: None for field in SIGHTINGS}
            | {"camera": camera, "tracklet": number, "identity": name}
        )
    pq.write_table(pa.Table.from_pylist(boxes, schema=DETECTIONS), folder / "detections.parquet")
    pq.write_table(pa.Table.from_pylist(sightings, schema=SIGHTINGS), folder / "sightings.parquet")
    record = {
        "job": {"cameras": [{"id": one} for one in cameras]},
        "gallery": {"identities": identities},
        "counts": {"cameras": {one: {"fps": 5.0} for one in cameras}},
    }
    (folder / "job.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write_truth(tmp_path / "gt.txt", WALKS, 60, IDS)


def test_a_perfect_job_scores_one(tmp_path: Path, truth: Path) -> None:
    tracks = {1: (WALKS[0], "0001", range(1, 41)), 2: (WALKS[1], "unknown", range(11, 51))}
    score = score_job(output(tmp_path / "out", "c1", tracks, ["0001"], ["c1"]), {"": truth}).total
    assert (score.hota, score.idf1, score.mota, score.id_switches) == pytest.approx((1, 1, 1, 0))
    assert (score.truth_boxes, score.boxes) == (80, 80)
    assert score.naming == NameAccuracy(right=2, wrong=0, unknown=0, no_truth=0)


def test_a_switch_of_identity_costs_what_the_definitions_say(tmp_path: Path, truth: Path) -> None:
    tracks = {
        1: (WALKS[0], "0001", range(1, 21)),
        2: (WALKS[0], "0002", range(21, 41)),
        3: (WALKS[1], "0002", range(11, 41)),
    }
    score = score_job(output(tmp_path / "out", "c1", tracks, ["0001", "0002"], ["c1"]), {"c1": truth}).total
    # 80 true boxes, 70 found and right in place, one switch; the best mapping keeps 20 + 30 of them.
    assert score.mota == pytest.approx((70 - 0 - 1) / 80)
    assert score.idf1 == pytest.approx(2 * 50 / (80 + 70))
    assert score.naming == NameAccuracy(right=2, wrong=1, unknown=0, no_truth=0)


def test_only_the_frames_asked_for_count(tmp_path: Path, truth: Path) -> None:
    tracks = {1: (WALKS[0], "1", range(1, 41))}
    folder = output(tmp_path / "out", "c1", tracks, ["1", "2"], ["c1"])
    assert score_job(folder, {"": truth}, frames=(1, 10)).total.mota == 1
    assert score_job(folder, {"": truth}, frames=(11, 50)).total.mota == pytest.approx(30 / 70)
    with pytest.raises(ReidError, match="has no box in the frames"):
        score_job(folder, {"": truth}, frames=(90, 99))


def test_two_cameras_are_counted_together(tmp_path: Path, truth: Path) -> None:
    one = output(
        tmp_path / "one",
        "c1",
        {1: (WALKS[0], "1", range(1, 41)), 2: (WALKS[1], "2", range(11, 51))},
        ["1", "2"],
        ["c1"],
    )
    both = output(tmp_path / "both", "c2", {1: (WALKS[0], "2", range(1, 41))}, ["1", "2"], ["c1", "c2"])
    for name in ("detections", "sightings"):
        table = pa.concat_tables([pq.read_table(folder / f"{name}.parquet") for folder in (one, both)])
        pq.write_table(table, both / f"{name}.parquet")
    score = score_job(both, {"c1": truth, "c2": truth})
    assert score.cameras["c1"].mota == 1
    assert score.cameras["c2"].mota == 0.5
    assert score.total.mota == 0.75
    assert score.total.naming == NameAccuracy(right=2, wrong=1, unknown=0, no_truth=0)
    assert score.as_dict()["total"]["named_right"] == pytest.approx(2 / 3)
    with pytest.raises(UsageError, match="has 2 cameras: name each truth as camera=file"):
        score_job(both, {"": truth})
    with pytest.raises(UsageError, match=r"camera 'c9' is not in job .*: it has c1, c2"):
        score_job(both, {"c9": truth})


def test_the_wait_for_the_first_right_name(tmp_path: Path, truth: Path) -> None:
    tracks = {
        1: (WALKS[0], "unknown", range(1, 11)),
        2: (WALKS[0], "0001", range(11, 21)),
        3: (WALKS[0], "0001", range(21, 41)),
        4: (WALKS[1], "0002", range(17, 51)),
    }
    folder = output(tmp_path / "out", "c1", tracks, ["0001", "0002"], ["c1"])
    # Anna is named right from frame 11 on, 10 after her first; Bert from 17 on, 6 after his; 5 frames are a
    # second.
    assert score_job(folder, {"": truth}).total.first_right_name_s == pytest.approx((10 + 6) / 2 / 5)
    nobody = output(tmp_path / "none", "c1", {1: (WALKS[0], "unknown", range(1, 41))}, ["0001"], ["c1"])
    assert score_job(nobody, {"": truth}).total.first_right_name_s is None


def test_names_are_compared_by_meaning() -> None:
    enrolled = frozenset({"0007", "bert"})
    true = {1: "7", 2: "7", 3: "7", 4: "99", 5: "99", 6: None, 7: "bert"}
    named = {1: "0007", 2: "unknown", 3: "bert", 4: "unknown", 5: "7", 6: "7", 7: "bert"}
    assert name_sightings(true, named, enrolled) == NameAccuracy(right=3, wrong=2, unknown=1, no_truth=1)


def test_a_sighting_is_whom_most_of_its_boxes_show(tmp_path: Path) -> None:
    from reid.mot import read_mot

    lines = [f"{n},{1 if n <= 4 else 2},0,0,10,30,1" for n in range(1, 11)]
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    (tmp_path / "found.txt").write_text(
        "\n".join(f"{n},5,1,0,10,30,1\n{n},6,80,0,10,30,1" for n in range(1, 11))
    )
    truth, found = read_mot(tmp_path / "gt.txt"), read_mot(tmp_path / "found.txt")
    assert true_identities(truth, found, {}) == {5: "2", 6: None}
    assert true_identities(truth, found, {"2": "0030"}) == {5: "30", 6: None}


def test_who_is_who_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("# comment\n14, 15\n\n18,15\n")
    assert read_people(path) == {"14": "15", "18": "15"}
    for wrong in ("14\n", "14,15\n14,16\n", ",3\n"):
        path.write_text(wrong)
        with pytest.raises(ReidError, match=r"people\.csv, line"):
            read_people(path)


def test_a_folder_that_is_no_output(tmp_path: Path, truth: Path) -> None:
    with pytest.raises(UsageError, match=r"job output .*detections\.parquet does not exist"):
        score_job(tmp_path, {"": truth})


def test_a_job_over_some_frames_is_scored_on_those(tmp_path: Path, truth: Path) -> None:
    """Truth of the whole clip beside a job that looked at a third of it: nothing is missed in what it looked
    at.
    """
    tracks = {1: (WALKS[0], "0001", range(20, 41)), 2: (WALKS[1], "0002", range(20, 41))}
    folder = output(tmp_path / "out", "c1", tracks, ["0001", "0002"], ["c1"])
    record = json.loads((folder / "job.json").read_text())
    whole = score_job(folder, {"": truth}).total
    record["job"]["cameras"][0]["frames"] = [20, 40]
    (folder / "job.json").write_text(json.dumps(record))
    part = score_job(folder, {"": truth}).total
    assert part.hota == part.idf1 == part.recall == pytest.approx(1)
    assert whole.hota < 0.8
    assert score_job(folder, {"": truth}, (1, 60)).total.hota == pytest.approx(whole.hota), (
        "what is asked for counts"
    )


def test_right_names_are_not_claimed_where_nobody_is_named(tmp_path: Path, truth: Path) -> None:
    tracks = {1: (WALKS[0], "unknown", range(1, 41)), 2: (WALKS[1], "unknown", range(11, 51))}
    for enrolled, words in (
        ([], "2 sightings of people not enrolled, 0 of enrolled ones"),
        (["0001"], "1 sightings of people not enrolled, 1 of"),
    ):
        folder = output(tmp_path / f"out{len(enrolled)}", "c1", tracks, enrolled, ["c1"])
        said = CliRunner().invoke(app, ["score", str(folder), "--truth", str(truth)])
        assert said.exit_code == 0, said.output
        assert f"nobody is named: {words}" in said.output
        assert "rightly" not in said.output
