"""The model directory: whole, checked, and readable by its card."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from reid.card import InputSpec, Threshold, load_card
from reid.errors import ReidError, UsageError
from reid.export import Limits, People, export_model, fingerprint_of
from reid.export.fallback import Fallback
from reid.export.gate import Gate
from reid.export.precisions import CONVERSIONS
from reid.export.runners import embed_onnxruntime
from reid.files import sha256_of
from reid.models.inference import embed_images
from reid.parity import ParityReport, check_parity
from reid.self_test import read_self_test
from tests.reid.export.conftest import Exported, smooth_crops

THRESHOLD = Threshold(policy="min", unit="tracklet", false_accept_rate=0.01, distance=0.8, probes=100)


def _export(exported: Exported, out: Path, crops: npt.NDArray[np.uint8], **options: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "limits": Limits({"fp32": 0.9999}),
        "thresholds": [THRESHOLD],
        "provenance": {"name": "small", "git_commit": "abc"},
    }
    return export_model(exported.checkpoint, out, crops=crops, **(defaults | options))


def test_a_directory_holds_what_its_card_says(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    out = tmp_path / "model"
    report = _export(
        exported,
        out,
        crops,
        engines="tensorrt_rtx",
        engine_options={"targets": ["SM86"], "profile": (1, 4, 16)},
    )
    card = load_card(out)
    assert {role: file.path for role, file in card.files.items()} == {
        "fp32": "model.onnx",
        "engine_fp32": "model.plan",
    }
    assert card.left_out == report["left_out"] == {}
    assert all(sha256_of(out / file.path) == file.sha256 for file in card.files.values())
    assert sorted(path.name for path in out.iterdir()) == [
        "model.json",
        "model.onnx",
        "model.plan",
        "model.plan.json",
        "self_test.safetensors",
    ]
    assert (card.dim, card.neck_feature, card.backbone, card.name, card.git_commit) == (
        64,
        "after_bn",
        "resnet18",
        "small",
        "abc",
    )
    assert (card.input.height, card.input.width, card.input.dtype) == (64, 32, "uint8")
    assert card.thresholds == (THRESHOLD,)
    assert card.fingerprint == report["fingerprint"] == fingerprint_of(exported.checkpoint, card.input)
    assert report["files"]["fp32"]["lowest"] > 0.99999
    assert report["engines"]["fp32"]["targets"] == ["SM86"]
    np.testing.assert_allclose(
        embed_onnxruntime(out / "model.onnx", crops), embed_images(exported.model, crops), atol=1e-5
    )


def test_every_precision_is_written_measured_and_ranked(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    held, gated = check_parity, set()

    def spy(report: ParityReport, limit: float, file: str, *, statistic: str = "lowest") -> None:
        gated.add((file.split(maxsplit=1)[0], limit, statistic))
        held(report, limit, file, statistic=statistic)

    monkeypatch.setattr("reid.parity.check_parity", spy)
    brighter = np.minimum(crops, 245) + np.uint8(10)
    people = People(
        np.concatenate([crops, brighter]), np.tile(np.arange(12).astype(str), 2), np.repeat(["1", "2"], 12)
    )
    report = _export(
        exported,
        out,
        crops,
        people=people,
        calibration=smooth_crops(12, 64, 32, seed=3),
        precisions=("int8", "fp16"),
        limits=Limits({"fp32": 0.9999, "fp16": 0.999, "int8": 0.98}, int8_lowest=0.9, map_fall=0.1),
    )
    assert gated == {
        ("model.onnx", 0.9999, "lowest"),
        ("model.fp16.onnx", 0.999, "lowest"),
        ("model.int8.onnx", 0.98, "mean"),
        ("model.int8.onnx", 0.9, "lowest"),
    }
    card = load_card(out)
    assert set(card.files) == {"fp32", "fp16", "int8"}
    sizes = {precision: (out / card.files[precision].path).stat().st_size for precision in card.files}
    assert sizes["int8"] < 0.3 * sizes["fp32"]
    assert sizes["fp16"] < 0.55 * sizes["fp32"]
    for precision, file in report["files"].items():
        for runtime in file["runtimes"].values():
            assert runtime["mean"] >= file["mean"] > 0.98
            assert runtime["rank1"] > 0.8, precision
    assert report["files"]["int8"]["held_against"] == "mean"
    assert "onnxruntime" in report["files"]["int8"]["runtimes"]
    # A file that ranks worse than agreed stops the export, however well its cosines look.
    with pytest.raises(ReidError, match=r"model\.onnx in onnxruntime ranks worse"):
        _export(exported, out, crops, people=people, limits=Limits({"fp32": 0.9999}, map_fall=-0.01))


class _Remembering:
    """A stand-in for a conversion: copies the float32 file and keeps one layer more at each attempt."""

    aims: ClassVar[list[float]] = []

    def __init__(self, source: Path, images: npt.NDArray[np.uint8]) -> None:
        self.source = source

    def write(self, path: Path, limit: float) -> Fallback:
        self.aims.append(limit)
        path.write_bytes(self.source.read_bytes())
        return Fallback((f"attempt {len(self.aims)}",), None)  # type: ignore[arg-type]  # nobody asks for its parity

    def float32_share(self, kept: Sequence[str]) -> float:
        return 0.01 * int(kept[0].split()[1])


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many attempts at int8 the gate refuses; the files are the float32 one."""
    check, count = Gate.check, [2]

    def refuse(self: Gate, path: Path, precision: str) -> dict[str, dict[str, Any]]:
        if precision == "int8" and len(_Remembering.aims) <= count[0]:
            raise ReidError("model.int8.onnx strays")
        return check(self, path, precision)

    monkeypatch.setattr(_Remembering, "aims", [])
    monkeypatch.setitem(CONVERSIONS, "int8", _Remembering)
    monkeypatch.setattr(Gate, "check", refuse)
    return count


