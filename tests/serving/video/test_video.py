import gc
import struct
import threading
import time
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from reid.errors import ReidError
from serving.video import ahead, open_footage, read_frames, read_pictures, upright
from tests.serving.tiny_footage import (
    FPS,
    HEIGHT,
    WIDTH,
    Walk,
    audio_only,
    background,
    draw,
    write_video,
    write_walks,
)

WALK = Walk("anna", (20, 200), (4, 0), 1, 60)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_walks(tmp_path_factory.mktemp("video") / "walk.avi", [WALK], 60)


@pytest.fixture(scope="module")
def all_frames(clip: Path) -> list:
    return list(read_frames(open_footage([str(clip)])))


def test_the_index_knows_length_rate_and_size(clip: Path) -> None:
    footage = open_footage([str(clip)])
    assert (footage.frames, footage.fps, footage.width, footage.height) == (60, FPS, WIDTH, HEIGHT)
    assert not footage.live
    assert footage.missing == []


@pytest.mark.parametrize(
    ("first", "last", "step"), [(1, 60, 1), (2, 2, 1), (13, 40, 1), (25, 60, 7), (59, None, 1), (60, 900, 1)]
)
def test_any_range_is_the_same_pictures_as_reading_through(
    clip: Path, all_frames: list, first: int, last: int | None, step: int
) -> None:
    found = list(read_frames(open_footage([str(clip)]), first, last, step))
    assert [frame.number for frame in found] == list(range(first, min(last or 60, 60) + 1, step))
    for frame in found:
        np.testing.assert_array_equal(frame.image, all_frames[frame.number - 1].image)
        assert frame.time_s == pytest.approx((frame.number - 1) / FPS)


def test_pictures_show_what_was_written(all_frames: list) -> None:
    for frame in all_frames[::20]:
        assert np.abs(frame.image.astype(int) - draw(frame.number, [WALK]).astype(int)).mean() < 12


def test_a_picture_is_freed_as_soon_as_nobody_holds_it(clip: Path) -> None:
    """Not only when Python looks for circles, until when an hour of large pictures would fill the memory."""

    def held() -> int:
        return sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = held()
        for picture in read_pictures(open_footage([str(clip)])):
            upright(picture.frame)
        assert held() <= before + 1
    finally:
        gc.enable()


def test_numbers_and_times_go_on_over_the_files_of_a_camera(clip: Path, all_frames: list) -> None:
    footage = open_footage([str(clip), str(clip)])
    assert footage.frames == 120
    (frame,) = read_frames(footage, 75, 75)
    np.testing.assert_array_equal(frame.image, all_frames[14].image)
    assert frame.time_s == pytest.approx(74 / FPS)
    assert [frame.number for frame in read_frames(footage, 55, 66)] == list(range(55, 67))


@pytest.mark.parametrize(("first", "last", "step"), [(1, None, 7), (50, 70, 9), (59, None, 3), (61, 90, 4)])
def test_steps_go_on_over_the_files_of_a_camera(
    clip: Path, all_frames: list, first: int, last: int | None, step: int
) -> None:
    found = list(read_frames(open_footage([str(clip), str(clip)]), first, last, step))
    assert [frame.number for frame in found] == list(range(first, (last or 120) + 1, step))
    for frame in found:
        np.testing.assert_array_equal(frame.image, all_frames[(frame.number - 1) % 60].image)


def test_a_file_of_another_size_is_left_out_and_said(clip: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "small.avi", [background(160, 120)] * 3)
    footage = open_footage([str(clip), str(other), str(clip)])
    assert footage.frames == 120
    (line,) = footage.missing
    assert "small.avi is 160x120, the files before it 320x240" in line


def test_a_variable_rate_keeps_the_files_own_times(tmp_path: Path) -> None:
    times = [0, 100, 250, 260, 900, 1000, 2500]
    path = write_video(tmp_path / "vfr.mkv", [draw(n, [WALK]) for n in range(1, 8)], times_ms=times)
    found = list(read_frames(open_footage([str(path)])))
    assert [frame.number for frame in found] == list(range(1, 8))
    np.testing.assert_allclose([frame.time_s for frame in found], np.array(times) / 1000, atol=1e-3)
    assert [frame.number for frame in read_frames(open_footage([str(path)]), 4, 6)] == [4, 5, 6]


