"""Which frames of real files the detector looks at, and which are not even decoded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from serving.detection import NetworkDetector, build_detector
from serving.job.segments.detector_queue import Seen
from serving.job.segments.frame_choice import Watch
from serving.spec import Camera, DetectorSpec, IdleSpec
from serving.video import open_footage, packet_sizes, read_pictures
from tests.serving.colourful_detector import colourful_detector
from tests.serving.job.segments.idle_scenes import write_scene
from tests.serving.numbered import encode
from tests.serving.tiny_footage import Walk, background, draw

FRAMES, GOP = 300, 20
H264 = {"g": GOP, "bf": 2, "preset": "veryfast", "crf": 23}
RUNS = [Walk("anna", (-12, 150), (30, 0), 143, 155)]  # through the picture between two key frames
Boxes = np.ndarray
NOBODY = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> NetworkDetector:
    file = colourful_detector(tmp_path_factory.mktemp("detector") / "near.onnx")
    spec = DetectorSpec(name="yolov8", model=str(file), backend="onnxruntime")
    found = build_detector(spec, Camera(id="c", source="a.mp4"), 1)
    assert isinstance(found, NetworkDetector)
    return found


def film(path: Path, picture: Callable[[int], np.ndarray], **options: object) -> Path:
    random = np.random.default_rng(0)
    noise = [random.normal(0, 2, (240, 320, 1)) for _ in range(8)]
    images = [
        np.clip(picture(number) + noise[int(random.integers(8))], 0, 255).astype(np.uint8)
        for number in range(1, FRAMES + 1)
    ]
    return encode(path, images, "libx264", **(H264 | options))


def seen(
    path: Path,
    detector: NetworkDetector,
    tracked: Callable[[], Boxes] = lambda: NOBODY,
    idle: IdleSpec | None = None,
    step: int = 1,
) -> list[Seen]:
    footage = open_footage([str(path)])
    watch = Watch(footage, detector, (), idle or IdleSpec(), 0.6, tracked, {})
    found = list(watch.frames(1, footage.frames, step, 60.0))
    # However few are decoded: every frame, under its number and with its time.
    pictures = [(one.number, one.time_s) for one in read_pictures(footage, 1, None, step)]
    assert [(one.number, one.time_s) for one in found] == pictures
    return found


def looked(found: list[Seen]) -> list[int]:
    return [one.number for one in found if one.frame is not None and not one.forced]


def test_frames_before_and_after_what_moves_are_looked_at(tmp_path: Path, detector: NetworkDetector) -> None:
    path = write_scene(tmp_path / "walk.avi", "walks through")
    there = [number for number in range(1, 241) if (draw(number, LATE) != background()).any()]
    first, *_, last = there
    for around_s in (0.5, 1.0):
        numbers = looked(seen(path, detector, idle=IdleSpec(around_s=around_s)))
        of_walk = [number for number in numbers if number > 60]  # the file's own begin is looked at, too
        around = round(10 * around_s)
        # A person's first column of pixels is no change yet.
        assert first - around <= of_walk[0] <= first - around + 3
        assert last + around - 3 <= of_walk[-1] <= last + around
        assert of_walk == list(range(of_walk[0], of_walk[-1] + 1))


LATE = [Walk("anna", (-12, 150), (3.5, 0), 110, 210)]


def test_who_is_followed_and_stands_still_is_looked_at_in_every_frame(
    tmp_path: Path, detector: NetworkDetector
) -> None:
    walk = Walk("anna", (-12, 150), (4, 0), 60, 100)
    path = film(tmp_path / "stands.mp4", lambda number: draw(min(number, 100), [walk]))
    box = np.array([walk.box(100)], np.float32)
    numbers = looked(seen(path, detector, lambda: box))
    assert numbers[-200:] == list(range(FRAMES - 199, FRAMES + 1))
    # Of somebody whom nobody follows the background learns that she is part of it.
    assert len(looked(seen(path, detector))) < 200


@pytest.mark.parametrize("step", [1, 3])
def test_where_nothing_moves_key_frames_are_decoded_and_no_others(
    tmp_path: Path, detector: NetworkDetector, step: int
) -> None:
    path = film(tmp_path / "nobody.mp4", lambda _: background())
    found = seen(path, detector, step=step)
    passed = [one.number for one in found if not one.decoded]
    assert len(passed) > 0.6 * len(found)
    assert all(found[(number - 1) // step].frame is None for number in passed)
    assert max(passed) > FRAMES - 2 * GOP
    times = [one.time_s for one in found if one.frame is not None]
    assert max(np.diff(times)) < IdleSpec().every_s + step / 10


@pytest.mark.parametrize("step", [1, 3])
def test_who_runs_by_between_two_key_frames_is_seen(
    tmp_path: Path, detector: NetworkDetector, step: int
) -> None:
    path = film(tmp_path / "runs.mp4", lambda number: draw(number, RUNS))
    found = seen(path, detector, step=step)
    assert set(range(145, 155, step)) <= set(looked(found))
    assert sum(one.frame is not None for one in found) < 120 / step
    assert sum(not one.decoded for one in found) > 100 / step


def test_key_frames_far_apart_are_not_relied_on(tmp_path: Path, detector: NetworkDetector) -> None:
    path = film(tmp_path / "rare.mp4", lambda _: background(), g=60)
    assert all(one.decoded for one in seen(path, detector))
    assert not all(one.decoded for one in seen(path, detector, idle=IdleSpec(every_s=12.0)))


def test_a_stream_that_is_filled_up_to_a_rate_is_decoded(tmp_path: Path, detector: NetworkDetector) -> None:
    rate = {"x264-params": "nal-hrd=cbr:bitrate=400:vbv-maxrate=400:vbv-bufsize=40", "b": 400_000, "crf": -1}
    path = film(tmp_path / "constant.ts", lambda _: background(), **rate)
    assert len(set(packet_sizes(open_footage([str(path)]), range(30, 290)))) < 3
    assert all(one.decoded for one in seen(path, detector))


def test_a_gap_in_the_recording_is_looked_at_again(tmp_path: Path, detector: NetworkDetector) -> None:
    """A clock that jumps by ten minutes in the middle of a file in which nothing moves."""
    times = [100 * number + 600_000 * (number >= 150) for number in range(FRAMES)]
    path = film(tmp_path / "gap.mkv", lambda _: background(), times_ms=times)
    found = seen(path, detector)
    after = next(one for one in found if one.time_s > 600)
    looks = [one.time_s for one in found if one.frame is not None and one.number >= after.number]
    assert looks[0] <= after.time_s + 0.1
    assert not all(one.decoded for one in found if one.number > after.number)
