import json
from pathlib import Path
from typing import Any

import pytest

from reid.card import GroupFigure, InputSpec, ModelCard, ModelFile, Threshold, load_card, save_card
from reid.errors import ReidError, UsageError
from reid.files import sha256_of


def model_dir(tmp_path: Path, **changes: Any) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"weights")
    card = {
        "name": "m",
        "dim": 4,
        "input": {"height": 8, "width": 4},
        "files": {"fp32": {"path": "model.onnx"}},
    } | changes
    (tmp_path / "model.json").write_text(json.dumps(card))
    return tmp_path


def test_round_trip(tmp_path: Path) -> None:
    folder = model_dir(tmp_path)
    threshold = Threshold(policy="min", unit="image", false_accept_rate=0.05, distance=0.9)
    card = ModelCard(
        name="m",
        dim=4,
        input=InputSpec(height=8, width=4),
        files={"fp32": ModelFile(path="model.onnx")},
        fingerprint="f",
        thresholds=(threshold,),
    )
    save_card(card, folder)
    assert load_card(folder) == card
    assert card.threshold("min", "image") == threshold
    assert card.threshold("min", "tracklet") is None


def test_a_threshold_for_the_k_nearest_holds_for_that_k_alone(tmp_path: Path) -> None:
    of_two = Threshold(policy="top_k", unit="image", false_accept_rate=0.05, distance=0.9, top_k=2)
    card = load_card(model_dir(tmp_path, thresholds=[of_two.model_dump()]))
    assert card.threshold("top_k", "image", 2) == of_two
    assert card.threshold("top_k", "image", 3) is None


def test_a_hand_written_card_gets_its_fingerprint_from_the_file(tmp_path: Path) -> None:
    folder = model_dir(tmp_path)
    assert load_card(folder).fingerprint == sha256_of(folder / "model.onnx")[:32]


def test_the_fingerprint_of_an_openvino_model_is_of_its_weights_too(tmp_path: Path) -> None:
    folder = model_dir(tmp_path, files={"openvino": {"path": "model.xml"}})
    (folder / "model.xml").write_text("<net/>")
    with pytest.raises(
        ReidError, match=r"model\.bin is not there: an OpenVINO model is an \.xml and a \.bin"
    ):
        load_card(folder)
    (folder / "model.bin").write_bytes(b"weights")
    first = load_card(folder).fingerprint
    assert first == load_card(folder).fingerprint
    (folder / "model.bin").write_bytes(b"others!")
    assert load_card(folder).fingerprint != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 0}, "dim"),
        ({"dims": 3}, "dims"),
        ({"files": {}}, "names no file"),
        ({"files": {"fp32": {"path": "x.onnx"}}}, "x.onnx"),
    ],
)
def test_a_wrong_card_names_what_is_wrong(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReidError, match=message):
        load_card(model_dir(tmp_path, **changes))


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_card(tmp_path / "none")
    with pytest.raises(UsageError, match=r"model card .* does not exist"):
        load_card(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("queries", -4),
        ("queries", 0),
        ("rank1", 1.5),
        ("mean_ap", -0.1),
        ("of", "skin\x1b[31m"),
        ("group", "dark\x9b2J"),
        ("group", "dark\nlight"),
        ("group", ""),
    ],
)
def test_figures_of_a_group_that_can_be_none_are_named(tmp_path: Path, key: str, value: object) -> None:
    figure = {"of": "skin", "group": "dark", "queries": 4, "rank1": 1, "mean_ap": 0.5}
    record = {"people": 2, "images": 4, "seed": 1}
    load_card(model_dir(tmp_path, by_group=record | {"groups": [figure]}))
    assert GroupFigure.model_validate(figure).group == "dark"
    folder = model_dir(tmp_path, by_group=record | {"groups": [figure | {key: value}]})
    with pytest.raises(ReidError, match=rf"by_group\.groups\.0\.{key}: .*correct it or export") as said:
        load_card(folder)
    assert "\x1b" not in str(said.value) and "\x9b" not in str(said.value)
