"""Boxes drawn on the planes of decoded frames."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from serving.video import Label, annotate_all, open_footage, read_pictures
from serving.video.writer import annotate, canvas, colour_of
from tests.serving.tiny_footage import Walk, background, draw, write_video

WALK = [Walk("anna", (60.0, 200.0), (3.0, 0.0), 1, 40)]


def pictures(path: Path) -> list:
    return list(read_pictures(open_footage([str(path)])))


def bgr(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="bgr24").astype(int)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(
        tmp_path_factory.mktemp("annotate") / "walk.avi", [draw(number, WALK) for number in range(1, 21)]
    )


def test_a_box_has_its_colour_and_nothing_else_changes(footage: Path) -> None:
    frame = pictures(footage)[9].frame
    before = bgr(frame)
    drawn = canvas(frame, 320, 240)
    annotate(drawn, [Label((100, 100, 160, 200), "anna #1", "anna")])
    after = bgr(drawn)
    for y, x in ((150, 100), (150, 160), (200, 130), (100, 150)):
        np.testing.assert_allclose(after[y, x], colour_of("anna"), atol=12)
    assert after[84:100, 100:160].max() > 220  # letters
    touched = np.zeros((240, 320), bool)
    touched[80:206, 96:170] = True
    assert np.abs(after - before)[~touched].max() <= 2
    np.testing.assert_array_equal(after[110:190, 106:154], before[110:190, 106:154])


def test_what_the_decoder_still_needs_is_not_drawn_on(footage: Path) -> None:
    clean = [bgr(picture.frame) for picture in pictures(footage)]
    seen = []
    with av.open(str(footage)) as container:
        # Threads would have decoded what comes next already.
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            seen.append(bgr(frame))
            annotate(canvas(frame, 320, 240), [Label((20, 20, 300, 220), "x" * 20, "x")])
    np.testing.assert_array_equal(seen, clean)  # each is told as a difference to those before it


def test_key_frames_of_the_footage_are_no_key_frames_of_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "keys.avi", [draw(number, WALK) for number in range(1, 21)], gop=1)
    annotate_all(tmp_path / "keys.webm", pictures(path), lambda number: [], (320, 240), 10.0, None)
    with av.open(str(tmp_path / "keys.webm")) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) == 1


@pytest.mark.parametrize(("width", "height"), [(160, 120), (320, 180), (640, 480), (2, 2)])
def test_pictures_of_another_size(footage: Path, width: int, height: int) -> None:
    picture = pictures(footage)[0]
    resized = canvas(picture.frame, width, height)
    assert (resized.width, resized.height, resized.format.name) == (width, height, "yuv420p")
    wanted = cv2.resize(
        bgr(picture.frame).astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA
    ).astype(int)
    assert np.abs(bgr(resized) - wanted).mean() < 4
    annotate(resized, [Label((100, 100, 160, 200), "anna #1", "anna")], (width / 320, height / 240))
    assert np.abs(bgr(resized) - wanted).max() > 30


@pytest.mark.parametrize("layout", ["yuvj420p", "yuv444p", "gray", "odd"])
def test_other_layouts_look_as_they_did(layout: str) -> None:
    image = background(321, 241) if layout == "odd" else background()
    image = (
        cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if layout == "gray"
        else image
    )
    frame = av.VideoFrame.from_ndarray(image, format="bgr24")
    if layout != "odd":
        frame = frame.reformat(format=layout, dst_color_range="JPEG" if layout == "yuvj420p" else "MPEG")
    drawn = canvas(frame, 320, 240)
    assert (drawn.width, drawn.height, drawn.format.name) == (320, 240, "yuv420p")
    assert np.abs(bgr(drawn) - cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA)).mean() < 4


def test_a_lower_video_is_of_even_size_and_keeps_its_boxes_in_place(footage: Path, tmp_path: Path) -> None:
    labels = [Label((100, 100, 160, 200), "", "anna")]
    assert (
        annotate_all(tmp_path / "low.webm", pictures(footage), lambda number: labels, (320, 240), 10.0, 101)
        == 0.0
    )
    with av.open(str(tmp_path / "low.webm")) as container:
        frames = [bgr(frame) for frame in container.decode(video=0)]
    assert len(frames) == 20
    assert frames[0].shape == (100, 134, 3)
    # Ten footage pixels are four of the picture: there the box's left edge is, at half its height.
    edge = np.abs(frames[10][62, 30:60] - np.asarray(colour_of("anna"))).sum(axis=1)
    assert 30 + edge.argmin() == pytest.approx(100 * 134 / 320, abs=1.5)
