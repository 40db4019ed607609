"""``reid models import`` of checkpoints: a model directory that gives the embeddings of the checkpoint's own
library.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from reid.card import load_card
from serving.runtime import load
from tests.reid.export.conftest import smooth_crops
from tests.reid.models.torchreid_checkpoint import by_torchreid, trained


@pytest.fixture
def run(reid: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: reid("models", "import", *words)


def test_a_checkpoint_of_torchreid_s_training_gives_its_embeddings(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    path, out = trained("osnet_x0_25", tmp_path / "log", 64, 32), tmp_path / "model"
    words = [
        path,
        "--architecture",
        "osnet_x0_25",
        "--height",
        64,
        "--width",
        32,
        "--out",
        out,
        "--licence",
        "MIT",
    ]
    code, said, _ = run(*words)
    assert code == 0
    assert "fp32: model.onnx, lowest cosine 1.00000" in said
    card = load_card(out)
    assert (card.dim, card.backbone, card.licence, card.name) == (
        512,
        "torchreid:osnet_x0_25",
        "MIT",
        "model.pth.tar-60",
    )
    assert card.self_test is not None
    moved = path.rename(tmp_path / "moved.pth")
    assert run(moved, *words[1:-4], "--out", tmp_path / "again")[0] == 0
    assert load_card(tmp_path / "again").fingerprint == card.fingerprint
    images = smooth_crops(3, 64, 32, seed=9)
    theirs = by_torchreid("osnet_x0_25", path.parent, images)
    assert (load(out, "onnxruntime", 1)(images) * theirs).sum(axis=1).min() >= 0.9999


def test_a_checkpoint_without_its_architecture_or_into_a_foreign_folder(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "x.pth").write_bytes(b"x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert "name it with --architecture" in run(tmp_path / "x.pth", "--out", tmp_path / "model")[2]
    code, _, problems = run(tmp_path / "x.pth", "--architecture", "osnet_x1_0", "--out", tmp_path / "mine")
    assert (code, problems.count("\n")) == (2, 1)
    assert "mine is no model directory" in problems
    code, _, problems = run(tmp_path / "x.pth", "--architecture", "osnet_x1_0", "--out", tmp_path / "model")
    assert code == 1
    # on a slow machine lines about its progress come before
    assert "x.pth are damaged" in problems.splitlines()[-1]
    assert (
        "choose one of osnet_x1_0, "
        in run(tmp_path / "x.pth", "--architecture", "osnet", "--out", tmp_path / "model")[2]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "x.pth"]