def test_a_rotated_picture_is_turned_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", [draw(30, [WALK])] * 5)
    data = bytearray(path.read_bytes())
    # The track header's matrix: 90 degrees clockwise when shown, as a phone held upright writes it.
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    path.write_bytes(data)
    footage = open_footage([str(path)])
    assert (footage.width, footage.height) == (HEIGHT, WIDTH)
    frame = next(read_frames(footage))
    wanted = np.rot90(draw(30, [WALK]), -1)
    assert frame.image.shape == wanted.shape
    assert np.abs(frame.image.astype(int) - wanted.astype(int)).mean() < 12


def test_a_frame_that_does_not_decode_moves_no_other_frame(
    clip: Path, all_frames: list, tmp_path: Path
) -> None:
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    # Inside one group of pictures: what follows up to the next key frame may look wrong, after it all is
    # well.
    position, size = packets[5]
    start = position + 8
    data[start : start + size - 8] = b"\xff" * (size - 8)
    broken = tmp_path / "broken.avi"
    broken.write_bytes(data)
    found = {frame.number: frame.image for frame in read_frames(open_footage([str(broken)]))}
    assert set(found) >= set(range(13, 61))
    for number in (1, 5, 13, 40, 60):
        np.testing.assert_array_equal(found[number], all_frames[number - 1].image)


def test_a_file_cut_off_in_the_middle_gives_what_is_there_and_says_so(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    short = tmp_path / "short.avi"
    short.write_bytes(data[: len(data) // 2])
    footage = open_footage([str(short)])
    assert 5 < footage.frames < 60
    (line,) = footage.missing
    assert "short.avi is cut off" in line
    assert f"{footage.frames} of 60" in line
    assert len(list(read_frames(footage))) >= footage.frames - 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "does not exist"),
        (lambda path: path.touch() or path, "is empty"),
        (lambda path: path.write_bytes(b"no video at all" * 100) and path, "cannot be opened"),
        (
            lambda path: path.write_bytes(write_video(path, [background()] * 9).read_bytes()[:300]) and path,
            "cannot be opened",
        ),
        (audio_only, "holds no picture, only audio"),
    ],
    ids=["missing", "zero bytes", "text", "mp4 without index", "audio only"],
)
def test_what_is_no_video_is_one_line_that_names_it(tmp_path: Path, make, words: str) -> None:
    path = make(tmp_path / ("a.wav" if make is audio_only else "a.mp4"))
    with pytest.raises(ReidError, match=words) as caught:
        open_footage([str(path)])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_url_that_does_not_answer_shows_no_password() -> None:
    with pytest.raises(ReidError, match=r"http://127\.0\.0\.1:9/live.*cannot be opened") as caught:
        open_footage(["http://user:s3cret@127.0.0.1:9/live?token=t0ken"])
    assert "s3cret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_picture_of_one_pixel(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.avi", [np.full((1, 1, 3), 90, np.uint8)] * 4, codec="ffv1")
    assert [frame.image.shape for frame in read_frames(open_footage([str(path)]))] == [(1, 1, 3)] * 4


def test_ahead_keeps_order_and_passes_errors_on() -> None:
    def items():
        yield from range(5)
        raise ReidError("the file has gone")

    got = []
    with pytest.raises(ReidError, match="the file has gone"):
        got.extend(ahead(items(), 2))  # extend keeps what came before the error
    assert list(ahead(range(100), 3)) == list(range(100))


def test_ahead_is_bounded_and_its_thread_ends_with_the_reader() -> None:
    made = []

    def items():
        for n in range(1000):
            made.append(n)
            yield n

    before = threading.active_count()
    reader = ahead(items(), 4)
    assert list(islice(reader, 3)) == [0, 1, 2]
    time.sleep(0.3)
    assert len(made) <= 3 + 4 + 2
    reader.close()
    assert threading.active_count() == before
