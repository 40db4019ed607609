"""Tiny ONNX files of every layout that answer known boxes, whatever the picture shows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 64, 96  # of the inputs
STRIDES = (8, 16, 32)
_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


@dataclass(frozen=True)
class Detected:
    """A box that a file answers: xyxy in pixels of its input, class, confidence."""

    box: tuple[float, float, float, float]
    number: int
    confidence: float


def cells(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Column, row and stride of each cell (M, 3), as YOLO orders them."""
    found = [
        (x, y, stride) for stride in STRIDES for y in range(height // stride) for x in range(width // stride)
    ]
    return np.array(found, np.float64)


def centred(detected: Detected) -> list[float]:
    x0, y0, x1, y1 = detected.box
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


def relative(detected: Detected) -> list[float]:
    return [value / size for value, size in zip(centred(detected), [WIDTH, HEIGHT] * 2, strict=True)]


def yolox(detected: list[Detected], classes: int, decoded: bool = False) -> dict[str, np.ndarray]:
    grid = cells()
    table = np.zeros((1, len(grid), 5 + classes))
    if decoded:
        table[0, :, :2] = (grid[:, :2] + 0.5) * grid[:, 2:]
    for row, one in zip((5, 100, 124), detected, strict=False):  # a cell of each stride
        x, y, stride = grid[row]
        cx, cy, w, h = centred(one)
        raw = [cx / stride - x, cy / stride - y, np.log(w / stride), np.log(h / stride)]
        table[0, row, :5] = [*(centred(one) if decoded else raw), 0.9]
        table[0, row, 5 + one.number] = one.confidence / 0.9
    return {"output": table}


def decoded_yolox(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    return yolox(detected, classes, decoded=True)


def yolov5(
    detected: list[Detected], classes: int, rows: int = 378, sure: float = 0.8
) -> dict[str, np.ndarray]:
    table = np.zeros((1, rows, 5 + classes))
    for row, one in enumerate(detected, start=7):
        table[0, row, :5] = [*centred(one), sure]
        table[0, row, 5 + one.number] = one.confidence / sure
    return {"output0": table, "maps": np.zeros((1, 3, 8, 12, 5 + classes))}


def yolov5_without_pictures(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    return {"output": yolov5(detected, classes)["output0"][0]}


def yolov6(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    table = yolov5(detected, classes, len(cells()), 1.0)["output0"]
    table[..., 4] = 1
    return {"outputs": table}


def yolov8(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    table = np.zeros((1, 4 + classes, len(cells())))
    for column, one in enumerate(detected, start=3):
        table[0, :4, column] = centred(one)
        table[0, 4 + one.number, column] = one.confidence
    return {"output0": table}


def end2end(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    table = np.zeros((1, 20, 6))
    for row, one in enumerate(detected):
        table[0, row] = [*one.box, one.confidence, one.number]
    return {"output0": table}


def ssd(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    table = np.zeros((1, 1, 20, 7))
    for row, one in enumerate(detected):
        edges = [value / size for value, size in zip(one.box, [WIDTH, HEIGHT] * 2, strict=True)]
        table[0, 0, row] = [0, one.number, one.confidence, *edges]
    table[0, 0, len(detected), 0] = -1
    return {"detection_out": table}


def detr(
    detected: list[Detected], classes: int, names: tuple[str, str] = ("logits", "pred_boxes")
) -> dict[str, np.ndarray]:
    logits = np.full((1, 30, classes), -20.0)
    boxes = np.full((1, 30, 4), 0.1)
    for row, one in enumerate(detected, start=4):
        boxes[0, row] = relative(one)
        logits[0, row, one.number] = np.log(one.confidence / (1 - one.confidence))
    return {names[0]: logits, names[1]: boxes}


def rfdetr(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    return dict(reversed(detr(detected, classes, ("labels", "dets")).items()))


def rtdetr(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    answers = detr(detected, classes)
    return {"output0": np.concatenate([answers["pred_boxes"], 1 / (1 + np.exp(-answers["logits"]))], axis=2)}


def dfine(detected: list[Detected], classes: int) -> dict[str, np.ndarray]:
    """Boxes relative to the picture: the file multiplies them by its second input."""
    labels, boxes, scores = np.zeros((1, 30)), np.full((1, 30, 4), 0.2), np.zeros((1, 30))
    for row, one in enumerate(detected):
        labels[0, row], scores[0, row] = one.number, one.confidence
        boxes[0, row] = [value / size for value, size in zip(one.box, [WIDTH, HEIGHT] * 2, strict=True)]
    return {"labels": labels, "boxes": boxes, "scores": scores}


def detector_file(
    path: Path,
    outputs: dict[str, np.ndarray],
    *,
    dtype: str = "float32",
    batch: int | str = 1,
    size: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    brighter: dict[str, np.ndarray] | None = None,
    sizes: bool = False,
    last: bool = False,
) -> Path:
    """An ONNX file that answers ``outputs``.

    Args:
        path: to write to.
        outputs: by name, each for one picture.
        dtype: of the input, and of outputs but labels where it is float16.
        batch: of the input.
        size: of the input.
        brighter: added to an output, times the picture's mean as the file is given it.
        sizes: a second input ``orig_target_sizes`` multiplies the output ``boxes``.
        last: channels are the last axis.
    """
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
    ]
    weights = {"axes": np.array([1, 2, 3], np.int64)}
    ends = []
    if sizes:
        nodes += [
            helper.make_node("Cast", ["orig_target_sizes"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["wide", "wide"], ["twice"], axis=1),
            helper.make_node("Unsqueeze", ["twice", "middle"], ["factor"]),
        ]
        weights["middle"] = np.array([1], np.int64)
    for name, value in outputs.items():
        half = dtype == "float16" and name != "labels"
        kind = TensorProto.INT64 if name == "labels" and sizes else _TYPES["float16" if half else "float32"]
        weights |= {
            f"{name}_raw": value.astype(np.float32),
            f"{name}_slope": (brighter or {}).get(name, np.zeros_like(value)).astype(np.float32),
            f"{name}_shape": np.array([-1, *[1] * (value.ndim - 1)], np.int64),
        }
        scaled = sizes and name == "boxes"
        nodes += [
            helper.make_node("Reshape", ["mean", f"{name}_shape"], [f"{name}_mean"]),
            helper.make_node("Mul", [f"{name}_mean", f"{name}_slope"], [f"{name}_more"]),
            helper.make_node("Add", [f"{name}_raw", f"{name}_more"], [f"{name}_sum"]),
            helper.make_node("Mul", [f"{name}_sum", "factor"], [f"{name}_scaled"])
            if scaled
            else helper.make_node("Identity", [f"{name}_sum"], [f"{name}_scaled"]),
            helper.make_node("Cast", [f"{name}_scaled"], [name], to=kind),
        ]
        first = [batch] if value.shape[0] == 1 and value.ndim != 4 else [value.shape[0]]
        ends.append(helper.make_tensor_value_info(name, kind, [*first, *value.shape[1:]]))
    shape = [batch, *size, 3] if last else [batch, 3, *size]
    entries = [helper.make_tensor_value_info("images", _TYPES[dtype], shape)]
    if sizes:
        entries.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [batch, 2]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        entries,
        ends,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path
