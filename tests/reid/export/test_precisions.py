"""Half precision and int8: real files that differ from float32 by rounding only, and layers kept back where
rounding costs too much.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from reid.errors import ReidError
from reid.export.fallback import leading, most_sensitive
from reid.export.half import convert_fp16, store_half
from reid.export.onnx import backbone_nodes, convolutions, read_onnx, write_onnx
from reid.export.precisions import FLOAT32_SHARE, Fp16Conversion, Int8Conversion
from reid.export.runners import embed_onnxruntime, embed_openvino
from reid.parity import ParityReport, measure_parity
from tests.reid.export.conftest import smooth_crops


@pytest.fixture(scope="module")
def training() -> npt.NDArray[np.uint8]:
    return smooth_crops(16, 64, 32, seed=3)


def _parity(small: Path, path: Path, crops: npt.NDArray[np.uint8]) -> ParityReport:
    return measure_parity(
        embed_onnxruntime(small, crops),
        embed_onnxruntime(path, crops),
        [str(row) for row in range(len(crops))],
    )


def _types(path: Path) -> dict[str, int]:
    proto = onnx.shape_inference.infer_shapes(read_onnx(path))
    known = {
        value.name: value.type.tensor_type.elem_type
        for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    }
    return {node.name: known[node.output[0]] for node in proto.graph.node}


def test_half_precision_is_half_and_its_ends_are_not(
    small: Path, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "model.fp16.onnx"
    convert_fp16(small, path)
    report = _parity(small, path, crops)
    assert 0.999 < report.lowest < 1 - 1e-9
    proto = read_onnx(path)
    assert proto.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert proto.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    types = _types(path)
    backbone = backbone_nodes(proto)
    assert {types[name] for name in convolutions(proto)} == {TensorProto.FLOAT16}
    assert {
        types[node.name]
        for node in proto.graph.node
        if node.op_type in ("ReduceMean", "ReduceL2", "BatchNormalization")
    } == {TensorProto.FLOAT}
    assert len(backbone) > len(convolutions(proto))
    assert [prop.key for prop in proto.metadata_props] == ["reid.note"]


def test_layers_kept_from_half_precision_are_the_first(
    small: Path, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    whole, partly, none = (tmp_path / f"{name}.onnx" for name in ("whole", "partly", "none"))
    names = convolutions(read_onnx(small))
    convert_fp16(small, whole)
    convert_fp16(small, partly, names[:3])
    convert_fp16(small, none, names)
    types = _types(partly)
    assert [types[name] for name in names] == [TensorProto.FLOAT] * 3 + [TensorProto.FLOAT16] * (
        len(names) - 3
    )
    assert _parity(small, partly, crops).mean > _parity(small, whole, crops).mean
    np.testing.assert_array_equal(embed_onnxruntime(none, crops), embed_onnxruntime(small, crops))


def test_weights_stored_in_half_precision_are_calculated_with_in_float32(
    small: Path, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "stored.onnx"
    store_half(small, path)
    assert path.stat().st_size < 0.6 * small.stat().st_size
    weights = {tensor.name: tensor for tensor in read_onnx(path).graph.initializer}
    stored = [one for one in weights.values() if one.data_type == TensorProto.FLOAT16]
    assert len(stored) >= 5
    assert {_types(path)[name] for name in convolutions(read_onnx(path))} == {TensorProto.FLOAT}
    assert 0.9999 < _parity(small, path, crops).lowest < 1 - 1e-12
    for tensor in read_onnx(small).graph.initializer:
        if f"{tensor.name}_fp16" in weights:
            got = numpy_helper.to_array(weights[f"{tensor.name}_fp16"])
            np.testing.assert_array_equal(got, numpy_helper.to_array(tensor).astype(np.float16))
    np.testing.assert_allclose(embed_openvino(path, crops), embed_onnxruntime(path, crops), atol=1e-4)


def test_a_weight_beyond_half_precision_is_named(small: Path, tmp_path: Path) -> None:
    proto = read_onnx(small)
    convolution = next(node for node in proto.graph.node if node.op_type == "Conv")
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == convolution.input[1])
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = 1e5
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    write_onnx(proto, tmp_path / "large.onnx")
    with pytest.raises(ReidError, match=r"large\.onnx: .* holds 1e\+05, beyond float16: leave fp16 out"):
        convert_fp16(tmp_path / "large.onnx", tmp_path / "half.onnx")
    with pytest.raises(ReidError, match="beyond float16"):
        store_half(tmp_path / "large.onnx", tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()


def test_a_channel_of_another_size_costs_int8_nothing(
    small: Path, training: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    """A channel of the second layer is scaled up by weights and down by the next: in int8 the others would be
    left two levels.
    """
    proto = read_onnx(small)
    second, third = [node for node in proto.graph.node if node.op_type == "Conv"][1:3]
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}

    def scale(name: str, axis: int, factor: float) -> None:
        values = numpy_helper.to_array(tensors[name]).copy()
        values[(slice(None),) * axis + (0,)] *= factor
        tensors[name].CopyFrom(numpy_helper.from_array(values, name))

    scale(second.input[1], 0, 300.0)
    scale(second.input[2], 0, 300.0)
    scale(third.input[1], 1, 1 / 300.0)
    source = tmp_path / "uneven.onnx"
    write_onnx(proto, source)
    conversion = Int8Conversion(source, training)
    fallback = conversion.write(tmp_path / "model.int8.onnx", 0.98)
    assert fallback.kept == ()
    assert fallback.parity.mean > 0.98
    assert Fp16Conversion(small, training).write(tmp_path / "model.fp16.onnx", 0.99).kept == ()


def test_int8_keeps_layers_back_until_the_goal_is_met_and_a_tenth_of_the_work_at_most(
    small: Path, training: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    conversion = Int8Conversion(small, training)
    whole = conversion.write(tmp_path / "whole.onnx", 0.5)
    assert whole.kept == ()
    assert conversion.float32_share(()) == 0
    # A goal that nothing reaches: what may be kept is kept if it wins anything.
    stricter = conversion.write(tmp_path / "stricter.onnx", 1.0)
    assert conversion.float32_share(stricter.kept) <= FLOAT32_SHARE
    assert stricter.parity.mean >= whole.parity.mean
    # All six layers: the stem has 432 weights at 32x16, two more 2304 at 32x16 and 16x8, ...
    assert conversion.float32_share(convolutions(read_onnx(small))) == pytest.approx(1.0)


def _report(mean: float) -> ParityReport:
    return ParityReport(images=1, lowest=mean, median=mean, mean=mean, worst=())


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=30), st.floats(0.0, 1.0))
def test_the_most_sensitive_layers_are_kept_and_no_more_than_it_takes(
    costs: list[float], goal: float
) -> None:
    layers = [f"layer {row}" for row in range(len(costs))]
    total = sum(costs) or 1.0

    def attempt(kept: Sequence[str]) -> ParityReport:
        return _report(
            1 - sum(cost for layer, cost in zip(layers, costs, strict=True) if layer not in kept) / total
        )

    found = most_sensitive(
        layers, attempt, lambda parity: parity.mean >= goal, lambda kept: len(kept) <= len(layers) // 2
    )
    assert found.parity == attempt(found.kept)
    assert len(found.kept) <= len(layers) // 2
    kept_costs = [costs[layers.index(layer)] for layer in found.kept]
    assert all(
        cost <= min(kept_costs) + 1e-9
        for layer, cost in zip(layers, costs, strict=True)
        if found.kept and layer not in found.kept
    )
    if found.kept and found.parity.mean >= goal:
        # One step fewer was not enough.
        fewer = [count for count in (0, 1, 2, 3, 4, 6, 8, 12) if count < len(found.kept)][-1]
        assert attempt(found.kept[:fewer]).mean < goal


def test_the_best_is_returned_when_nothing_is_enough() -> None:
    seen = {0: 0.2, 1: 0.5, 2: 0.9, 3: 0.4, 4: 0.3}
    found = leading(
        [f"layer {row}" for row in range(9)], lambda kept: _report(seen[len(kept)]), lambda parity: False
    )
    assert found.kept == ("layer 0", "layer 1")
    assert found.parity.mean == 0.9
