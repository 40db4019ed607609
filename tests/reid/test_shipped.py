"""Models that come with the package: by name wherever a model directory is, and never written into."""

import re
from pathlib import Path

import numpy as np
import pytest

import reid.shipped
from reid.card import load_card
from reid.errors import ReidError, UsageError
from reid.shipped import model_folder, refuse_shipped, shipped_models
from serving.cli.job_file import asked_job
from serving.runtime import load
from serving.spec import load_job
from tests.serving.tiny_models import expected, tiny_model


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a tiny model in it."""
    folder = tiny_model(tmp_path / "package" / "rendered", card={"licence": "MIT", "about": "for tests"})
    monkeypatch.setattr(reid.shipped, "_FOLDER", folder.parent)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_name_stands_for_its_directory_and_a_directory_goes_first(shipped: Path) -> None:
    assert model_folder("rendered") == shipped
    assert load_card("rendered").name == "tiny"
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 8, 3), np.uint8)
    np.testing.assert_allclose(load("rendered")(images), expected(images), atol=1e-5)
    tiny_model(Path("rendered"), card={"name": "my own"})
    assert load_card("rendered").name == "my own"


def test_what_is_neither_is_said_with_the_way_out(shipped: Path) -> None:
    with pytest.raises(
        UsageError, match=r"nowhere does not exist: .* or rendered, which comes with this package"
    ):
        load_card("nowhere")


def test_a_job_file_may_name_it(shipped: Path) -> None:
    Path("job.yaml").write_text("cameras: [{id: one, source: one.avi}]\nmodel: rendered\n")
    assert load_job("job.yaml").model == str(shipped)
    tiny_model(Path("rendered"))
    assert load_job("job.yaml").model == str(Path.cwd() / "rendered")


def test_what_is_no_model_directory_does_not_hide_it(shipped: Path) -> None:
    Path("job.yaml").write_text("cameras: [{id: one, source: one.avi}]\nmodel: rendered\n")
    Path("rendered").write_text("a file")
    assert model_folder("rendered") == shipped
    assert load_job("job.yaml").model == str(shipped)
    Path("rendered").unlink()
    Path("rendered").mkdir()
    Path("rendered/frame.png").touch()
    assert load_card("rendered").name == "tiny"
    assert load_job("job.yaml").model == str(shipped)
    with pytest.raises(UsageError, match="stays as it is"):
        refuse_shipped("rendered")


def test_videos_without_a_model_take_it_whatever_lies_here(shipped: Path) -> None:
    tiny_model(Path("rendered"), card={"name": "my own"})
    assert asked_job(["one.avi"], None, None, None, None).model == str(shipped)
    (shipped / "model.json").unlink()
    with pytest.raises(ReidError, match=r"model\.json is not there: install the package again"):
        asked_job(["one.avi"], None, None, None, None)


def test_nothing_is_written_into_it(shipped: Path) -> None:
    for name in ("rendered", shipped):
        with pytest.raises(UsageError, match="`reid models fetch rendered` copies it to weights/rendered"):
            refuse_shipped(name)
    refuse_shipped("weights/rendered")


def test_the_real_one_is_what_its_card_says() -> None:
    folder = shipped_models()["rendered"]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6_000_000
    card = load_card(folder)
    assert card.name == "rendered" and card.self_test is not None
    assert {(one.policy, one.unit) for one in card.thresholds} >= {("min", "image"), ("mean", "tracklet")}
    assert card.by_group is not None
    assert {one.of for one in card.by_group.groups} == {"people", "skin", "body", "light", "clothes"}
    embedder = load("rendered", "onnxruntime", 1)  # which runs the self-test
    assert embedder.fingerprint == card.fingerprint


def test_the_docs_and_the_card_give_the_same_figures() -> None:
    card = load_card(shipped_models()["rendered"])
    lines = (Path(__file__).parents[2] / "docs/ready_model.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    table = rows[next(n for n, row in enumerate(rows) if row[0].startswith("of 400 people")) + 1 :]
    stated: dict[tuple[str, str], list[str]] = {}
    for words, *figures in table:
        of, _, groups = words.partition(" ")
        columns = [column.split(", ") for column in figures]
        stated |= {(of, group): pair for group, *pair in zip(groups.split(", "), *columns, strict=True)}
    assert card.by_group is not None and card.by_group.people == 400
    assert stated == {
        (one.of, one.group): [f"{one.rank1:.3f}", f"{one.mean_ap:.3f}"] for one in card.by_group.groups
    }
    measured = next(row for row in rows if row[0] == "`rendered`" and " / " in row[1])
    assert re.findall(r"0\.\d{3} / 0\.\d{3}", card.about) == measured[1:]
