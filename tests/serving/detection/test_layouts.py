"""A file of each layout answers known boxes: they come out in the picture's own pixels, in every runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reid.errors import ReidError, UsageError
from serving.detection import DetectorModel, NetworkDetector, open_model
from serving.video import Frame
from tests.serving.detection import tiny_detectors as tiny
from tests.serving.detection.tiny_detectors import HEIGHT, WIDTH, Detected, detector_file

RUNTIMES = ("onnxruntime", "openvino")
SIZES = ((64, 96), (101, 203), (97, 61), (480, 640))
Case = tuple[Callable[[list[Detected], int], dict[str, np.ndarray]], str, int, int]
# the answer, the layout it is recognised as, its classes, and the class that people are
CASES: dict[str, Case] = {
    "yolox": (tiny.yolox, "yolox", 80, 0),
    "yolox, one class": (tiny.yolox, "yolox", 1, 0),
    "yolox, decoded in the file": (tiny.decoded_yolox, "yolox", 80, 0),
    "yolov5": (tiny.yolov5, "yolov5", 80, 0),
    "yolov5, one class": (tiny.yolov5, "yolov5", 1, 0),
    "yolov5, no axis of pictures": (tiny.yolov5_without_pictures, "yolov5", 80, 0),
    "yolov6": (tiny.yolov6, "yolov5", 80, 0),
    "yolov8": (tiny.yolov8, "yolov8", 80, 0),
    "yolov8, one class": (tiny.yolov8, "yolov8", 1, 0),
    "yolov8, two classes": (tiny.yolov8, "yolov8", 2, 0),
    "end2end": (tiny.end2end, "end2end", 80, 0),
    "ssd": (tiny.ssd, "ssd", 2, 1),
    "detr": (tiny.detr, "detr", 80, 0),
    "detr, four classes": (tiny.detr, "detr", 4, 0),
    "rfdetr": (tiny.rfdetr, "rfdetr", 91, 1),
    "rfdetr, one class": (tiny.rfdetr, "rfdetr", 1, 0),
    "rtdetr": (tiny.rtdetr, "rtdetr", 80, 0),
    "rtdetr, two classes": (tiny.rtdetr, "rtdetr", 2, 0),
    "dfine": (tiny.dfine, "dfine", 80, 0),
}
PLACES = {"yolox": "corner", "yolov5": "centre", "yolov8": "centre", "end2end": "centre"}


def detections(person: int, classes: int) -> list[Detected]:
    """Two people, and somebody of another class where there is one."""
    other = [Detected((70, 20, 85, 45), (person + 1) % classes, 0.8)] if classes > 1 else []
    return [Detected((5, 15, 24, 48), person, 0.75), Detected((40.5, 22.25, 61, 47), person, 0.5), *other]


def expected(box: tuple[float, ...], picture: tuple[int, int], way: str) -> list[float]:
    """A box of the input in pixels of the picture, by the rule of three."""
    (height, width), inner, edge = picture, (HEIGHT, WIDTH), (0, 0)
    if way != "stretch":
        ratio = min(HEIGHT / height, WIDTH / width)
        inner = (round(height * ratio), round(width * ratio))
    if way == "centre":
        edge = ((HEIGHT - inner[0]) // 2, (WIDTH - inner[1]) // 2)
    x = [(value - edge[1]) * width / inner[1] for value in box[::2]]
    y = [(value - edge[0]) * height / inner[0] for value in box[1::2]]
    clipped = np.clip([x[0], y[0], x[1], y[1]], 0, [width, height] * 2)
    return [float(value) for value in clipped]


def frame(height: int, width: int, value: int = 0) -> Frame:
    return Frame(1, 0.0, np.full((height, width, 3), value, np.uint8))


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_known_boxes_come_out_in_the_pictures_pixels(tmp_path: Path, name: str, backend: str) -> None:
    pytest.importorskip(backend)
    answer, layout, classes, person = CASES[name]
    boxes = detections(person, classes)
    path = detector_file(tmp_path / "d.onnx", answer(boxes, classes), sizes=layout == "dfine")
    detector = NetworkDetector(open_model(path, backend=backend), confidence=0.3, min_size=(1, 1))
    assert (detector.model.layout.name, detector.person) == (layout, person)
    for height, width in SIZES:
        (found,) = detector.detect([frame(height, width)])
        way = PLACES.get(layout, "stretch")
        wanted = [expected(one.box, (height, width), way) for one in boxes[:2]]
        visible = [row for row in wanted if row[2] - row[0] >= 1 and row[3] - row[1] >= 1]
        order = np.argsort(-found.confidence)
        np.testing.assert_allclose(found.xyxy[order], visible, rtol=1e-4, atol=1e-3)
        assert len(visible) == 2 or (height, width) == (97, 61)
        if len(visible) == 2:
            np.testing.assert_allclose(found.confidence[order], [0.75, 0.5], rtol=1e-4)


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("layout", ["yolov8", "end2end", "detr", "dfine"])
@pytest.mark.parametrize("batch", ["batch", 3])
def test_frames_go_through_in_batches_and_keep_their_order(
    tmp_path: Path, layout: str, backend: str, batch: int | str
) -> None:
    pytest.importorskip(backend)
    outputs = CASES[layout][0](detections(0, 2), 2)
    slope = {name: np.zeros_like(value) for name, value in outputs.items()}
    box = {
        "yolov8": ("output0", 0),
        "end2end": ("output0", 0),
        "detr": ("pred_boxes", 0),
        "dfine": ("boxes", 0),
    }
    table = slope[box[layout][0]]
    if layout == "yolov8":
        table[0, 0] = 10
    elif layout == "end2end":
        table[..., [0, 2]] = 10
    elif layout == "detr":
        table[..., 0] = 10 / WIDTH
    else:
        table[..., [0, 2]] = 10 / WIDTH
    path = detector_file(tmp_path / "d.onnx", outputs, batch=batch, brighter=slope, sizes=layout == "dfine")
    model = open_model(path, backend=backend)
    detector = NetworkDetector(model, confidence=0.6, min_size=(1, 1))
    assert model.batch == (3 if batch == 3 else 4)
    values = (0, 51, 102, 153, 204, 255)
    found = detector.detect([frame(HEIGHT, WIDTH, value) for value in values])
    lefts = [float(one.xyxy[0, 0]) for one in found]
    np.testing.assert_allclose(lefts, [5 + 10 * value / 255 for value in values], atol=2e-3)


def test_frames_of_several_sizes_are_not_put_into_one_batch(tmp_path: Path) -> None:
    path = detector_file(tmp_path / "d.onnx", tiny.end2end(detections(0, 2), 2), batch="n")
    detector = NetworkDetector(open_model(path, backend="onnxruntime"), confidence=0.6, min_size=(1, 1))
    found = detector.detect([frame(64, 96), frame(128, 192), frame(64, 96)])
    assert [round(float(one.xyxy[0, 0])) for one in found] == [5, 10, 5]


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_other_types_of_input_and_channels_last(tmp_path: Path, dtype: str, backend: str) -> None:
    pytest.importorskip(backend)
    outputs = tiny.end2end(detections(0, 2), 2)
    slope = np.zeros_like(outputs["output0"])
    slope[..., [0, 2]] = 0.04 if dtype == "uint8" else 10  # pixels are bytes here, and 0 to 1 there
    for last in (False, True):
        path = detector_file(
            tmp_path / f"{last}.onnx", outputs, dtype=dtype, brighter={"output0": slope}, last=last
        )
        detector = NetworkDetector(open_model(path, backend=backend), confidence=0.6, min_size=(1, 1))
        (found,) = detector.detect([frame(HEIGHT, WIDTH, 250)])
        shift = 250 * 0.04 if dtype == "uint8" else 250 / 255 * 10
        np.testing.assert_allclose(found.xyxy[0], [5 + shift, 15, 24 + shift, 48], atol=0.05)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_file_for_any_size_is_run_on_the_smallest_that_holds_the_picture(
    tmp_path: Path, backend: str
) -> None:
    pytest.importorskip(backend)
    path = detector_file(tmp_path / "d.onnx", tiny.end2end(detections(0, 2), 2), size=("height", "width"))
    model = open_model(path, backend=backend)
    assert model.size == (640, 640)
    assert model.input_size(360, 640) == (384, 640)
    (found,) = NetworkDetector(model, confidence=0.6, min_size=(1, 1)).detect([frame(720, 1280)])
    np.testing.assert_allclose(found.xyxy[0], [10, (15 - 12) * 2, 48, (48 - 12) * 2], atol=1e-3)
    assert open_model(path, backend=backend, size=(HEIGHT, WIDTH)).input_size(100, 100) == (64, 64)
    fixed = detector_file(tmp_path / "f.onnx", tiny.end2end(detections(0, 2), 2))
    with pytest.raises(UsageError, match=r"f\.onnx takes 64x96: leave detector\.size out"):
        open_model(fixed, backend=backend, size=(640, 640))


def test_an_openvino_model_is_read_and_one_without_its_weights_named(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path = detector_file(tmp_path / "d.onnx", tiny.ssd(detections(1, 2), 2))
    openvino.save_model(openvino.Core().read_model(path), tmp_path / "d.xml")
    (found,) = NetworkDetector(open_model(tmp_path / "d.xml"), min_size=(1, 1)).detect([frame(128, 192)])
    np.testing.assert_allclose(found.xyxy[0], [10, 30, 48, 96], atol=0.1)
    (tmp_path / "d.bin").unlink()
    with pytest.raises(ReidError, match=r"^detector model .*d\.bin is not there: .*copy both$"):
        open_model(tmp_path / "d.xml")


def test_a_layout_can_be_said_and_must_fit(tmp_path: Path) -> None:
    # A head of other strides: what the rows are cannot be counted out.
    path = detector_file(tmp_path / "d.onnx", tiny.yolov5(detections(0, 3), 3, rows=500))
    with pytest.raises(ReidError, match=r"gives output0 \[1, 500, 8\].*: say detector\.layout, one of yolox"):
        open_model(path, backend="onnxruntime")
    model = open_model(path, "yolov5", backend="onnxruntime")
    (found,) = NetworkDetector(model, confidence=0.3, min_size=(1, 1)).detect([frame(64, 96)])
    assert len(found) == 2
    ssd = detector_file(tmp_path / "s.onnx", tiny.ssd(detections(1, 2), 2))
    with pytest.raises(ReidError, match=r"which is not the layout yolov8; it looks like ssd$"):
        open_model(ssd, "yolov8", backend="onnxruntime")


OTHERS = {
    "an embedder": ({"embeddings": np.ones((1, 512))}, "an embedder belongs under model"),
    "another embedder": ({"embeddings": np.ones((1, 512, 1, 1))}, "an embedder belongs under model"),
    "tokens": (
        {"tokens": np.random.default_rng(0).standard_normal((1, 197, 768))},
        r"gives tokens \[1, 197, 768\], which no known layout",
    ),
    "feature maps": ({"a": np.ones((1, 3, 8, 12, 85)), "b": np.ones((1, 3, 4, 6, 85))}, "no known layout"),
    "TensorRT's NMS": (
        {"num_dets": np.ones((1, 1)), "det_boxes": np.ones((1, 9, 4)), "det_scores": np.ones((1, 9))},
        "its NMS is inside.* export it without NMS",
    ),
    "ONNX's NMS": (
        {"boxes": np.zeros((1, 9, 4)), "scores": np.zeros((1, 80, 9)), "selected": np.zeros((5, 3))},
        "its NMS is inside",
    ),
    "YOLOv7's NMS": ({"output": np.array([[0, 5, 15, 24, 48, 0, 0.75]])}, "its NMS is inside"),
    "segments": ({"output0": np.zeros((1, 20, 38)), "proto": np.ones((1, 32, 16, 24))}, "no known layout"),
    "poses": ({"output0": np.zeros((1, 20, 57))}, "no known layout"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_detector_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    outputs, words = OTHERS[name]
    path = detector_file(tmp_path / "d.onnx", outputs)
    with pytest.raises(ReidError, match=words) as caught:
        open_model(path, backend="onnxruntime")
    assert str(caught.value).startswith(f"detector model {path}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_inputs_that_cannot_be_filled_are_named(tmp_path: Path, backend: str) -> None:
    import onnx

    pytest.importorskip(backend)
    path = detector_file(tmp_path / "d.onnx", tiny.dfine(detections(0, 2), 2), sizes=True)
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = ["im_shape" if name == "orig_target_sizes" else name for name in node.input]
    model.graph.input[1].name = "im_shape"
    onnx.save(model, path)
    with pytest.raises(ReidError, match=r"has 2 inputs \(images float32 .*, im_shape int64 \[1, 2\]\)"):
        open_model(path, backend=backend)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    model.graph.input[1].name = "orig_target_sizes"
    for node in model.graph.node:
        node.input[:] = ["orig_target_sizes" if name == "im_shape" else name for name in node.input]
    onnx.save(model, path)
    with pytest.raises(ReidError, match="want float32, float16 or uint8"):
        open_model(path, backend=backend)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_file_that_is_no_model(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    path = tmp_path / "d.onnx"
    path.write_text("no model")
    with pytest.raises(ReidError, match=r"^detector model .*d\.onnx cannot be opened by") as caught:
        open_model(path, backend=backend)
    assert "\n" not in str(caught.value)


def test_a_runtime_must_be_there_for_the_file(tmp_path: Path) -> None:
    path = detector_file(tmp_path / "d.onnx", tiny.yolov8(detections(0, 2), 2))
    with pytest.raises(UsageError, match=r"detector\.backend 'torch' is unknown: present for it: onnxr"):
        open_model(path, backend="torch")
    with pytest.raises(UsageError, match=r"detector\.backend 'tensorrt' cannot open d\.onnx here"):
        open_model(path, backend="tensorrt")
    (tmp_path / "d.pt").write_bytes(b"weights")
    with pytest.raises(UsageError, match=r"ends in none of \.onnx, \.plan, \.xml"):
        open_model(tmp_path / "d.pt")
    with pytest.raises(UsageError, match="does not exist"):
        open_model(tmp_path / "no.onnx")


def test_people_may_be_of_another_class_and_others_are_told_while_nobody_is_found(tmp_path: Path) -> None:
    boxes = [Detected((5, 15, 24, 48), 2, 0.75), Detected((40, 22, 61, 47), 2, 0.5)]
    path = detector_file(tmp_path / "d.onnx", tiny.yolov8(boxes, 3))
    model = open_model(path, backend="onnxruntime")
    nobody = NetworkDetector(model, confidence=0.3, min_size=(1, 1))
    assert [len(one) for one in nobody.detect([frame(64, 96)] * 2)] == [0, 0]
    assert nobody.others == {"2": 2}
    people = NetworkDetector(model, confidence=0.3, min_size=(1, 1), person=2)
    assert len(people.detect([frame(64, 96)])[0]) == 2
    assert people.others is None
    with pytest.raises(UsageError, match=r"person_class is 3, but d\.onnx has 3 classes, 0 to 2"):
        NetworkDetector(model, person=3)


def test_auto_measures_the_runtimes_once_and_says_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = detector_file(tmp_path / "d.onnx", tiny.yolov8(detections(0, 2), 2))
    model = open_model(path)
    other = ({*RUNTIMES} - {model.backend}).pop()
    assert model.chosen.startswith(f"runtime {model.backend}: ") and f", {other} " in model.chosen
    assert open_model(path) is model  # the next segment of a job
    path.write_bytes(path.read_bytes() + b"")
    again = open_model(path)
    assert again is not model and again.chosen == model.chosen  # remembered, not measured anew


def test_a_runtime_that_answers_otherwise_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.runtime.openvino import OpenVinoNetwork

    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole = OpenVinoNetwork.run
    # stands in for a runtime that calculates wrongly, which neither of the two does here
    monkeypatch.setattr(
        OpenVinoNetwork, "run", lambda self, feeds: [one**2 / 50 for one in whole(self, feeds)]
    )
    for layout in ("yolov8", "end2end"):
        path = detector_file(tmp_path / f"{layout}.onnx", CASES[layout][0](detections(0, 2), 2))
        model = open_model(path)
        assert model.backend == "onnxruntime"
        assert "not openvino: its" in model.chosen and "those of onnxruntime" in model.chosen


def test_the_line_about_a_file_says_what_was_recognised(tmp_path: Path) -> None:
    path = detector_file(tmp_path / "d.onnx", tiny.ssd(detections(1, 2), 2))
    assert str(NetworkDetector(open_model(path, backend="onnxruntime"))) == (
        "detector d.onnx: layout ssd (input images float32 [1, 3, 64, 96]; outputs detection_out), BGR, "
        "stretched to 64x96, onnxruntime, people are class 1"
    )


def test_threads_of_one_inference_are_one(tmp_path: Path) -> None:
    path = detector_file(tmp_path / "d.onnx", tiny.ssd(detections(1, 2), 2))
    assert open_model(path, backend="onnxruntime", threads=3).at_once == 3
    assert isinstance(open_model(path, backend="onnxruntime", threads=1), DetectorModel)