def test_layers_are_chosen_again_more_strictly_until_the_gate_passes(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path, refusals: list[int]
) -> None:
    options: dict[str, Any] = {
        "calibration": crops,
        "precisions": ["int8"],
        "limits": Limits({"fp32": 0.9999, "int8": 0.96}),
    }
    report = _export(exported, tmp_path / "model", crops, **options)
    assert _Remembering.aims == pytest.approx([0.96, 0.98, 0.99])
    assert report["files"]["int8"]["float32_layers"] == ["attempt 3"]
    assert report["files"]["int8"]["float32_share"] == 0.03


def test_a_precision_that_fails_is_left_out_unless_it_is_required(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path, refusals: list[int]
) -> None:
    refusals[0] = 3
    options: dict[str, Any] = {"calibration": crops, "precisions": ["int8", "fp16"]}
    options["limits"] = Limits({"fp32": 0.9999, "fp16": 0.99, "int8": 0.96})
    report = _export(exported, tmp_path / "model", crops, **options)
    assert len(_Remembering.aims) == 3
    card = load_card(tmp_path / "model")
    assert card.left_out == report["left_out"] == {"int8": "model.int8.onnx strays"}
    assert set(card.files) == set(report["files"]) == set(report["self_test"]) == {"fp32", "fp16"}
    assert not (tmp_path / "model" / "model.int8.onnx").exists()
    _Remembering.aims.clear()
    with pytest.raises(ReidError, match=r"model\.int8\.onnx strays"):
        _export(exported, tmp_path / "never", crops, required=["int8"], **options)
    assert not (tmp_path / "never").exists()


def test_the_self_test_holds_the_trained_models_answers(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    report = _export(exported, tmp_path / "model", crops)
    card = load_card(tmp_path / "model")
    assert card.self_test is not None
    test = read_self_test(tmp_path / "model" / card.self_test.path)
    assert test.images.shape == (8, 64, 32, 3)
    np.testing.assert_allclose(test.embeddings, embed_images(exported.model, test.images), atol=1e-6)
    cosines = test.cosines(embed_onnxruntime(tmp_path / "model" / "model.onnx", test.images))
    assert card.self_test.lowest == report["self_test"]
    assert cosines.min() == pytest.approx(card.self_test.lowest["fp32"], abs=1e-6)
    # Pictures of different people, not eight times one.
    assert np.triu(test.embeddings @ test.embeddings.T, 1).max() < 0.999
    _export(exported, tmp_path / "again", crops)
    assert sha256_of(tmp_path / "again" / card.self_test.path) == card.self_test.sha256


def test_the_fingerprint_is_of_weights_and_input(exported: Exported, tmp_path: Path) -> None:
    here = fingerprint_of(exported.checkpoint, InputSpec(height=64, width=32))
    assert re.fullmatch("[0-9a-f]{32}", here)
    assert here != fingerprint_of(exported.checkpoint, InputSpec(height=64, width=48))
    changed = tmp_path / "changed.safetensors"
    content = bytearray(exported.checkpoint.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    assert here != fingerprint_of(changed, InputSpec(height=64, width=32))


def test_without_an_engine_the_report_says_why(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("reid.export.installed", lambda module: False)
    report = _export(exported, tmp_path / "absent", crops, engines="tensorrt_rtx")
    assert "tensorrt_rtx is not installed" in report["engines"]["fp32"]["note"]
    assert "engine_fp32" not in load_card(tmp_path / "absent").files


def test_a_file_that_strays_stops_the_export_and_leaves_the_old_directory(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    out = tmp_path / "model"
    report = _export(exported, out, crops)
    assert report["engines"]["fp32"] == {"note": "no engine was asked for"}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(
        ReidError, match=r"model\.onnx in onnxruntime strays from .* worst images: .*person 3\.png"
    ) as caught:
        # No float32 file reaches a cosine over one: the limit fails every image.
        _export(
            exported,
            out,
            crops[:4],
            limits=Limits({"fp32": 1.1}),
            crop_names=[f"person {row}.png" for row in range(4)],
        )
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_wrong_arguments_are_named(exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(UsageError, match="precision 'fp8' is unknown: choose from fp32"):
        _export(exported, out, crops, precisions=("fp8",))
    with pytest.raises(UsageError, match="limits lack 'fp32'"):
        _export(exported, out, crops, limits=Limits({}))
    with pytest.raises(UsageError, match="int8 is made with training crops, and none are given"):
        _export(exported, out, crops, precisions=("int8",), limits=Limits({"fp32": 0.9, "int8": 0.9}))
    with pytest.raises(UsageError, match="provenance key 'author' is unknown"):
        _export(exported, out, crops, provenance={"author": "x"})
    with pytest.raises(
        ReidError, match=r"crops are uint8 \(12, 32, 64, 3\): the model wants uint8 \(N, 64, 32, 3\)"
    ):
        _export(exported, out, np.ascontiguousarray(crops.transpose(0, 2, 1, 3)))
    with pytest.raises(ReidError, match="no crop to check parity on"):
        _export(exported, out, crops[:0])
    assert list(tmp_path.iterdir()) == []
