"""The float32 ONNX file: same answers as torch, any batch, nothing left outside, nothing of this machine
inside.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from reid.errors import ReidError, UsageError
from reid.export.onnx import export_onnx, read_onnx
from reid.export.runners import RUNNERS, embed_onnxruntime, embed_openvino, installed_runners
from reid.losses.bier import learner_sizes
from reid.models.embedder import EmbeddingModel, ModelSpec
from reid.models.inference import embed_images
from tests.reid.export.conftest import Exported


def test_the_file_gives_the_models_own_embeddings_for_any_batch(
    exported: Exported, crops: npt.NDArray[np.uint8]
) -> None:
    reference = embed_images(exported.model, crops)
    for batch in (1, 5, 12):
        got = embed_onnxruntime(exported.onnx, crops, batch=batch)
        np.testing.assert_allclose(got, reference, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(reference, axis=1), 1, atol=1e-6)
    # Blobs of one colour each: were all embeddings the same, agreement would mean nothing.
    assert np.abs(reference - reference.mean(axis=0)).max() > 0.05


def test_before_bn_is_exported_when_the_model_retrieves_with_it(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    other = exported.model.neck_feature
    try:
        exported.model.neck_feature = "before_bn"
        export_onnx(exported.model, exported.spec, tmp_path / "before.onnx", {})
        got, want = embed_onnxruntime(tmp_path / "before.onnx", crops), embed_images(exported.model, crops)
    finally:
        exported.model.neck_feature = other
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert np.abs(want - embed_images(exported.model, crops)).max() > 1e-3


def test_the_mirror_image_is_averaged_inside_the_graph(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    plain = embed_images(exported.model, crops)
    exported.model.flip = True
    try:
        export_onnx(exported.model, exported.spec, tmp_path / "flip.onnx", {})
        want = embed_images(exported.model, crops)
    finally:
        exported.model.flip = False
    for batch in (1, 5):
        np.testing.assert_allclose(
            embed_onnxruntime(tmp_path / "flip.onnx", crops, batch=batch), want, atol=1e-5
        )
        np.testing.assert_allclose(
            embed_openvino(tmp_path / "flip.onnx", crops, batch=batch), want, atol=1e-4
        )
    assert np.abs(want - plain).max() > 1e-3
    # The backbone is in it once.
    assert (tmp_path / "flip.onnx").stat().st_size < 1.1 * exported.onnx.stat().st_size


def test_the_slices_of_a_boosted_ensemble_are_one_embedding_inside_the_graph(
    exported: Exported, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    plain, slices = embed_images(exported.model, crops), learner_sizes(exported.model.dim, 3)
    exported.model.slices = slices
    try:
        export_onnx(exported.model, exported.spec, tmp_path / "boosted.onnx", {})
    finally:
        exported.model.slices = None
    # of the embedding of one piece, whose slices have only to be stretched to their lengths
    parts = np.split(plain.astype(np.float64), np.cumsum(slices)[:-1], axis=1)
    lengths = [
        (size / sum(slices)) ** 0.5 / np.linalg.norm(part, axis=1)
        for size, part in zip(slices, parts, strict=True)
    ]
    want = np.concatenate([part * length[:, None] for part, length in zip(parts, lengths, strict=True)], 1)
    for batch in (1, 5):
        for embed in (embed_onnxruntime, embed_openvino):
            got = embed(tmp_path / "boosted.onnx", crops, batch=batch)
            np.testing.assert_allclose(got, want, atol=1e-4)
    assert np.abs(want - plain).max() > 1e-2


def test_no_layer_writes_over_its_input_where_nothing_else_reads_it(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Undoing that is a third of an export's time."""
    traced = []

    def stop(graph: torch.nn.Module, *_: object, **__: object) -> None:
        traced.append(graph)
        raise RuntimeError("seen")

    assert any(getattr(module, "inplace", False) for module in exported.model.modules())
    monkeypatch.setattr(torch.onnx, "export", stop)
    with pytest.raises(ReidError, match="seen"):
        export_onnx(exported.model, exported.spec, tmp_path / "none.onnx", {})
    (graph,) = traced
    assert not any(getattr(module, "inplace", False) for module in graph.modules())


