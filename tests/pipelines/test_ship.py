"""An exported model as the package carries it: one file, half the bytes, and refused where it would stray."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from torch import nn

from pipelines import ship as module
from pipelines.group_figures import group_figures
from pipelines.ship import ship
from reid.card import load_card
from reid.data.catalog import write_catalog
from reid.errors import ReidError, UsageError
from reid.files import sha256_of
from reid.shipped import STATISTICS, shipped_models
from serving.runtime import load
from tests.serving.tiny_models import DIM, HEIGHT, tiny_model, with_self_test

CROPS = np.zeros((2, 16, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def no_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model has no convolutions; those of the shipped one: tests/reid/models/test_folded.py."""
    monkeypatch.setattr(module, "build_backbone", lambda *_: (nn.Identity(), 3))


def test_one_file_with_its_self_test_and_what_it_is_for(tmp_path: Path) -> None:
    exported = with_self_test(tmp_path / "exported", card={"mlflow_run_id": "a" * 32}, int8=True)
    size = ship(exported, CROPS, tmp_path / "rendered", people=6)
    files = {path.name for path in (tmp_path / "rendered").iterdir()}
    assert files == {"model.json", "model.onnx", "self_test.safetensors", STATISTICS}
    assert size == sum(path.stat().st_size for path in (tmp_path / "rendered").iterdir())
    was, card = load_card(exported), load_card(tmp_path / "rendered")
    assert (card.name, set(card.files), set(card.left_out)) == ("rendered", {"fp32"}, {"fp16", "int8"})
    assert (card.fingerprint, card.thresholds, card.mlflow_run_id) == (was.fingerprint, was.thresholds, "")
    assert card.by_group == group_figures(load(tmp_path / "rendered", "onnxruntime", 1), 6)
    # What comes with the package says what a new one would.
    assert card.about == load_card(shipped_models()["rendered"]).about
    for word in ("children", "the old", "wheelchairs", "uniforms", "night", "crowds"):
        assert word in card.about
    images = np.random.default_rng(3).integers(0, 256, (4, 16, 8, 3), np.uint8)
    ours, theirs = load(tmp_path / "rendered")(images), load(exported)(images)
    assert 0 < np.abs(ours - theirs).max() < 1e-3
    halved = (tmp_path / "rendered/model.onnx").stat().st_size - (exported / "model.onnx").stat().st_size
    assert halved < -HEIGHT * 3 * DIM  # two bytes less a number, and a few for the cast


@pytest.mark.parametrize(
    ("make", "most", "message"),
    [
        (tiny_model, 10**6, "no self-test: export the model again"),
        (lambda folder: with_self_test(folder, turned=0.5), 10**6, "weights in half precision"),
        (with_self_test, 1000, "more than the 1,000 that a package may carry"),
    ],
)
def test_what_cannot_be_shipped_is_one_line_and_leaves_nothing(
    make, most: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", most)
    with pytest.raises(ReidError, match=message):
        ship(make(tmp_path / "exported"), CROPS, tmp_path / "rendered", people=6)
    assert not (tmp_path / "rendered").exists()


def project_of(folder: Path) -> Path:
    """A project that has prepared four crops of two people and exported a tiny model."""
    with_self_test(folder / "exported")
    (folder / "data").mkdir()
    rows: list[dict[str, object]] = []
    for number in range(4):
        crop = folder / f"data/{number}.png"
        cv2.imwrite(str(crop), np.full((16, 8, 3), 50 * number, np.uint8))
        facts = {"identity": f"p{number // 2}", "camera": f"c{number % 2}", "split": "train"}
        rows.append(
            {"path": str(crop), **facts, "width": 8, "height": 16, "sha256": sha256_of(crop)},
        )
    write_catalog(rows, folder / "data/catalog.parquet")
    return folder


def run_main(monkeypatch: pytest.MonkeyPatch, *words: Path) -> None:
    monkeypatch.setattr("sys.argv", ["ship", *map(str, words)])
    module.main()


def test_a_project_is_shipped_by_the_command_and_again_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project, out = project_of(tmp_path / "project"), tmp_path / "rendered"
    monkeypatch.setattr(module, "group_figures", lambda embed, _: group_figures(embed, 4))
    run_main(monkeypatch, project, out)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert f"{out}: {sum(map(len, first.values())):,} bytes" in "".join(capsys.readouterr())
    run_main(monkeypatch, project, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_what_is_no_project_that_has_exported_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"say python -m pipelines\.ship PROJECT OUT"):
        run_main(monkeypatch, tmp_path)
    with pytest.raises(UsageError, match=r"exported does not exist: name a directory that holds model\.json"):
        run_main(monkeypatch, tmp_path, tmp_path / "rendered")
    with_self_test(tmp_path / "exported")
    with pytest.raises(UsageError, match=r"catalog\.parquet"):
        run_main(monkeypatch, tmp_path, tmp_path / "rendered")
    assert not (tmp_path / "rendered").exists()
