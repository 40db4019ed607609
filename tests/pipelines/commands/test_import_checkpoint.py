"""``reid models import`` of checkpoints: a model directory that gives the embeddings of the checkpoint's own
library.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from reid.card import load_card
from serving.runtime import load
from tests.reid.export.conftest import smooth_crops
from tests.reid.models.msmt17_checkpoint import msmt17_checkpoint
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


@pytest.mark.slow
@pytest.mark.footage
def test_a_trained_network_in_fp16_and_int8_stays_close_to_its_publisher_s_file(
    tmp_path: Path,
    shared: Path,
    run,  # type: ignore[no-untyped-def]
) -> None:
    file = shared / "models" / "osnet_x0_25_msmt17" / "osnet_x0_25_msmt17.onnx"
    path, out = msmt17_checkpoint(file, tmp_path / "log"), tmp_path / "model"
    images = tmp_path / "images"
    images.mkdir()
    crops = sorted((shared / "data" / "pku_reid" / "dev").glob("*.png"))
    for one in crops[::8]:
        shutil.copy(one, images)
    code, said, _ = run(path, "--architecture", "osnet_x0_25", "--images", images, "--out", out)
    assert code == 0 and "left out" not in said
    others = [cv2.resize(cv2.imread(str(one))[..., ::-1], (128, 256)) for one in crops[4::40]]
    session = onnxruntime.InferenceSession(file)
    pixels = (np.stack(others) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    theirs = session.run(None, {"input": pixels.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    for precision, lowest, mean in (("fp32", 0.9999, 0.9999), ("fp16", 0.999, 0.999), ("int8", 0.98, 0.99)):
        cosine = (load(out, "onnxruntime", 1, precision=precision)(others) * theirs).sum(axis=1)
        assert (cosine.min() >= lowest, cosine.mean() >= mean) == (True, True), (precision, cosine.min())


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
        "choose timm:NAME, torchvision:NAME or one of osnet_x1_0, "
        in run(tmp_path / "x.pth", "--architecture", "nothing", "--out", tmp_path / "model")[2]
    )
    for name, meant in (("OSNet_x0.25", "osnet_x0_25"), ("fastreid:SBS_R50", "fastreid:sbs_R50")):
        told = run(tmp_path / "x.pth", "--architecture", name, "--out", tmp_path / "model")[2]
        assert f"{name!r} is unknown: did you mean {meant}" in told and len(told) < 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "x.pth"]
