import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import supervision as sv
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from reid.errors import ReidError, UsageError
from serving.detection import DetectorModel, NetworkDetector, build_detector, detect_in_order, open_model
from serving.detection.detectors import MotDetector, inside
from serving.detection.motion import MotionDetector, join_fragments, people_mask, split_wide
from serving.runtime import NETWORKS
from serving.spec import Camera, DetectorSpec
from serving.video import Frame
from tests.serving.tiny_footage import Walk, draw, write_truth

CAMERA = Camera(id="c", source="a.avi")


def frames_of(walks: list[Walk], count: int) -> list[Frame]:
    return [Frame(number, (number - 1) / 10, draw(number, walks)) for number in range(1, count + 1)]


def yolox(path: Path, confidence: float = 0.1) -> NetworkDetector:
    return NetworkDetector(open_model(path, backend="onnxruntime"), confidence, min_size=(1, 1))


def yolox_file(path: Path, raw: np.ndarray, side: int = 64) -> Path:
    """A YOLOX-shaped file that always answers ``raw`` (anchors, 5 + classes)."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["images", "axes"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Add", ["raw", "nothing"], ["output"]),
        ],
        "fixed",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, *raw.shape])],
        [
            numpy_helper.from_array(np.array([0, 1, 2, 3], np.int64), "axes"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(raw[None].astype(np.float32), "raw"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def bright_file(path: Path, side: int = 128) -> Path:
    """A YOLOX-shaped file of convolutions: how sure an anchor is, is how bright its cell is; its box is 1.65
    cells wide and high.
    """
    nodes, weights = [], [numpy_helper.from_array(np.array([1, 6, -1], np.int64), "flat")]
    bias = np.array([0.5, 0.5, 0.5, 0.5, 0, 1], np.float32)
    for stride in (8, 16, 32):
        kernel = np.zeros((6, 3, stride, stride), np.float32)
        kernel[4] = 1 / (255 * 3 * stride**2)
        weights += [
            numpy_helper.from_array(kernel, f"k{stride}"),
            numpy_helper.from_array(bias, f"b{stride}"),
        ]
        nodes += [
            helper.make_node(
                "Conv", ["images", f"k{stride}", f"b{stride}"], [f"map{stride}"], strides=[stride, stride]
            ),
            helper.make_node("Reshape", [f"map{stride}", "flat"], [f"row{stride}"]),
        ]
    nodes += [
        helper.make_node("Concat", ["row8", "row16", "row32"], ["rows"], axis=2),
        helper.make_node("Transpose", ["rows"], ["output"], perm=[0, 2, 1]),
    ]
    anchors = sum((side // stride) ** 2 for stride in (8, 16, 32))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("images", [1, 3, side, side]), ("output", [1, anchors, 6]))
    ]
    graph = helper.make_graph(nodes, "bright", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(180, 320, (96, 128)), (160, 80, (128, 64)), (90, 90, (128, 128)), (30, 300, (32, 128))],
)
def test_yolox_leaves_padding_out_and_finds_the_same(
    tmp_path: Path, height: int, width: int, size: tuple[int, int], backend: str
) -> None:
    pytest.importorskip(backend)
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 3 : width // 2] = 255
    frame = Frame(1, 0.0, image)
    path = bright_file(tmp_path / "y.onnx")
    model = open_model(path, backend=backend)
    assert model.input_size(height, width) == size
    answer = model.infer(model.blob([image])).outputs["output"]
    assert answer.shape == (1, sum(size[0] // s * (size[1] // s) for s in (8, 16, 32)), 6)
    (found,) = NetworkDetector(model, 0.8, min_size=(1, 1)).detect([frame])
    whole_model = DetectorModel(NETWORKS[backend].open(path, 1), path, backend, fit=False)
    padded = NetworkDetector(whole_model, 0.8, min_size=(1, 1))
    assert whole_model.input_size(height, width) == (128, 128)
    (whole,) = padded.detect([frame])
    assert len(found)
    np.testing.assert_allclose(found.xyxy, whole.xyxy, rtol=1e-5)
    np.testing.assert_allclose(found.confidence, whole.confidence, rtol=1e-5)


def test_a_yolox_file_of_one_size_alone_gets_that_size(tmp_path: Path) -> None:
    raw = np.zeros((84, 6), np.float32)
    raw[9] = [0.5, 0.5, 0.7, 0.7, 0.9, 0.9]
    detector = yolox(yolox_file(tmp_path / "y.onnx", raw))
    assert detector.model.input_size(64, 128) == (64, 64)
    (found,) = detector.detect([Frame(1, 0.0, np.zeros((64, 128, 3), np.uint8))])
    np.testing.assert_allclose(found.confidence, [0.81], rtol=1e-5)


def naive_decode(raw: np.ndarray, side: int, scale: float, least: float) -> list[tuple[float, ...]]:
    """Boxes by the formula of the paper, anchor by anchor."""
    found, row = [], 0
    for stride in (8, 16, 32):
        for y in range(side // stride):
            for x in range(side // stride):
                tx, ty, tw, th, objectness, person = raw[row][:6]
                row += 1
                if objectness * person >= least:
                    cx, cy, w, h = (
                        (x + tx) * stride,
                        (y + ty) * stride,
                        np.exp(tw) * stride,
                        np.exp(th) * stride,
                    )
                    corners = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
                    found.append((*(value / scale for value in corners), objectness * person))
    return found


def test_yolox_decodes_what_the_formula_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    raw = np.zeros((84, 7), np.float32)
    for row in (9, 70, 82):  # one anchor of each stride, far from each other
        raw[row] = [*rng.uniform(0, 1, 2), *rng.uniform(0.3, 0.9, 2), 0.9, 0.8, 0.99]
    raw[30] = [0.5, 0.5, 0.4, 0.4, 0.9, 0.05, 0.99]  # another class
    detector = yolox(yolox_file(tmp_path / "y.onnx", raw), 0.3)
    (found,) = detector.detect([Frame(1, 0.0, np.zeros((128, 96, 3), np.uint8))])
    wanted = np.clip(np.array(naive_decode(raw, 64, 0.5, 0.3))[:, :4], 0, [96, 128, 96, 128])
    order = np.lexsort(found.xyxy.T)
    np.testing.assert_allclose(found.xyxy[order], wanted[np.lexsort(wanted.T)], rtol=1e-5)
    np.testing.assert_allclose(found.confidence, 0.72, rtol=1e-5)


def test_yolox_keeps_the_surest_of_boxes_that_cover_each_other(tmp_path: Path) -> None:
    raw = np.zeros((84, 6), np.float32)
    raw[9] = [0.5, 0.5, 1.5, 1.5, 0.9, 0.9]
    raw[10] = [-0.45, 0.5, 1.5, 1.5, 0.9, 0.8]  # the same place from the next anchor
    detector = yolox(yolox_file(tmp_path / "y.onnx", raw))
    (found,) = detector.detect([Frame(1, 0.0, np.zeros((64, 64, 3), np.uint8))])
    np.testing.assert_allclose(found.confidence, [0.81], rtol=1e-5)


@pytest.mark.parametrize("damage", ["text", "shape"])
def test_a_file_that_is_no_yolox_model(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "y.onnx"
    if damage == "text":
        path.write_text("no model")
    else:
        yolox_file(path, np.zeros((80, 6), np.float32))
    with pytest.raises(ReidError, match=r"detector model .*y\.onnx") as caught:
        open_model(path, "yolox", backend="onnxruntime")
    assert "\n" not in str(caught.value)


def test_motion_finds_a_walker_and_nothing_else() -> None:
    walk = Walk("anna", (20, 200), (4, 0), 10, 60)
    detector = MotionDetector()
    found = [detector.detect([frame])[0] for frame in frames_of([walk], 60)]
    assert all(len(one) == 0 for one in found[:9])
    hits = 0
    for number, one in enumerate(found[14:], start=15):
        box = walk.box(number)
        if len(one):
            assert len(one) == 1
            hits += sv.box_iou_batch(np.array([box]), one.xyxy)[0, 0] > 0.5
    assert hits >= 40


def test_motion_is_silent_when_the_light_changes() -> None:
    detector = MotionDetector()
    still = draw(1, [])
    for number in range(20):
        detector.detect([Frame(number + 1, number / 10, still)])
    (found,) = detector.detect([Frame(21, 2.0, 255 - still)])
    assert len(found) == 0


boxes_strategy = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 7), st.just(4)), elements=st.floats(0, 50, width=16)
).map(lambda raw: np.concatenate([raw[:, :2], raw[:, :2] + raw[:, 2:] + 1], axis=1).astype(np.float32))


@given(boxes_strategy, st.floats(0, 20))
@settings(max_examples=150, deadline=None)
def test_joining_fragments_is_the_closure_of_pairs(boxes: np.ndarray, reach: float) -> None:
    groups = [{i} for i in range(len(boxes))]

    def near(a: np.ndarray, b: np.ndarray) -> bool:
        shared = min(a[2], b[2]) - max(a[0], b[0])
        tall = sorted([a[3] - a[1], b[3] - b[1]])
        if all(box[3] - box[1] >= 1.5 * (box[2] - box[0]) for box in (a, b)) and tall[0] >= 0.5 * tall[1]:
            return False
        return (
            shared >= np.float32(0.5) * min(a[2] - a[0], b[2] - b[0])
            and max(a[1], b[1]) - min(a[3], b[3]) <= reach
        )

    for i in range(len(boxes)):
        for j in range(i):
            if near(boxes[i], boxes[j]):
                one, two = (next(g for g in groups if n in g) for n in (i, j))
                if one is not two:
                    one |= two
                    groups.remove(two)
    wanted = sorted((*boxes[list(g), :2].min(axis=0), *boxes[list(g), 2:].max(axis=0)) for g in groups)
    assert sorted(map(tuple, join_fragments(boxes, reach))) == wanted


def test_grey_clothes_are_of_the_person_and_a_cast_shadow_is_not() -> None:
    changed = np.zeros((200, 100), np.uint8)
    changed[106:112, 30:70] = 127  # what the person throws on the ground
    changed[60:70, 40:50] = changed[90:110, 40:50] = 255  # head and legs
    changed[70:90, 40:50] = 127  # a grey coat
    mask = people_mask(changed)
    assert mask[60:110, 40:50].all()
    assert mask[110:].sum() == 0
    assert mask[:, 55:].sum() == 0
    assert people_mask(np.full((50, 50), 127, np.uint8)).sum() == 0


def test_two_people_side_by_side_are_cut_apart() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 10:32] = 1
    mask[26:84, 36:60] = 1
    mask[50:56, 32:36] = 1  # hands touch
    found = split_wide(mask, np.array([10, 20, 60, 84], np.float32))
    assert len(found) == 2
    np.testing.assert_allclose(found, [[10, 20, 34, 80], [34, 26, 60, 84]], atol=3)
    one = np.array([10, 20, 32, 80], np.float32)
    np.testing.assert_array_equal(split_wide(mask, one), one[None])
    solid = np.ones((100, 100), np.uint8)  # wide without a waist: a car, perhaps
    assert len(split_wide(solid, np.array([0, 0, 90, 60], np.float32))) == 1


def test_mot_reads_detections_of_a_frame_by_its_number(tmp_path: Path) -> None:
    walks = [Walk("anna", (30, 150), (3, 0), 1, 20), Walk("bert", (200, 200), (-3, 0), 5, 20)]
    path = write_truth(tmp_path / "det.txt", walks, 20, {"anna": 1, "bert": 2})
    frame = frames_of([], 12)[11]
    (found,) = MotDetector(path).detect([frame])
    np.testing.assert_allclose(
        np.sort(found.xyxy, axis=0), np.sort(np.array([w.box(12) for w in walks]), axis=0), atol=1e-3
    )
    (none,) = MotDetector(path).detect([Frame(99, 9.8, frame.image)])
    assert len(none) == 0


@pytest.mark.parametrize("text", ["1,2,3\n", "a,b,c,d,e,f\n", "0,1,2,3,4,5,1\n", "1,1,nan,3,4,5,1\n"])
def test_a_wrong_line_of_a_mot_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "det.txt"
    path.write_text("1,1,2,3,4,5,1\n" + text)
    with pytest.raises(ReidError, match=r"det\.txt, line 2"):
        MotDetector(path)


def test_only_feet_inside_the_region_count() -> None:
    found = sv.Detections(xyxy=np.array([[0, 0, 10, 20], [50, 0, 60, 20], [0, 60, 10, 90]], np.float32))
    region = [(0, 0), (40, 0), (40, 40), (0, 40)]
    np.testing.assert_array_equal(inside(found, region).xyxy, found.xyxy[:1])
    assert len(inside(found, ())) == 3


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            DetectorSpec(name="yolo9"),
            "detector.name is 'yolo9': want a detector's file, or one of detr, dfine, ",
        ),
        (DetectorSpec(name="yolox"), "detector.model is missing"),
        (DetectorSpec(name="mot"), "camera c: key 'detections' is missing"),
    ],
)
def test_a_detector_that_cannot_be_made(spec: DetectorSpec, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_detector(spec, CAMERA)


class _Recorder:
    """A detector whose first call ends only after another has begun, where calls run side by side."""

    warm_up = 0

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.running = self.most = 0
        self.lock, self.second = threading.Lock(), threading.Event()

    def detect(self, frames: Sequence[Frame]) -> list[sv.Detections]:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == self.at_once:
                self.second.set()
        assert self.second.wait(timeout=20)
        with self.lock:
            self.running -= 1
        return [sv.Detections(xyxy=np.array([[0, 0, frame.number, 9]], np.float32)) for frame in frames]


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("most", [1, 2, 6, 40])
def test_frames_come_out_in_order_and_few_are_held(at_once: int, most: int) -> None:
    read = 0

    def frames() -> Iterator[Frame]:
        nonlocal read
        for number in range(1, 51):
            read = number
            yield Frame(number, number / 10, np.zeros((8, 8, 3), np.uint8))

    detector = _Recorder(at_once if most >= 6 else 1)
    seconds: dict[str, float] = {}
    taken = 0
    for group, found in detect_in_order(frames(), detector, (), most, seconds):
        for frame, one in zip(group, found, strict=True):
            taken += 1
            assert frame.number == taken == one.xyxy[0, 2]
        assert read - taken <= max(most, 3)
    assert taken == 50
    assert detector.most == detector.at_once
    assert set(seconds) == {"detection", "waiting_for_frames"}


def test_a_job_gives_yolox_as_many_frames_at_once_as_it_has_threads(tmp_path: Path) -> None:
    spec = DetectorSpec(
        name="yolox", model=str(yolox_file(tmp_path / "y.onnx", np.zeros((84, 7), np.float32)))
    )
    assert [build_detector(spec, CAMERA, threads).at_once for threads in (3, 1)] == [3, 1]
