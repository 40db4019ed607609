"""Own pictures of one camera or of few people: what can be had comes out, and the rest is said."""

import importlib.util
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from pipelines import calibrate, prepare
from pipelines.calibrate import WAY_OUT
from pipelines.cli import app
from reid.config import Params, load_params, with_values
from reid.data.catalog import read_catalog
from reid.errors import ReidError, UsageError
from reid.evaluation import OpenSetScores
from reid.evaluation.calibration import supported, thresholds
from reid.evaluation.report import EmbeddedSet, judge, judge_extra, one_camera_apart, rank
from reid.files import read_json
from reid.models.embedder import load_model
from reid.training.trial import load_training_data, run_training
from reid.training.validation import validate
from tests.pipelines.sources import configure, pictures

ALONE = r"(?P<identity>\d+)_c"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    for module in (prepare, calibrate):
        monkeypatch.setattr(module, "say", lines.append)
    return lines


def test_one_camera_is_prepared_and_it_is_said(folder: Path, said: list[str]) -> None:
    """Case 3: no camera in the names at all."""
    pictures(folder / "in", people=12, cameras="1", images=4)
    configure(source="folder", root="in", pattern=ALONE)
    prepare.main()
    assert any(
        line.startswith("nobody is seen by two cameras: figures are within the camera") for line in said
    )
    assert "within the camera" in Path("data/data_report.html").read_text()
    kinds = {problem["kind"] for problem in json.loads(Path("data/problems.json").read_text())}
    assert "one_camera" in kinds


def test_people_of_one_camera_are_trained_on_and_validated_within_it(
    tiny_params: Params, tiny_catalog: Path, tmp_path: Path
) -> None:
    """The tiny people with all their images in one camera: validation has a figure, and it is of images that
    are no neighbours.
    """
    table = pq.read_table(tiny_catalog)
    where = table.column_names.index("camera")
    shutil.copytree(tiny_catalog.parent, tmp_path / "one", ignore=shutil.ignore_patterns(".cache"))
    pq.write_table(table.set_column(where, "camera", [["1"] * len(table)]), tmp_path / "one/catalog.parquet")
    (tmp_path / "out").mkdir()
    figures = run_training(tiny_params, "batch_hard", tmp_path / "one/catalog.parquet", tmp_path / "out")
    assert 0 < figures["val_mean_ap"] <= 1
    data = load_training_data(tmp_path / "one/catalog.parquet", 32, 16)
    assert data.val_order is not None
    assert len(data.val_order) == len(data.val_images)
    model = load_model(tmp_path / "out/model.safetensors")[0]
    again = validate(model, data.val_images, data.val_identities, data.val_cameras, data.val_order)
    assert again["val_mean_ap"] == figures["val_mean_ap"]
    alone = [
        row for row, who in enumerate(data.val_identities) if row == list(data.val_identities).index(who)
    ]
    assert validate(model, data.val_images[alone], data.val_identities[alone], data.val_cameras[alone]) == {}


def side(identities: list[str], rows: np.ndarray, name: str, camera: str = "1") -> EmbeddedSet:
    cameras = np.full(len(rows), camera)
    return EmbeddedSet(
        rows.astype(np.float32),
        np.asarray(identities),
        cameras,
        [Path(f"{name}{n:03}.jpg") for n in range(len(rows))],
    )


