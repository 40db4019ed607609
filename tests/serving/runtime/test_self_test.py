"""A model directory checks itself: what strays on this machine is refused, passed over by ``auto``, and named
by ``reid models check``.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from reid.card import load_card, save_card
from reid.errors import ReidError, UsageError
from reid.files import sha256_of
from reid.self_test import SELF_TEST_NAME, SelfTest, read_self_test, write_self_test
from serving.runtime import load
from serving.runtime.backends import BACKENDS
from tests.serving.tiny_models import tiny_model, with_self_test


@pytest.fixture(autouse=True)
def memories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_that_strays_here_is_refused(backend: str, tmp_path: Path) -> None:
    load(with_self_test(tmp_path / "sound"), backend)
    message = (
        rf"model\.onnx in {backend} strays on this processor: "
        rf"lowest cosine 0\.\d{{4}} to the trained model's, 0\.9999 is wanted"
    )
    for _ in range(2):  # a refusal is not remembered as a pass
        with pytest.raises(ReidError, match=message):
            load(with_self_test(tmp_path / "stray", turned=1.0), backend)
    # A file that was as far off where it was exported is as it should be.
    load(with_self_test(tmp_path / "off", turned=1.0, lowest=0.5), backend)


def test_a_pass_is_remembered_for_machine_runtime_version_and_file(
    tmp_path: Path, memories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_self_test(tmp_path / "model")

    def passes() -> int:
        load(model, "onnxruntime")
        return len(list(memories.rglob("self-test-*.json")))

    assert passes() == passes() == 1
    ran: list[Path] = []
    monkeypatch.setattr(
        "serving.runtime.self_test.read_self_test", lambda path: ran.append(path) or read_self_test(path)
    )
    assert passes() == 1
    assert ran == []
    monkeypatch.setattr("serving.runtime.choice.metadata.version", lambda name: "0")
    assert passes() == 2
    # The same machine by name, with fewer abilities.
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert passes() == 3
    assert len(ran) == 2
    next(memories.rglob("self-test-*.json")).write_text("{")
    assert passes() == 3
    load(model, "openvino")
    assert len(list(memories.rglob("self-test-*.json"))) == 4


def test_auto_passes_over_the_runtime_that_strays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO is made to stray as it did on processors without VNNI: it multiplies by other weights."""
    model = with_self_test(tmp_path / "model")
    other = tiny_model(tmp_path / "other", multiply=-1.0) / "model.onnx"
    sound = BACKENDS["openvino"]
    monkeypatch.setitem(
        BACKENDS,
        "openvino",
        type(sound)(
            lambda path, *rest: sound.open(other, *rest), sound.roles, sound.present, sound.distribution
        ),
    )
    embedder = load(model)
    assert embedder.backend == "onnxruntime"
    assert "not openvino: model.onnx in openvino strays on this processor" in embedder.chosen


@pytest.mark.parametrize("harm", ["torn", "other", "missing"])
def test_a_damaged_self_test_is_named(harm: str, tmp_path: Path) -> None:
    model = with_self_test(tmp_path / "model")
    path = model / SELF_TEST_NAME
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 40 if harm == "torn" else None] + b"x")
    with pytest.raises(ReidError, match=SELF_TEST_NAME):
        load(model, "onnxruntime")


def test_a_self_test_of_another_shape_is_an_error(tmp_path: Path) -> None:
    write_self_test(
        SelfTest(np.zeros((2, 4, 4, 3), np.uint8), np.zeros((3, 5), np.float32)), tmp_path / "odd"
    )
    with pytest.raises(ReidError, match=r"odd holds uint8 \(2, 4, 4, 3\) and \(3, 5\)"):
        read_self_test(tmp_path / "odd")


def test_a_self_test_of_another_models_dimensions_is_an_error(tmp_path: Path) -> None:
    model = with_self_test(tmp_path / "model")
    path = model / SELF_TEST_NAME
    write_self_test(SelfTest(np.zeros((2, 16, 8, 3), np.uint8), np.zeros((2, 5), np.float32)), path)
    card = load_card(model)
    assert card.self_test is not None
    save_card(
        card.model_copy(update={"self_test": card.self_test.model_copy(update={"sha256": sha256_of(path)})}),
        model,
    )
    with pytest.raises(ReidError, match="holds embeddings of 5 dimensions, its card says 6"):
        load(model, "onnxruntime")


def test_an_embedding_without_a_direction_never_passes() -> None:
    test = SelfTest(np.zeros((3, 4, 4, 3), np.uint8), np.ones((3, 2), np.float32))
    np.testing.assert_allclose(test.cosines(np.array([[1, 1], [0, 0], [np.nan, 1]], np.float32)), [1, -1, -1])


def test_the_command_prints_every_file_and_runtime(tmp_path: Path) -> None:
    sound = CliRunner().invoke(app, ["models", "check", str(with_self_test(tmp_path / "sound", int8=True))])
    assert sound.exit_code == 0
    assert sound.stdout.count("holds") == 4
    stray = CliRunner().invoke(
        app, ["models", "check", str(with_self_test(tmp_path / "stray", turned=1.0)), "--json"]
    )
    assert stray.exit_code == 1
    assert "2 of 2 that ran do not hold here, the first: model.onnx in onnxruntime: take another" in str(
        stray.exception
    )
    value = json.loads(stray.stdout)
    assert value["holds"] is False
    assert [(row["file"], row["runtime"], row["verdict"]) for row in value["files"]] == [
        ("model.onnx", "onnxruntime", "strays"),
        ("model.onnx", "openvino", "strays"),
    ]
    assert all(row["lowest"] < row["wanted"] == pytest.approx(0.9999) for row in value["files"])


def test_without_a_self_test_the_command_says_so(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["models", "check", str(tiny_model(tmp_path / "plain"))])
    assert isinstance(answer.exception, UsageError)
    assert "has no self-test: export the model again" in str(answer.exception)


def test_a_precision_left_out_at_the_export_is_told_with_its_reason(tmp_path: Path) -> None:
    model = with_self_test(tmp_path / "model")
    save_card(
        load_card(model).model_copy(update={"left_out": {"int8": "model.int8.onnx in openvino strays"}}),
        model,
    )
    with pytest.raises(
        UsageError, match=r"no int8 file, it was left out at the export: model\.int8\.onnx in openvino strays"
    ):
        load(model, precision="int8")
    answer = CliRunner().invoke(app, ["models", "check", str(model)])
    assert answer.exit_code == 0
    assert "int8 was left out at the export: model.int8.onnx in openvino strays" in answer.stdout
