import numpy as np
import pytest
import supervision as sv
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.errors import UsageError
from serving.spec import CropSpec, TrackerSpec
from serving.tracking import TrackletBuilder, crop_quality, is_somebody, least_frames
from serving.tracking.crops import CropKeeper
from serving.tracking.tracklets import TRACKERS
from serving.video import Frame
from tests.serving.tiny_footage import Walk, draw, person


def follow(walks: list[Walk], count: int, spec: TrackerSpec, missed: set[int] = frozenset()) -> list:
    builder = TrackletBuilder(spec, CropSpec(per_tracklet=4), 10.0)
    done = []
    for number in range(1, count + 1):
        boxes = [box for walk in walks if number not in missed and (box := walk.box(number)) is not None]
        found = sv.Detections(
            xyxy=np.asarray(boxes, np.float32).reshape(-1, 4), confidence=np.ones(len(boxes), np.float32)
        )
        done += builder.update(Frame(number, (number - 1) / 10, draw(number, walks)), found)
    return done + builder.finish()


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_each_walker_is_one_tracklet_with_all_its_boxes(name: str) -> None:
    walks = [Walk("anna", (30, 100), (4, 0), 1, 50), Walk("bert", (290, 200), (-4, 0), 8, 60)]
    found = sorted(follow(walks, 70, TrackerSpec(name=name)), key=lambda one: one.frames[0])
    assert len(found) == 2
    for walk, one in zip(walks, found, strict=True):
        # The first two frames may be lost until a tracker is sure.
        assert walk.first <= one.frames[0] <= walk.first + 2
        assert one.frames[-1] == walk.last
        assert np.all(np.diff(one.frames) == 1)
        np.testing.assert_allclose(one.boxes, [walk.box(n) for n in one.frames], atol=1e-3)
        np.testing.assert_allclose(one.times_s, (one.frames - 1) / 10)


def test_a_tracklet_ends_while_the_footage_goes_on() -> None:
    builder = TrackletBuilder(TrackerSpec(max_gap_s=0.5), CropSpec(), 10.0)
    walk = Walk("anna", (30, 100), (4, 0), 1, 12)
    ended_at = None
    for number in range(1, 60):
        boxes = [box] if (box := walk.box(number)) else []
        found = sv.Detections(
            xyxy=np.asarray(boxes, np.float32).reshape(-1, 4), confidence=np.ones(len(boxes), np.float32)
        )
        if builder.update(Frame(number, (number - 1) / 10, draw(number, [walk])), found):
            ended_at = number
            break
    assert ended_at is not None
    assert 12 < ended_at < 40
    assert builder.finish() == []


def test_a_short_gap_is_bridged() -> None:
    walk = Walk("anna", (30, 100), (4, 0), 1, 40)
    (one,) = follow([walk], 50, TrackerSpec(), missed={20, 21})
    assert set(one.frames) == set(range(1, 41)) - {20, 21}


def test_two_boxes_in_a_row_are_no_tracklet() -> None:
    assert follow([Walk("anna", (30, 100), (4, 0), 5, 6)], 20, TrackerSpec()) == []


def test_crops_show_the_person() -> None:
    (one,) = follow([Walk("anna", (30, 100), (4, 0), 1, 40)], 40, TrackerSpec())
    assert 2 <= len(one.crops) <= 4
    for crop in one.crops:
        assert crop.image.shape == (64, 24, 3)
        assert np.abs(crop.image.astype(int) - person("anna")).mean() < 5
    spread = [crop.frame for crop in one.crops]
    assert spread == sorted(spread)
    assert spread[-1] - spread[0] >= 15


def test_an_unknown_tracker() -> None:
    with pytest.raises(
        UsageError, match=r"tracker\.name is 'deepsort': want one of botsort, bytetrack, ocsort, sort"
    ):
        TrackletBuilder(TrackerSpec(name="deepsort"), CropSpec(), 10.0)


