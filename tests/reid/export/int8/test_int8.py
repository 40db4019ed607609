"""Int8 files: no product can saturate, the function is the same before rounding, and rounding costs outputs
as little as it can.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from reid.errors import ReidError
from reid.export.int8 import WEIGHT_LIMIT, Int8File, signed
from reid.export.int8.equalise import equalise
from reid.export.int8.grid import Grid, activation_grid, rounded, weight_scales
from reid.export.int8.rounding import (
    corrected,
    corrected_by_few,
    patches,
    rounded_by_few,
    rounded_with_feedback,
)
from reid.export.int8.walk import constants, run_node, walk
from reid.export.onnx import convolutions, export_onnx, read_onnx, write_onnx
from reid.export.runners import embed_onnxruntime
from reid.models.embedder import ModelSpec, build_model
from reid.parity import measure_parity
from tests.reid.export.conftest import settled, smooth_crops


@pytest.fixture(scope="module")
def training() -> npt.NDArray[np.uint8]:
    return smooth_crops(16, 64, 32, seed=3)


def cosine(source: Path, path: Path, crops: npt.NDArray[np.uint8]) -> float:
    rows = [str(row) for row in range(len(crops))]
    return measure_parity(embed_onnxruntime(source, crops), embed_onnxruntime(path, crops), rows).mean


def int8_weights(path: Path) -> dict[str, npt.NDArray[np.int8]]:
    """The levels behind each convolution's weights, read from the written file by nothing but the graph."""
    proto = read_onnx(path)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    producer = {name: node for node in proto.graph.node for name in node.output}
    found = {}
    for node in proto.graph.node:
        if (
            node.op_type in ("Conv", "Gemm", "MatMul")
            and node.input[1] in producer
            and node.input[0] in producer
        ):
            images, weights = producer[node.input[0]], producer[node.input[1]]
            assert images.op_type == weights.op_type == "DequantizeLinear"
            found[node.name] = tensors[weights.input[0]]
    return found


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "osnet_x0_25"])
def test_no_sum_of_two_products_leaves_sixteen_bits(backbone: str, tmp_path: Path) -> None:
    """Without VNNI processors multiply unsigned by signed bytes and add two neighbouring products into a
    signed 16-bit number.
    """
    spec = ModelSpec(backbone=backbone, weights="none", height=64, width=32)
    images = smooth_crops(8, 64, 32, seed=2)
    export_onnx(settled(build_model(spec), images), spec, tmp_path / "model.onnx", {})
    Int8File(tmp_path / "model.onnx", images).write(tmp_path / "int8.onnx")
    weights = int8_weights(tmp_path / "int8.onnx")
    assert len(weights) > 15
    largest = max(int(np.abs(levels.astype(int)).max()) for levels in weights.values())
    assert 255 * largest * 2 <= 2**15 - 1
    # Nor are levels given away.
    assert largest == WEIGHT_LIMIT == (2**15 - 1) // (2 * 255)


