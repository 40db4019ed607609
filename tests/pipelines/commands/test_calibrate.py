"""``reid calibrate``: the thresholds of the stage, for any model directory and any pictures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.card import load_card
from reid.data.catalog import write_catalog
from reid.evaluation import calibrate_threshold
from tests.pipelines.striped_people import PATTERN, PEOPLE, pictures
from tests.serving.tiny_models import expected, tiny_model


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("calibrate") / "images")


@pytest.fixture
def run(reid: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: reid("calibrate", *words)


def labelled(images: Path) -> tuple[list[Path], np.ndarray, np.ndarray]:
    files = sorted(images.glob("p*.png"))
    ids, cams = (np.asarray([path.name.split("_")[part] for path in files]) for part in (0, 1))
    return files, ids, cams


def test_the_card_gets_the_thresholds_that_the_library_finds(images: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    model = tiny_model(tmp_path / "model")
    words = [model, "--root", images, "--pattern", PATTERN, "--bootstrap", 50, "--backend", "onnxruntime"]
    code, said, _ = run(*words)
    assert code == 0
    assert f"48 pictures of {PEOPLE} people" in said
    card = load_card(model)
    assert card.certainty is not None and 0 < card.certainty.genuine < card.certainty.impostor
    assert {(one.policy, one.unit) for one in card.thresholds} == {
        (p, u) for p in ("min", "mean", "top_k") for u in ("image", "tracklet")
    }
    files, ids, cams = labelled(images)
    rows = expected(np.stack([cv2.imread(str(path))[..., ::-1] for path in files])).astype(np.float32)
    sides = {
        "probe_cams": cams,
        "reference_cams": cams,
        "false_accept_rate": 0.05,
        "placement": "middle",
        "bootstrap": 50,
    }
    want = calibrate_threshold(rows, ids, rows, ids, policy="min", unit="image", **sides)
    got = card.threshold("min", "image")
    assert got is not None
    assert (got.distance, got.low, got.high) == pytest.approx((want.distance, want.low, want.high), abs=1e-4)
    assert got.probes == want.probes == 48
    line = next(one for one in said.splitlines() if one.startswith("image, min:"))
    assert f"{got.distance:.3f} ({got.low:.3f} to {got.high:.3f}); 48 probes, 5 % of strangers" in line
    # The same again, with another rate, takes the place of the first.
    value = json.loads(run(*words, "--false-accept-rate", 0.2, "--json")[1])
    assert [one.false_accept_rate for one in load_card(model).thresholds] == [0.2] * 6
    assert value["thresholds"] == [one.model_dump(mode="json") for one in load_card(model).thresholds]
    rates = [one["identification_rate"] for one in value["curve"]]
    assert rates == sorted(rates)


def test_too_few_people_are_told_how_many_more(images: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    model = tiny_model(tmp_path / "model")
    few = tmp_path / "few"
    few.mkdir()
    for path in images.glob("p0[0-2]_c[12]_0.png"):
        shutil.copy(path, few)
    code, said, stderr = run(
        model, "--root", few, "--pattern", PATTERN, "--bootstrap", 10, "--backend", "onnxruntime"
    )
    assert code == 0
    assert "6 probes of 3 people are too few for a false accept rate of 0.05: calibrated for 0.167" in stderr
    assert (
        "some 7 people more are wanted: give pictures of more people, or --false-accept-rate 0.167"
        in stderr.replace("\n", " ")
    )
    assert "(6 probes cannot show this rate)" in said
    before = (model / "model.json").read_bytes()
    for path in few.glob("p0[12]*"):
        path.unlink()
    code, _, stderr = run(model, "--root", few, "--pattern", PATTERN)
    assert (code, stderr.count("\n")) == (1, 1)
    assert "the pictures show 1 person" in stderr
    assert (model / "model.json").read_bytes() == before
    for words in ([], ["--root", few], ["--root", few, "--pattern", PATTERN, "--false-accept-rate", 0]):
        assert run(model, *words)[0] == 2


def test_of_a_catalog_the_validation_people_are_taken(images: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    model = tiny_model(tmp_path / "model")
    files, ids, cams = labelled(images)
    rows = [
        {
            "path": str(path),
            "identity": who,
            "camera": cam,
            "split": "train" if who < "p05" else "val",
            "width": 8,
            "height": 16,
        }
        | {"sha256": f"{row:064}"}
        for row, (path, who, cam) in enumerate(zip(files, ids.tolist(), cams.tolist(), strict=True))
    ]
    write_catalog(rows, tmp_path / "catalog.parquet")
    code, said, stderr = run(
        model, "--catalog", tmp_path / "catalog.parquet", "--bootstrap", 10, "--backend", "onnxruntime"
    )
    assert code == 0
    assert "18 pictures of 3 people" in said
    assert "validation people" in stderr