class _ReadAgain(torch.nn.Module):
    """Reads what its activation has written over."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, 4)
        self.activation = torch.nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.first(images)
        activated: torch.Tensor = self.activation(maps)
        return activated * 0.25 + maps


def test_what_is_read_after_it_was_written_over_stays_so(
    crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = EmbeddingModel(_ReadAgain(), 16).eval()
    want = embed_images(model, crops)
    export_onnx(model, ModelSpec(backbone="small", height=64, width=32), tmp_path / "small.onnx", {})
    np.testing.assert_allclose(embed_onnxruntime(tmp_path / "small.onnx", crops), want, atol=1e-5)


def test_the_contract_of_the_graph(exported: Exported) -> None:
    proto = read_onnx(exported.onnx)
    (image,), (embedding,) = proto.graph.input, proto.graph.output
    assert (image.name, image.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert [axis.dim_value or axis.dim_param for axis in image.type.tensor_type.shape.dim] == [
        "batch",
        64,
        32,
        3,
    ]
    assert (embedding.name, embedding.type.tensor_type.elem_type) == ("embeddings", onnx.TensorProto.FLOAT)
    assert [axis.dim_value or axis.dim_param for axis in embedding.type.tensor_type.shape.dim] == [
        "batch",
        64,
    ]
    assert {prop.key: prop.value for prop in proto.metadata_props} == {"reid.note": "test"}
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer)
    # TensorRT can do nothing with uint8 but cast it.
    assert [node.op_type for node in proto.graph.node if "images" in node.input] == ["Cast"]


def test_the_file_names_no_source_file_and_is_the_same_each_time(exported: Exported, tmp_path: Path) -> None:
    content = exported.onnx.read_bytes()
    assert b".py" not in content
    assert b"stack_trace" not in content
    export_onnx(exported.model, exported.spec, tmp_path / "again.onnx", {"reid.note": "test"})
    assert (tmp_path / "again.onnx").read_bytes() == content


def test_a_model_that_cannot_be_exported_is_named_and_nothing_is_left(
    exported: Exported, tmp_path: Path
) -> None:
    class Branching(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if images.sum() > 0 else -images

    backbone = exported.model.backbone
    try:
        exported.model.backbone = torch.nn.Sequential(Branching(), backbone)
        with pytest.raises(ReidError, match="backbone resnet18 cannot be exported to ONNX") as caught:
            export_onnx(exported.model, exported.spec, tmp_path / "model.onnx", {})
    finally:
        exported.model.backbone = backbone
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def _runs(runner: str) -> Callable[[Path], object]:
    return lambda path: RUNNERS[runner](path, np.zeros((1, 64, 32, 3), np.uint8))


def test_openvino_gives_the_same_embeddings(exported: Exported, crops: npt.NDArray[np.uint8]) -> None:
    pytest.importorskip("openvino")
    np.testing.assert_allclose(
        embed_openvino(exported.onnx, crops, batch=5), embed_images(exported.model, crops), atol=1e-5
    )


def test_truncated_and_foreign_files_are_named(exported: Exported, tmp_path: Path) -> None:
    torn, garbage, empty = (tmp_path / name for name in ("torn.onnx", "garbage.onnx", "empty.onnx"))
    torn.write_bytes(exported.onnx.read_bytes()[:-1000])
    garbage.write_bytes(b"PK\x03\x04 not a graph" * 50)
    empty.touch()
    for path in (torn, garbage, empty):
        for read in (read_onnx, *(_runs(name) for name in installed_runners())):
            with pytest.raises(ReidError, match=re.escape(str(path))) as caught:
                read(path)
            assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="does not exist"):
        read_onnx(tmp_path / "absent.onnx")
