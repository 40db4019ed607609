"""The tutorials do what they say: their own text is run. That of training on a folder is run by
``tests/pipelines/test_chain.py``.
"""

import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from reid.card import load_card
from tests.pipelines.striped_people import pictures
from tests.reid.data.datasets.miniatures import lfw
from tests.reid.models.torchreid_checkpoint import trained
from tests.serving.execution_job import WALKS
from tests.serving.tiny_footage import write_walks
from tests.serving.tiny_models import tiny_model
from tests.tutorial_pages import blocks, commands


def crops_and_videos() -> None:
    """What the pages on footage begin with, under the names that they use."""
    pictures(Path("crops"))
    for path in Path("crops").iterdir():
        path.rename(path.with_name(path.name.replace("p0", "p")))
    write_walks(Path("entrance.mp4"), WALKS, 180)
    write_walks(Path("hall.mp4"), WALKS[::2], 180)


def typed(page: str, count: int) -> str:
    """Run all the lines that a page says to type, ``count`` of them; what the last one printed."""
    lines = commands(page)
    assert len(lines) == count and all(line.startswith("reid ") for line in lines)
    for line in lines:
        done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0, (line, done.output)
    return done.stdout


def identities(job: str) -> set[str]:
    return set(pq.read_table(f"{job}/sightings.parquet")["identity"].to_pylist())


def test_a_loss_in_my_own_loop_learns_people_it_has_not_seen() -> None:
    code = blocks("loss_in_my_loop.md", "python")
    assert len(code) == 4
    names: dict[str, object] = {}
    for block in code:
        exec(compile(block, "loss_in_my_loop.md", "exec"), names)
    trained, network = names["report"], names["network"]
    for layer in network.children():  # type: ignore[attr-defined]
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    exec(compile(code[-1], "loss_in_my_loop.md", "exec"), names)
    assert trained.mean_ap > names["report"].mean_ap + 0.1  # type: ignore[attr-defined]


def test_find_my_people_goes_from_a_checkpoint_and_videos_to_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained("osnet_x0_25", Path("log"), 256, 128).rename("model.pth.tar-60")
    crops_and_videos()
    last = typed("find_my_people.md", 8)
    assert "anna" in last and "lie within the threshold" in last
    assert Path("found/report.html").is_file()
    assert {"anna", "unknown"} <= identities("named")
    assert "anna" not in identities("found")


def test_the_first_five_minutes_need_nothing_but_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    crops_and_videos()
    typed("first_five_minutes.md", 6)
    assert Path("found/report.html").is_file()
    assert "anna" not in identities("found")
    assert "anna" in identities("named") and "anna" in identities("sure")
    assert load_card("weights/rendered").thresholds != load_card("rendered").thresholds


def test_pairs_of_faces_are_judged_as_the_page_on_data_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_model(Path("exported"))
    matched = ["Ann_A\t1\t2", "Bob_B\t1\t2"]
    mismatched = ["Ann_A\t1\tBob_B\t2", "Bob_B\t1\tCy_C\t1"]
    lfw(Path("lfw"), ["2\t1", matched[0], mismatched[0], matched[1], mismatched[1]])
    for number, person in enumerate(("Ann_A", "Bob_B", "Cy_C")):
        face = np.random.default_rng(number).integers(0, 255, (16, 8, 3), np.uint8)
        for path in Path("lfw/lfw", person).iterdir():
            cv2.imwrite(str(path), face)
    code, _ = blocks("data.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "data.md", "exec"), names)
    assert (names["report"].folds, names["report"].accuracy) == (2, 1.0)
    assert names["distances"][::2].max() < 1e-3 < names["distances"][1::2].min()


def test_people_are_rendered_as_the_page_on_data_says() -> None:
    _, code = blocks("data.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "data.md", "exec"), names)
    assert names["images"].shape == (40 * 12, 128, 64, 3)
    assert len(set(names["people"].tolist())) == 40