def test_weights_are_signed_per_channel_and_activations_unsigned_before_convolutions_only(
    small: Path, crops: npt.NDArray[np.uint8], training: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "model.int8.onnx"
    Int8File(small, training).write(path)
    assert 0.985 < cosine(small, path, crops) < 1 - 1e-6
    proto = read_onnx(path)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    producer = {name: node for node in proto.graph.node for name in node.output}
    for convolution in (node for node in proto.graph.node if node.op_type == "Conv"):
        activation, weight = (producer[name] for name in convolution.input[:2])
        assert tensors[weight.input[0]].dtype == np.int8
        assert tensors[weight.input[1]].shape == (len(tensors[weight.input[0]]),)
        assert tensors[activation.input[1]].ndim == 0
        assert tensors[weight.input[2]].dtype == np.int8
        assert not tensors[weight.input[2]].any()
        zero_point = tensors[activation.input[2]]
        assert zero_point.dtype == np.uint8
        # The first one sees normalised pixels, of both signs; all others what a Relu leaves.
        source = producer[producer[activation.input[0]].input[0]]
        assert zero_point == {"Div": 128, "Relu": 0}[source.op_type]
        assert tensors[convolution.input[2]].dtype == np.float32
    # Rounding comes after the activation function: in this network a convolution never feeds another one
    # directly.
    into = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    assert {producer[node.input[0]].op_type for node in into} == {"Div", "Relu"}
    assert [prop.key for prop in proto.metadata_props] == ["reid.note"]


def test_it_is_the_same_each_time_and_keeps_the_layers_it_is_given(
    small: Path, crops: npt.NDArray[np.uint8], training: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    solved = Int8File(small, training)
    assert solved.layers == convolutions(read_onnx(small))
    first, second, partly, none = (
        tmp_path / f"{name}.onnx" for name in ("first", "second", "partly", "none")
    )
    solved.write(first)
    Int8File(small, training).write(second)
    assert first.read_bytes() == second.read_bytes()
    solved.write(partly, solved.layers[2:])
    assert Counter(node.op_type for node in read_onnx(partly).graph.node)["QuantizeLinear"] == 2
    solved.write(none, solved.layers)
    np.testing.assert_allclose(embed_onnxruntime(none, crops), embed_onnxruntime(small, crops), atol=1e-5)


def test_the_work_is_counted_as_by_hand(small: Path, training: npt.NDArray[np.uint8]) -> None:
    solved = Int8File(small, training)
    # input channels, positions out
    sizes = [
        (3, 32 * 16),
        (16, 32 * 16),
        (16, 16 * 8),
        (16, 16 * 8),
        (16, 8 * 4),
        (16, 8 * 4),
    ]
    counts = [16 * 9 * channels * positions for channels, positions in sizes]
    assert list(solved.multiply_adds.values()) == counts
    assert solved.float32_share(solved.layers[:1]) == pytest.approx(counts[0] / sum(counts))


def test_int8_without_calibration_crops_is_an_error(small: Path, crops: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ReidError, match="int8 wants training crops to calibrate on"):
        Int8File(small, crops[:0])


def test_weights_that_layers_share_are_rounded_for_each_of_them(tmp_path: Path) -> None:
    """OSNet's branches share the gate behind them; here one convolution is applied twice."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4, 4, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "w"], ["b"], name="second", pads=[1, 1, 1, 1]),
    ]
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4, 8, 8])
        for name in ("images", "b")
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "shared.onnx",
    )
    images = rng.normal(size=(32, 4, 8, 8)).astype(np.float32)
    Int8File(tmp_path / "shared.onnx", images).write(tmp_path / "int8.onnx")  # type: ignore[arg-type]  # a graph that takes floats
    assert set(int8_weights(tmp_path / "int8.onnx")) == {"first", "second"}
    wanted, given_ = (embed_onnxruntime(tmp_path / name, images) for name in ("shared.onnx", "int8.onnx"))  # type: ignore[arg-type]
    assert np.square(given_ - wanted).mean() < 2e-3 * np.square(wanted).mean()


def test_equalising_changes_no_answer_on_the_crops_it_saw(
    small: Path, training: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    """Also with ReLU6, whose bound cuts what grows beyond it."""
    for bound in (None, 1.5):
        proto = read_onnx(small)
        if bound is not None:
            _bounded(proto, bound)
        onnx.save(proto, tmp_path / "before.onnx")
        weights = {name: value.copy() for name, value in constants(proto.graph).items()}
        equalise(proto, training)
        onnx.save(proto, tmp_path / "after.onnx")
        after = constants(proto.graph)
        assert sum(not np.array_equal(after[name], value) for name, value in weights.items()) >= 5
        before_, after_ = (
            embed_onnxruntime(tmp_path / f"{name}.onnx", training) for name in ("before", "after")
        )
        np.testing.assert_allclose(after_, before_, atol=2e-5)


def _bounded(proto: onnx.ModelProto, bound: float) -> None:
    for node in proto.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Clip"
            node.input.extend(["zero", "bound"])
    proto.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in (("zero", 0.0), ("bound", bound))
        ]
    )


def test_equalised_channels_reach_equally_far(small: Path, training: npt.NDArray[np.uint8]) -> None:
    proto = read_onnx(small)
    spreads = []
    for _ in range(2):
        state = {proto.graph.input[0].name: training, **constants(proto.graph)}
        reaches = []
        for node in walk(proto.graph, state):
            state.update(run_node(node, state, proto.opset_import[0].version))
            if node.op_type == "Relu":
                reaches.append(state[node.output[0]].max(axis=(0, 2, 3)))
        spreads.append([reach.max() / np.median(reach) for reach in reaches[:-1]])
        equalise(proto, training)
    assert all(after < before for before, after in zip(*spreads, strict=True))


def test_convolutions_around_a_residual_sum_share_their_factors(tmp_path: Path) -> None:
    """As in MobileNetV2: nothing but a sum lies between convolutions. What something else reads, here the
    last one's, stays.
    """
    rng = np.random.default_rng(4)
    weights = {
        name: rng.normal(size=(4, 4, 1, 1)).astype(np.float32) for name in ("into", "widen", "narrow", "next")
    }
    for name in ("into", "narrow"):
        weights[name] *= np.array([1, 1 / 2, 1 / 4, 1 / 7], np.float32)[:, None, None, None]
    nodes = [
        helper.make_node("Conv", ["images", "into"], ["a"]),
        helper.make_node("Conv", ["a", "widen"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "narrow"], ["d"]),
        helper.make_node("Add", ["a", "d"], ["e"]),
        helper.make_node("Conv", ["e", "next"], ["f"]),
        helper.make_node("Sigmoid", ["f"], ["g"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4, 8, 8])
        for name in ("images", "g")
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        ports[:1],
        ports[1:],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    images = rng.normal(size=(16, 4, 8, 8)).astype(np.float32)

    def outputs() -> dict[str, npt.NDArray[np.float32]]:
        state = {"images": images, **constants(proto.graph)}
        for node in proto.graph.node:
            state.update(run_node(node, state, 20))
        return state

    before = outputs()
    equalise(proto, images)  # type: ignore[arg-type]  # a graph that takes floats
    after = outputs()
    np.testing.assert_allclose(after["g"], before["g"], atol=1e-5)
    np.testing.assert_allclose(after["f"], before["f"], rtol=1e-4, atol=1e-4)
    factors = after["into"][:, 0, 0, 0] / before["into"][:, 0, 0, 0]
    np.testing.assert_allclose(after["narrow"][:, 0, 0, 0] / before["narrow"][:, 0, 0, 0], factors, rtol=1e-5)
    assert factors.max() > 3

    def spread(tensor: npt.NDArray[np.float32]) -> float:
        reach = np.abs(tensor).max(axis=(0, 2, 3))
        return float(reach.max() / reach.min())

    assert spread(after["e"]) < 0.6 * spread(before["e"])


@given(st.integers(0, 2**32 - 1))
def test_the_correction_is_the_ridge_regression_of_true_outputs_on_seen_inputs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(1, 200, 6))
    seen = true + 0.2 * rng.normal(size=true.shape)
    weights = rng.normal(size=(1, 3, 6))
    moments, drift = (part.transpose(0, 2, 1) @ seen / 200 for part in (seen, true - seen))
    found = corrected(weights, moments, drift)
    penalty = 0.2 * np.trace(moments[0]) / 6
    # Written out as a least squares problem with the penalty as further rows.
    rows = np.vstack([seen[0] / np.sqrt(200), np.sqrt(penalty) * np.eye(6)])
    for channel in range(3):
        wanted = np.concatenate(
            [true[0] @ weights[0, channel] / np.sqrt(200), np.sqrt(penalty) * weights[0, channel]]
        )
        np.testing.assert_allclose(found[0, channel], np.linalg.lstsq(rows, wanted, rcond=None)[0], atol=1e-8)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_rounding_with_feedback_costs_outputs_less_than_rounding_to_the_nearest(
    seed: int, groups: int
) -> None:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(groups, 400, 2)) @ rng.normal(size=(groups, 2, 12)) + 0.3 * rng.normal(
        size=(groups, 400, 12)
    )
    moments = inputs.transpose(0, 2, 1) @ inputs / 400
    weights = rng.normal(size=(groups, 40, 12))
    # coarse, so that the difference is plain
    scales = weight_scales(weights, np.diagonal(moments, axis1=1, axis2=2)) * 8
    levels = rounded_with_feedback(weights, moments, scales)
    assert np.array_equal(levels, np.rint(levels))
    assert np.abs(levels).max() <= WEIGHT_LIMIT

    def cost(candidate: npt.NDArray[np.float64]) -> float:
        off = candidate * scales - weights
        return float(np.einsum("gci,gij,gcj->", off, moments, off))

    assert cost(levels) < cost(rounded(weights, scales, WEIGHT_LIMIT))


@pytest.mark.parametrize(("groups", "positions", "inputs"), [(1, 8, 300), (2, 5, 64)])
def test_by_few_positions_the_same_numbers_come_out(groups: int, positions: int, inputs: int) -> None:
    rng = np.random.default_rng(4)
    true = np.abs(rng.normal(size=(groups, positions, inputs)))
    true[:, :, 7] = 0  # an input that is never lit
    seen = true + 0.05 * rng.normal(size=true.shape)
    weights = rng.normal(size=(groups, 6, inputs))
    moments, drift = (part.transpose(0, 2, 1) @ seen / positions for part in (seen, true - seen))
    wanted = corrected(weights, moments, drift)
    np.testing.assert_allclose(corrected_by_few(weights, true, seen), wanted, rtol=1e-9)
    scales = weight_scales(wanted, np.diagonal(moments, axis1=1, axis2=2)).astype(np.float64)
    levels = rounded_with_feedback(wanted, moments, scales)
    np.testing.assert_array_equal(rounded_by_few(wanted, seen, scales), levels)
    assert not np.array_equal(levels, rounded(wanted, scales, WEIGHT_LIMIT))


def test_feedback_finds_nothing_to_do_for_inputs_that_know_nothing_of_each_other() -> None:
    weights = np.random.default_rng(0).normal(size=(1, 5, 300))  # more inputs than a block
    scales = np.full((1, 5, 1), 0.1)
    levels = rounded_with_feedback(weights, np.eye(300)[None], scales)
    np.testing.assert_array_equal(levels, rounded(weights, scales, WEIGHT_LIMIT))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_patches_times_weights_are_the_convolution(groups: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 4, 9, 7)).astype(np.float32)
    weights = rng.normal(size=(8, 4 // groups, 3, 2)).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], group=groups, strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2]
    )
    wanted = run_node(node, {"x": values, "w": weights}, 20)["y"]
    found = patches(values, node, (3, 2)) @ weights.reshape(groups, 8 // groups, -1).transpose(0, 2, 1)
    np.testing.assert_allclose(
        found.transpose(0, 2, 1).reshape(8, 2, *wanted.shape[2:]).transpose(1, 0, 2, 3), wanted, atol=1e-5
    )


def test_one_outlier_does_not_take_the_levels_of_all_others() -> None:
    values = np.append(np.random.default_rng(0).normal(size=200_000), 20.0).astype(np.float32)
    found = activation_grid(values)
    assert found.zero == 128
    assert 4.5 < 127 * found.scale < 16
    kept, lost = (np.square(grid.nearest(values) - values).mean() for grid in (found, Grid(20 / 127, 128)))
    assert kept < lost
    assert activation_grid(np.zeros(4, np.float32)) == Grid(1.0, 0)


@pytest.mark.parametrize("lowest", [-3.0, 0.0])
def test_a_grid_holds_what_onnx_gives_back(lowest: float) -> None:
    values = np.random.default_rng(2).uniform(lowest, 5.0, (1, 1, 40, 40)).astype(np.float32)
    values[0, 0, 0, :3] = [-50.0, 0.0, 50.0]  # beyond the grid, and its zero
    grid = activation_grid(values.clip(lowest, 5.0))
    scale, zero = np.array(grid.scale, np.float32), np.array(grid.zero, np.uint8)
    levels = run_node(
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), {"x": values, "s": scale, "z": zero}, 20
    )["q"]
    given = run_node(
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]), {"q": levels, "s": scale, "z": zero}, 20
    )["y"]
    np.testing.assert_array_equal(grid.nearest(values), given)
    assert given[0, 0, 0, 1] == 0
    # Where nothing is negative, all 255 steps lie above zero.
    assert grid.scale == pytest.approx(5 / (127 if lowest else 255), rel=0.05)


def test_tensorrt_gets_the_same_network_around_zero(
    small: Path, crops: npt.NDArray[np.uint8], training: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    path, other = tmp_path / "model.int8.onnx", tmp_path / "signed.onnx"
    Int8File(small, training).write(path)
    proto = signed(read_onnx(path))
    write_onnx(proto, other)
    tensors = constants(proto.graph)
    zeros = {
        node.input[2] for node in proto.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    assert len(zeros) == 12  # six convolutions
    assert all(tensors[name].dtype == np.int8 and not tensors[name].any() for name in zeros)
    before = constants(read_onnx(path).graph)
    for name in zeros - {name for name in zeros if before[name].dtype == np.int8}:
        scale = name.removesuffix("_zero") + "_scale"
        # As far as before: 127 levels where there were 255 from zero up, or 127 to each side.
        assert 127 * tensors[scale] == pytest.approx((255 - int(before[name])) * before[scale])
    assert cosine(path, other, crops) > 0.99
    assert cosine(small, other, crops) > 0.98
    # A file without uint8 levels is left as it is.
    assert signed(read_onnx(small)) == read_onnx(small)