@given(st.integers(1, 9), st.lists(st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_keeper_is_bounded_spread_and_keeps_the_best(
    count: int, qualities: list[float], step: int
) -> None:
    keeper = CropKeeper(count, 64)
    image = np.zeros((8, 8, 3), np.uint8)
    box = np.array([0, 0, 8, 8], np.float32)
    for index, quality in enumerate(qualities):
        keeper.offer(1 + index * step, quality, box, image)
        assert 1 <= len(keeper.crops()) <= count
    kept = keeper.crops()
    assert max(crop.quality for crop in kept) == max(qualities)
    assert [crop.frame for crop in kept] == sorted(crop.frame for crop in kept)
    for crop in kept:
        assert crop.quality == qualities[(crop.frame - 1) // step]


def test_quality_prefers_whole_sharp_lone_large_people() -> None:
    import cv2

    image = draw(1, [Walk("anna", (160, 120), (0, 0), 1, 1)])
    good = np.array([[148, 56, 172, 120]], np.float32)

    def of(picture: np.ndarray, boxes: np.ndarray) -> float:
        return float(crop_quality(picture, np.asarray(boxes, np.float32))[0])

    reference = of(image, good)
    assert 0 < reference <= 1
    assert of(cv2.GaussianBlur(image, (0, 0), 4), good) < reference
    assert of(image, np.concatenate([good, good + 8])) < reference
    assert of(image[:, 148:], good - [148, 0, 148, 0]) < reference  # cut off at the left border
    assert of(image, [[120, 90, 200, 120]]) < reference  # lying
    assert crop_quality(image, np.zeros((0, 4), np.float32)).shape == (0,)


def test_a_large_crop_is_kept_small() -> None:
    keeper = CropKeeper(3, 100)
    keeper.offer(1, 0.5, np.array([0, 0, 200, 400], np.float32), np.zeros((480, 640, 3), np.uint8))
    assert keeper.crops()[0].image.shape == (100, 50, 3)


RATES = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 25.0, 60.0]


def boxes_at(time_s: float, walking: bool) -> np.ndarray:
    """Two people, who stand and sway a little or walk on at a body's width in half a second."""
    sway = 2.0 * np.sin(time_s)
    x = np.array([60 + 48 * time_s, 900 - 48 * time_s]) if walking else np.array([100 + sway, 220 - sway])
    return np.column_stack([x - 12, [56, 136], x + 12, [120, 200]]).astype(np.float32)


def length_of(fps: float) -> float:
    return 16.0 if fps <= 5 else 4.0


def built(fps: float, walking: bool, name: str = "botsort") -> list:
    length_s = length_of(fps)
    builder = TrackletBuilder(TrackerSpec(name=name), CropSpec(), fps)
    image = np.full((240, 1000, 3), 128, np.uint8)
    done = []
    for number in range(1, round(length_s * fps) + 1):
        time_s = (number - 1) / fps
        found = sv.Detections(xyxy=boxes_at(time_s, walking), confidence=np.ones(2, np.float32))
        done += builder.update(Frame(number, time_s, image), found)
    return done + builder.finish()


@pytest.mark.parametrize("name", sorted(TRACKERS))
@pytest.mark.parametrize("fps", RATES)
def test_who_stands_is_one_tracklet_at_any_rate(fps: float, name: str) -> None:
    found = built(fps, walking=False, name=name)
    assert len(found) == 2
    for one in found:
        assert len(one.frames) >= length_of(fps) * fps - 3
        assert len(set(one.frames)) == len(one.frames)


@pytest.mark.parametrize("fps", RATES)
def test_no_box_of_a_walker_is_lost_at_any_rate(fps: float) -> None:
    found = built(fps, walking=True)
    boxes = [
        (int(frame), tuple(box))
        for one in found
        for frame, box in zip(one.frames, one.boxes.tolist(), strict=True)
    ]
    assert len(set(boxes)) == len(boxes)
    assert len(boxes) >= 2 * length_of(fps) * fps - 4
    assert len({one.id for one in found}) == len(found)
    if fps >= 5:
        assert len(found) == 2


@pytest.mark.parametrize(("fps", "least"), [(0.3, 2), (1, 2), (4, 2), (6, 3), (10, 5), (60, 5)])
def test_a_sighting_needs_frames_of_half_a_second(fps: float, least: int) -> None:
    assert least_frames(5, fps) == least
    assert least_frames(1, fps) == 1


def test_two_frames_of_one_time_are_followed_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    builder = TrackletBuilder(TrackerSpec(), CropSpec(), 10.0)
    image = np.full((240, 1000, 3), 128, np.uint8)
    for number, time_s in enumerate([0.0, 0.1, 0.2, 0.2, 0.2, 0.3], start=1):
        builder.update(
            Frame(number, time_s, image),
            sv.Detections(xyxy=boxes_at(time_s, False), confidence=np.ones(2, np.float32)),
        )
    assert [len(one.frames) for one in builder.finish()] == [6, 6]
    assert not [one for one in recwarn if "timestamp" in str(one.message)]


def test_a_tracklet_too_short_or_mostly_unsure_is_nobody() -> None:
    assert is_somebody(5, 3, least=5) and is_somebody(6, 3, least=5)
    assert not is_somebody(4, 4, least=5)
    assert not is_somebody(7, 3, least=5)
