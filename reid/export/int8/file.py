"""The int8 file: solved once on calibration crops, written with any of its layers left in float32."""

import copy
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from reid.errors import ReidError
from reid.export.int8.equalise import equalise
from reid.export.int8.grid import Grid, activation_grid
from reid.export.int8.rounding import round_weights
from reid.export.int8.walk import Tensors, constants, multiply_adds, run_node, walk
from reid.export.onnx import read_onnx, write_onnx

__all__ = ["Int8File"]

_PRODUCTS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class _Layer:
    """A convolution's levels (int8, of the weights' shape), scales (out,) and bias (out,), float32."""

    levels: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


class Int8File:
    """A float32 file and the int8 layers that stand in for its convolutions.

    Weights have one scale per output channel and at most 64 levels to each side of zero; activations have one
    scale per tensor and 255 levels, all above zero where none is negative (``Grid``). Biases stay in float32.
    Convolutions of pooled maps (the gates of OSNet and MobileNetV3) are a thousandth of the work and stay in
    float32. Only what enters a convolution is rounded; sums of residual branches stay in float32. Layers are
    solved in order, each on what the int8 layers before it give, and a bias is moved so that its channel's
    mean output is that of the float32 network (Nagel et al. 2019, section 4.2, with means measured and not
    derived).

    Args:
        source: a float32 file of ``export_onnx``.
        images: calibration crops, uint8 ``(N, height, width, 3)``; a gigabyte of memory for 64 of 256x128.

    Attributes:
        layers: names of the convolutions that can be int8, in order.
        multiply_adds: of one image, by the name of each convolution and matrix product.

    Raises:
        UsageError: the source does not exist.
        ReidError: there is no image, or the source is no ONNX file.
    """

    def __init__(self, source: Path | str, images: npt.NDArray[np.uint8]) -> None:
        if len(images) == 0:
            raise ReidError(
                "int8 wants training crops to calibrate on, and there is none: give calibration images"
            )
        self._proto = read_onnx(source)
        self.multiply_adds: dict[str, int] = {}
        self._activations: dict[str, Grid] = {}
        self._solved: dict[str, _Layer] = {}
        equalise(self._proto, images)
        self._solve(images)
        self.layers = tuple(self._solved)

    def float32_share(self, kept: Collection[str]) -> float:
        """The share of all multiply-adds that is calculated in float32 with these layers kept: theirs, and
        the head's.
        """
        total = sum(self.multiply_adds.values())
        return (
            sum(
                count
                for name, count in self.multiply_adds.items()
                if name not in self._solved or name in kept
            )
            / total
        )

    def write(self, path: Path | str, kept: Collection[str] = ()) -> None:
        """Write the file, whole or not at all.

        Args:
            path: where to write.
            kept: names of convolutions to leave in float32.
        """
        proto = copy.deepcopy(self._proto)
        graph = proto.graph
        added: Tensors = {}
        nodes: list[onnx.NodeProto] = []
        rounded_already: set[str] = set()
        for node in graph.node:
            layer = None if node.name in kept else self._solved.get(node.name)
            if layer is not None:
                image = node.input[0]
                if image not in rounded_already:
                    rounded_already.add(image)
                    nodes += self._rounding(image, added)
                nodes.append(_levels(node.name, layer, added))
                added[f"{node.name}_bias"] = layer.bias
                node.input[:] = [f"{image}_rounded", f"{node.name}_weights", f"{node.name}_bias"]
            nodes.append(node)
        used = {name for node in nodes for name in node.input}
        tensors = [tensor for tensor in graph.initializer if tensor.name in used]
        tensors += [numpy_helper.from_array(value, name) for name, value in added.items()]
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(tensors)
        write_onnx(proto, path)

    def _rounding(self, image: str, added: Tensors) -> list[onnx.NodeProto]:
        scale, zero = f"{image}_scale", f"{image}_zero"
        grid = self._activations[image]
        added[scale], added[zero] = np.array(grid.scale, np.float32), np.array(grid.zero, np.uint8)
        return [
            helper.make_node(
                "QuantizeLinear", [image, scale, zero], [f"{image}_uint8"], name=f"{image}_quantize"
            ),
            helper.make_node(
                "DequantizeLinear",
                [f"{image}_uint8", scale, zero],
                [f"{image}_rounded"],
                name=f"{image}_dequantize",
            ),
        ]

    def _solve(self, images: npt.NDArray[np.uint8]) -> None:
        graph, opset = self._proto.graph, self._proto.opset_import[0].version
        fixed = constants(graph)
        true: Tensors = {graph.input[0].name: images, **fixed}
        seen: Tensors = dict(true)
        for node in walk(graph, true, seen):
            before = run_node(node, true, opset)
            if node.op_type == "Conv" and before[node.output[0]].shape[2:] != (1, 1):
                after = self._solve_convolution(node, true, seen, before[node.output[0]], opset)
            elif all(true[name] is seen[name] for name in node.input if name):
                after = before
            else:
                after = run_node(node, seen, opset)
            if node.op_type in _PRODUCTS and node.input[1] in fixed:
                self.multiply_adds[node.name] = multiply_adds(
                    node, fixed[node.input[1]], before[node.output[0]]
                )
            true.update(before)
            seen.update(after)

    def _solve_convolution(
        self, node: onnx.NodeProto, true: Tensors, seen: Tensors, wanted: npt.NDArray[np.float32], opset: int
    ) -> Tensors:
        image, weights = node.input[:2]
        if image not in self._activations:
            self._activations[image] = activation_grid(seen[image])
        coarse = self._activations[image].nearest(seen[image])
        try:
            levels, scales = round_weights(node, true[weights], true[image], coarse)
        except np.linalg.LinAlgError as error:
            raise ReidError(
                f"int8: layer {node.name} cannot be solved ({error}): give more calibration images, or "
                "leave int8 out"
            ) from error
        steps = scales.reshape(-1, *(1,) * (levels.ndim - 1))
        bias = true[node.input[2]] if len(node.input) > 2 else np.zeros(len(levels), np.float32)
        plain = onnx.NodeProto.FromString(node.SerializeToString())
        plain.input[:] = ["image", "weights", "bias"]
        given = run_node(plain, {"image": coarse, "weights": levels * steps, "bias": bias}, opset)[
            node.output[0]
        ]
        shift = (wanted.mean((0, 2, 3), np.float64) - given.mean((0, 2, 3), np.float64)).astype(np.float32)
        self._solved[node.name] = _Layer(levels, scales, bias + shift)
        return {node.output[0]: given + shift[:, None, None]}


def _levels(name: str, layer: _Layer, added: Tensors) -> onnx.NodeProto:
    """By the layer's name and not its tensor's: OSNet's branches share the weights of their gate, and each
    has its own levels of them.
    """
    tensors = [f"{name}_levels", f"{name}_scales", f"{name}_zeros"]
    added |= dict(
        zip(tensors, (layer.levels, layer.scales, np.zeros(len(layer.scales), np.int8)), strict=True)
    )
    return helper.make_node(
        "DequantizeLinear", tensors, [f"{name}_weights"], name=f"{name}_dequantize", axis=0
    )