def test_a_model_is_judged_within_the_camera_where_no_two_see_anybody() -> None:
    rng = np.random.default_rng(0)
    people = [f"p{number:02}" for number in range(12) for _ in range(8)]
    centres = np.repeat(rng.normal(size=(12, 8)), 8, axis=0)
    rows = centres + 0.4 * rng.normal(size=centres.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asks = np.arange(0, 96, 8)
    keep = np.setdiff1d(np.arange(96), asks)
    query = replace(side([people[n] for n in asks], rows[asks], "q"), order=asks)
    gallery = replace(side([people[n] for n in keep], rows[keep], "g"), order=keep)
    with pytest.raises(ReidError, match="every image is from camera 1"):
        rank(query, gallery)
    ours, theirs = one_camera_apart(query, gallery)
    assert ours.within_camera
    assert len(theirs) == len(gallery) - 12, "the image after each query is its neighbour"
    judged = judge(ours, theirs, bootstrap=10, seed=0)
    assert judged.across is None
    assert judged.by_cameras == {}
    assert judged.report.valid_queries == 12
    assert 0.5 < judged.report.mean_ap <= 1
    assert judge_extra(ours, theirs, judged, seed=0).identification
    two = replace(gallery, cameras=np.full(len(gallery), "2"))
    assert one_camera_apart(query, two) == (query, two)


def test_prepare_says_what_will_be_too_few(folder: Path, said: list[str]) -> None:
    """Case 42: forty people on two cameras."""
    pictures(folder / "in", people=40)
    configure(source="folder", root="in", pattern=r"(?P<identity>\d+)_c(?P<camera>\d)")
    prepare.main()
    (line,) = [line for line in said if "validation people" in line]
    held = read_json("data/summary.json")["splits"]["val"]["identities"]
    assert line.startswith(f"{held} validation people in {2 * held} tracklets ({4 * held} images) are few: ")
    assert "calibrate.false_accept_rate 0.05 wants 20" in line
    assert f"will be for {np.ceil(1000 / (2 * held)) / 1000:g}" in line
    assert "raise data.validation_share" in line
    said.clear()
    configure(source="folder", root="in", pattern=r"(?P<identity>\d+)_c(?P<camera>\d)", validation_share=0.5)
    prepare.main()
    assert not [line for line in said if "validation people" in line]


def test_calibrate_ends_with_the_rate_that_its_people_can_show(said: list[str]) -> None:
    params = with_values(load_params(Path(__file__).parents[2] / "params.yaml"), {"calibrate.bootstrap": 20})
    rng = np.random.default_rng(0)
    identities = np.repeat(np.array(["a", "b", "c", "d"]), 4)
    cameras = np.tile(np.array(["1", "1", "2", "2"]), 4)
    rows = np.repeat(rng.normal(size=(4, 8)), 4, axis=0) + 0.2 * rng.normal(size=(16, 8))
    sides = rows.astype(np.float32), identities, cameras
    found = thresholds(params.calibrate, params.seed, *sides, WAY_OUT, said.append)
    assert {(one.unit, one.false_accept_rate) for one in found} == {("image", 0.063), ("tracklet", 0.125)}
    assert len(said) == 2
    assert "8 probes of 4 people are too few for a false accept rate of 0.05: calibrated for 0.125" in said[1]
    assert "some 6 people more are wanted" in said[1]  # 20 probes in all, two of each person
    assert all("data.validation_share" in line and "calibrate.false_accept_rate" in line for line in said)
    enough = thresholds(
        with_values(params, {"calibrate.false_accept_rate": 0.2}).calibrate,
        params.seed,
        *sides,
        WAY_OUT,
        said.append,
    )
    assert {one.false_accept_rate for one in enough} == {0.2}
    assert len(said) == 2
    nothing = np.empty(0)
    lonely = OpenSetScores(
        np.ones(1), np.zeros(1, np.int64), nothing, nothing.astype(np.int64), nothing.astype(np.bool_), 2
    )
    with pytest.raises(ReidError, match=r"one tracklet of a person .* some 19 people more"):
        supported(lonely, 0.05, "tracklet", WAY_OUT, said.append)


def test_a_folder_with_everything_wrong_is_prepared(folder: Path, said: list[str]) -> None:
    """Cases 16, 17, 20 and 21 at once, through the stage."""
    root = pictures(folder / "in")
    disk = pictures(folder / "disk", people=4, cameras="3")
    (root / "linked").symlink_to(disk)
    (root / "000_c1_0.png").rename(root / os.fsdecode(b"000_c1_\xe9.png"))
    for name, person in (("-1_c1_0.png", 90), ("0000_c2_0.png", 91), ("001_C1_9.png", 92)):
        coarse = np.random.default_rng(person).integers(0, 255, (8, 4, 3), np.uint8)
        cv2.imwrite(str(root / name), cv2.resize(coarse, (48, 96), interpolation=cv2.INTER_CUBIC))
    (root / "._001_c1_0.png").write_bytes(b"Mac OS X")
    (root / "notes.txt").write_text("who is who")
    (root / "001_c2_7.HEIC").write_bytes(b"\0\0\0\x1cftypheic" + bytes(16))
    configure(source="folder", root="in", pattern=r"(?P<identity>-1|\d+)_c(?P<camera>\d)")
    prepare.main()
    catalog = read_catalog("data/catalog.parquet")
    assert len(catalog) == 8 * 4 + 4 * 2 + 1
    assert all(path.exists() for path in catalog.paths)
    assert set(catalog.cameras) == {"1", "2", "3"}
    assert "-1" not in catalog.identities
    assert set(catalog.column("split")[catalog.identities == "0000"]) == {"gallery"}
    assert any(line.startswith("1 of 44 images do not match the pattern, the first: ") for line in said)
    assert any("1 files are no images by their names (1 .txt)" in line for line in said)
    problems = json.loads(Path("data/problems.json").read_text())
    found = {problem["kind"]: problem["what"] for problem in problems}
    assert found["unmatched"].endswith("001_C1_9.png")
    assert found["by_system"].endswith("._001_c1_0.png")
    assert found["junk"].endswith("-1_c1_0.png")
    page = Path("data/data_report.html").read_text()
    assert "Name without a match (1)" in page
    assert "001_C1_9.png" in page
    summary = read_json("data/summary.json")
    assert summary["images_found"] == summary["images_kept"] + summary["images_left_out"] == 45
    unread = "1 images need a package; the first: .*001_c2_7.HEIC is HEIC: install the package pillow-heif"
    assert any(re.match(unread, line) for line in said) or importlib.util.find_spec("pillow_heif")


def test_ingredients_that_the_town_does_not_draw_are_named(folder: Path, said: list[str]) -> None:
    line = (
        "synthetic.ages, synthetic.h264: data.source synthetic does not draw that, data.source wardrobe does"
    )
    for source, lines in (("wardrobe", []), ("synthetic", [line])):
        configure(source=source)
        value = yaml.safe_load(Path("params.yaml").read_text())
        value["synthetic"] |= {"ages": 1.0, "h264": 0.5}
        Path("params.yaml").write_text(yaml.safe_dump(value))
        output = CliRunner().invoke(app, ["params"]).output
        assert output.splitlines() == [*lines, "params.yaml is valid"]
    prepare.main()
    assert line in said


def test_a_shorter_list_of_objectives(folder: Path) -> None:
    """Case 43: what `reid params` says is true, and what cannot be trained is refused before anything
    runs.
    """
    configure(source="synthetic")
    value: dict[str, Any] = yaml.safe_load(Path("params.yaml").read_text())
    everything = value["objectives"]

    def check(*names: str) -> Any:
        Path("params.yaml").write_text(
            yaml.safe_dump(value | {"objectives": {name: everything[name] for name in names}})
        )
        return CliRunner().invoke(app, ["params"])

    assert check("batch_hard", "quadruplet", "hierarchical").output == "params.yaml is valid\n"
    assert check("quadruplet").output == "params.yaml is valid\n"
    for names, message in (
        ((), "objectives: name at least one objective"),
        (("hierarchical",), "objectives: hierarchical starts from 'batch_hard', which is missing"),
    ):
        failed = check(*names)
        assert isinstance(failed.exception, UsageError)
        assert message in str(failed.exception)


def test_footage_at_its_defaults_is_prepared(folder: Path, said: list[str]) -> None:
    """Case 3: every sequence has people of its own, so that nobody is in two cameras."""
    rng = np.random.default_rng(0)
    for name in ("hall", "yard"):
        (folder / f"in/{name}/img1").mkdir(parents=True)
        (folder / f"in/{name}/gt").mkdir()
        truth = [
            f"{frame},{person},{60 * person - 50},10,40,100,1,1,1"
            for frame in range(1, 42)
            for person in range(1, 5)
        ]
        (folder / f"in/{name}/gt/gt.txt").write_text("\n".join(truth))
        for frame in range(1, 42, 10):
            cv2.imwrite(
                str(folder / f"in/{name}/img1/{frame:06d}.jpg"), rng.integers(0, 255, (120, 260, 3), np.uint8)
            )
    configure(source="footage", root="in")
    prepare.main()
    catalog = read_catalog("data/catalog.parquet")
    assert len(catalog) == 2 * 4 * 5
    assert len(set(catalog.identities)) == 8
    assert set(catalog.order) == {1, 11, 21, 31, 41}, "frames are the order"
    assert any(
        line.startswith("nobody is seen by two cameras: figures are within the camera") for line in said
    )
    assert {"no_match"} <= {problem["kind"] for problem in json.loads(Path("data/problems.json").read_text())}
