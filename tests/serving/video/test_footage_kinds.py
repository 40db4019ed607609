"""Files as recorders, phones and editors leave them. Every frame carries its number, and the numbers are read
back.
"""

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from serving.job.segments.segment import plan_segments
from serving.spec import Camera
from serving.video import Footage, open_footage, read_frames, reading
from tests.serving.numbered import encode, number_of, numbered

FRAMES = 160
PICTURES = [numbered(number) for number in range(1, FRAMES + 1)]
LONG_GOP = {"g": 80, "bf": 2, "x264_params": "scenecut=0"}
write = partial(encode, images=PICTURES)


def numbers(
    footage: Footage, first: int = 1, last: int | None = None, step: int = 1
) -> list[tuple[int, int]]:
    return [(frame.number, number_of(frame.image)) for frame in read_frames(footage, first, last, step)]


def rows(first: int, last: int, step: int = 1, offset: int = 0) -> list[tuple[int, int]]:
    return [(number, number + offset) for number in range(first, last + 1, step)]


def trim(
    source: Path, target: Path, start_s: float, keep: Callable[[Any], bool] = lambda packet: True
) -> Path:
    """As ``ffmpeg -ss START -i SOURCE -c copy TARGET`` does: packets before START get negative times."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = given.streams.video[0]
        copy = out.add_stream_from_template(stream)
        shift = round(start_s / stream.time_base)
        for packet in given.demux(stream):
            if packet.dts is None or not keep(packet):
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
            out.mux(packet)
    return target


def joined(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


@pytest.mark.parametrize(
    "name", ["whole.mp4", "whole.mkv", "whole.ts", "whole.avi", "whole.h264", "whole.mpg", "whole.flv"]
)
def test_ranges_and_steps_begin_between_key_frames(name: str, tmp_path: Path) -> None:
    footage = open_footage([str(write(tmp_path / name, **LONG_GOP))])
    assert (footage.frames, footage.missing) == (FRAMES, [])
    assert footage.fps == pytest.approx(10)
    for first, last, step in [
        (1, FRAMES, 1),
        (31, 100, 1),
        (79, 83, 1),
        (100, 100, 1),
        (90, 160, 7),
        (159, 160, 1),
    ]:
        assert numbers(footage, first, last, step) == rows(first, last, step)


def _read(footage: Footage, begin: int, last: int) -> list[tuple[int, int]]:
    return numbers(footage, begin, last)


@pytest.mark.parametrize("name", ["whole.ts", "whole.avi"])
def test_segments_in_several_processes_see_every_frame(name: str, tmp_path: Path) -> None:
    footage = open_footage([str(write(tmp_path / name, **LONG_GOP))])
    segments = plan_segments(Camera(id="c", source=name), footage, 3.0)
    assert len(segments) == 5
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_read, footage, one.begin, one.last or 0) for one in segments]
        for one, future in zip(segments, futures, strict=True):
            assert future.result() == rows(one.begin, one.last or 0)


def test_what_an_edit_list_hides_is_not_there(tmp_path: Path) -> None:
    footage = open_footage(
        [str(trim(write(tmp_path / "whole.mp4", **LONG_GOP), tmp_path / "trimmed.mp4", 3.0))]
    )
    assert (footage.frames, footage.missing) == (130, [])
    assert numbers(footage) == rows(1, 130, offset=30)
    assert numbers(footage, 61, 70) == rows(61, 70, offset=30)
    assert [frame.time_s for frame in read_frames(footage, 1, 3)] == pytest.approx([0, 0.1, 0.2])


def test_a_recording_cut_out_of_the_middle_begins_with_its_first_key_frame(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.ts", **LONG_GOP)
    data = whole.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[len(data) // 3 // 188 * 188 :])
    footage = open_footage([str(tmp_path / "cut.ts")])
    assert (footage.frames, footage.missing) == (80, [])
    assert numbers(footage) == rows(1, 80, offset=80)


def test_times_of_a_raw_stream_are_from_its_rate_or_the_jobs(tmp_path: Path) -> None:
    path = str(write(tmp_path / "pi.h264", **LONG_GOP))
    footage = open_footage([path])
    assert [frame.time_s for frame in read_frames(footage, 99, 101)] == pytest.approx([9.8, 9.9, 10.0])
    assert "has no times: 10 frames a second are taken, from the stream" in footage.notes[0]
    footage = open_footage([path], fps=20)
    assert footage.fps == 20
    assert [frame.time_s for frame in read_frames(footage, 99, 101)] == pytest.approx([4.9, 4.95, 5.0])


@pytest.mark.parametrize("rate", [1000, 90000])
def test_a_rate_that_a_header_invents_is_not_believed(rate: int, tmp_path: Path) -> None:
    times = [round(1000 * number / 12.5) for number in range(FRAMES)]
    name = "phone.webm" if rate == 1000 else "camera.mkv"
    codec = "libvpx" if rate == 1000 else "libx264"
    footage = open_footage([str(write(tmp_path / name, codec=codec, fps=rate, times_ms=times, crf=20))])
    assert footage.fps == pytest.approx(12.5, rel=0.01)
    assert numbers(footage) == rows(1, FRAMES)


def test_a_slow_archive_keeps_its_rate(tmp_path: Path) -> None:
    footage = open_footage(
        [
            str(
                write(
                    tmp_path / "slow.mkv",
                    fps=Fraction(1, 2),
                    times_ms=[2000 * number for number in range(FRAMES)],
                )
            )
        ]
    )
    assert footage.fps == pytest.approx(0.5)
    assert [frame.time_s for frame in read_frames(footage, 159)] == pytest.approx([316, 318])


@pytest.mark.parametrize("name", ["gap.mkv", "gap.mp4", "gap.ts"])
def test_a_gap_stays_a_gap(name: str, tmp_path: Path) -> None:
    times = [100 * number + (600_000 if number >= 70 else 0) for number in range(FRAMES)]
    footage = open_footage([str(write(tmp_path / name, times_ms=times, **LONG_GOP))])
    assert numbers(footage) == rows(1, FRAMES)
    assert footage.notes == (
        f"video {tmp_path / name} has 1 gap, 0:10:00 in all: nothing was recorded there, or it was lost",
    )
    assert footage.fps == pytest.approx(10)
    assert [frame.time_s for frame in read_frames(footage, 70, 72)] == pytest.approx(
        [6.9, 607.0, 607.1], abs=0.002
    )


def test_what_was_lost_inside_a_transport_stream_is_said(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.ts", PICTURES)
    data = whole.read_bytes()
    packets = len(data) // 188
    lost = tmp_path / "lost.ts"
    lost.write_bytes(data[: packets * 2 // 5 * 188] + data[packets * 3 // 5 * 188 :])
    footage = open_footage([str(lost)])
    assert footage.frames < 140
    assert len(footage.notes) == 1 and " has 1 gap, 0:00:03 in all" in footage.notes[0]
    assert open_footage([str(whole)]).notes == ()


def test_a_clock_that_starts_again_goes_on(tmp_path: Path) -> None:
    parts = [encode(tmp_path / f"{n}.ts", PICTURES[n : n + 80], **LONG_GOP) for n in (0, 80)]
    footage = open_footage([str(joined(tmp_path / "both.ts", *parts))])
    assert (footage.frames, footage.missing) == (FRAMES, [])
    assert numbers(footage) == rows(1, FRAMES)
    assert numbers(footage, 90, 95) == rows(90, 95)
    np.testing.assert_allclose(
        [frame.time_s for frame in read_frames(footage)], np.arange(FRAMES) / 10, atol=0.002
    )


def test_a_clock_that_turns_over_goes_on(tmp_path: Path) -> None:
    seconds = 2**33 / 90_000 - 7.0
    footage = open_footage(
        [str(write(tmp_path / "turn.ts", header={"output_ts_offset": str(seconds)}, **LONG_GOP))]
    )
    assert (footage.frames, footage.missing) == (FRAMES, [])
    assert numbers(footage) == rows(1, FRAMES)
    np.testing.assert_allclose(
        [frame.time_s for frame in read_frames(footage)], np.arange(FRAMES) / 10, atol=0.002
    )
    assert numbers(footage, 100, 110) == rows(100, 110)


def test_frames_of_the_same_time_are_all_there(tmp_path: Path) -> None:
    times = [100 * (number - (number % 40 == 39)) for number in range(FRAMES)]
    path = encode(tmp_path / "twice.mkv", PICTURES, "ffv1", times_ms=times)
    footage = open_footage([str(path)])
    assert numbers(footage) == rows(1, FRAMES)
    assert numbers(footage, 39, 41) == rows(39, 41)


@pytest.mark.parametrize(
    ("codec", "pixels", "options"),
    [
        ("libx264", "yuv420p10le", {}),
        ("libx264", "yuv422p", {}),
        ("libx264", "yuv422p10le", {}),
        ("libx264", "yuv444p", {}),
        ("libx264", "yuvj420p", {}),
        ("libx264", "gray", {}),
        ("libx265", "gray10le", {"x265_params": "log-level=none"}),
        ("libx265", "yuv420p12le", {"x265_params": "log-level=none"}),
        ("libx264", "yuv420p", {"x264_params": "interlaced=1:tff=1"}),
        ("mpeg2video", "yuv420p", {"flags": "+ildct+ilme", "top": 1, "bf": 2}),
        ("ffv1", "gray16le", {}),
        ("ffv1", "rgba64le", {}),
        ("libx264", "nv12", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pixels_of_any_kind(codec: str, pixels: str, options: dict[str, object], tmp_path: Path) -> None:
    fps = 25 if codec == "mpeg2video" else 10
    footage = open_footage(
        [str(encode(tmp_path / "kind.mkv", PICTURES[:50], codec, fps=fps, pixels=pixels, **options))]
    )
    assert footage.fps == pytest.approx(fps)
    assert numbers(footage) == rows(1, 50)
    assert numbers(footage, 33, 35) == rows(33, 35)
    image = next(read_frames(footage)).image
    white, black = image[190:230, 250:310], image[190:230, 90:150]  # both fields are in the number's last row
    assert image.dtype == np.uint8
    if pixels == "gray":
        return  # of which the encoder makes full range without saying so
    assert abs(float(white.mean()) - 235) < 6
    assert abs(float(black.mean()) - 20) < 6


@pytest.mark.parametrize("size", [(321, 241), (319, 240), (320, 241), (33, 17)])
def test_odd_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    pictures = [numbered(number, *size) for number in range(1, 21)]
    footage = open_footage([str(encode(tmp_path / "odd.mkv", pictures, "ffv1"))])
    assert (footage.width, footage.height) == size
    assert numbers(footage) == rows(1, 20)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_any_orientation_is_turned_upright(degrees: int, mirrored: bool, tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    upright = [numbered(number) for number in range(1, 21)]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=10)
        # What is stored: the upright picture turned back, and then mirrored back.
        stored = [np.rot90(image, -degrees // 90) for image in upright]
        stored = [image[:, ::-1] if mirrored else image for image in stored]
        stream.height, stream.width = stored[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        a, b = {0: (1, 0), 90: (0, -1), 180: (-1, 0), 270: (0, 1)}[degrees]
        one = 1 << 16
        turn = np.array([[a, b, 0], [-b, a, 0], [0, 0, 1 << 14]]) * [
            [one, one, 1],
            [one, one, 1],
            [1, 1, one],
        ]
        flip = np.diag([-1 if mirrored else 1, 1, 1])
        stream.set_display_matrix((flip @ turn).ravel().tolist())
        for image in stored:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")))
        out.mux(stream.encode())
    footage = open_footage([str(path)])
    assert (footage.width, footage.height) == (320, 240)
    assert numbers(footage) == rows(1, 20)
    assert next(read_frames(footage)).image.shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("aspect", "width"),
    [(Fraction(12, 11), 349), (Fraction(1, 2), 160), (Fraction(1, 1), 320), (Fraction(1, 999), 320)],
)
def test_pixels_are_made_square(aspect: Fraction, width: int, tmp_path: Path) -> None:
    footage = open_footage([str(write(tmp_path / "wide.mkv", aspect=aspect))])
    assert (footage.width, footage.height) == (width, 240)
    assert next(read_frames(footage)).image.shape == (240, width, 3)
    assert numbers(footage, 1, 20) == rows(1, 20)


@pytest.mark.parametrize("name", ["size.ts", "size.h264"])
def test_a_size_that_changes_half_way_is_brought_to_the_first(name: str, tmp_path: Path) -> None:
    suffix = Path(name).suffix
    small = [numbered(number, 160, 120) for number in range(81, 161)]
    parts = [encode(tmp_path / f"a{suffix}", PICTURES[:80]), encode(tmp_path / f"b{suffix}", small)]
    footage = open_footage([str(joined(tmp_path / name, *parts))])
    assert (footage.width, footage.height) == (320, 240)
    assert numbers(footage) == rows(1, FRAMES)
    assert {frame.image.shape for frame in read_frames(footage, 75, 90)} == {(240, 320, 3)}


def test_of_several_pictures_the_largest_is_used_and_said(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "two.mkv"), "w") as out:
        streams: list[Any] = [out.add_stream("libx264", rate=10) for _ in range(2)]
        for stream, (width, height) in zip(streams, [(160, 120), (320, 240)], strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(1, 61):
            for stream in streams:
                image = numbered(number + (300 if stream is streams[0] else 0), stream.width, stream.height)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        for stream in streams:
            out.mux(stream.encode())
    footage = open_footage([str(tmp_path / "two.mkv")])
    assert (footage.width, footage.height) == (320, 240)
    assert numbers(footage) == rows(1, 60)
    assert footage.notes == (f"video {tmp_path / 'two.mkv'} holds 2 pictures: the largest is used, 320x240",)


def test_a_cover_picture_is_no_footage(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "cover.mp4"), "w") as out:
        cover: Any = out.add_stream("mjpeg", rate=10)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream: Any = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        packets = (
            cover.encode(av.VideoFrame.from_ndarray(numbered(500, 640, 480), format="bgr24")) + cover.encode()
        )
        for number in range(1, 21):
            packets += stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="bgr24"))
        out.mux(packets + stream.encode())
    footage = open_footage([str(tmp_path / "cover.mp4")])
    assert numbers(footage) == rows(1, 20)
    assert footage.notes == ()


@pytest.mark.parametrize("name", ["part.ts", "part.avi", "part.mp4"])
def test_a_part_of_the_footage_is_its_frames_alone(name: str, tmp_path: Path) -> None:
    path = str(write(tmp_path / name, g=20, bf=2))
    footage = open_footage([path, path])
    for first, last in [(150, 175), (1, 3), (95, 160), (161, 320), (319, 320)]:
        part = footage.part(first, last)
        assert part.frames == last - first + 1
        got = [
            (frame.number, number_of(frame.image), frame.time_s) for frame in read_frames(part, first, last)
        ]
        assert [(number, shown) for number, shown, _ in got] == [
            (n, (n - 1) % FRAMES + 1) for n in range(first, last + 1)
        ]
        np.testing.assert_allclose(
            [time_s for _, _, time_s in got], (np.arange(first, last + 1) - 1) / 10, atol=0.002
        )
        assert sum(len(clip.index.keys.place) for clip in part.clips if clip.index) < 40


def with_sound(path: Path, sound_s: float) -> Path:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=10, options={"bf": "2", "g": "20"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        sound: Any = out.add_stream("aac", rate=16_000)
        for number in range(round(10 * sound_s)):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 1600 * number
            out.mux(sound.encode(frame))
            if number < FRAMES:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(PICTURES[number], format="bgr24")))
        out.mux(stream.encode() + sound.encode())
    return path


@pytest.mark.parametrize("suffix", ["mkv", "flv", "mp4", "ts"])
def test_sound_beside_the_picture(suffix: str, tmp_path: Path) -> None:
    footage = open_footage([str(with_sound(tmp_path / f"longer.{suffix}", 25.0))])
    assert footage.missing == []
    assert numbers(footage) == rows(1, FRAMES)
    assert numbers(footage, 77, 80) == rows(77, 80)


@pytest.mark.parametrize("sound", [False, True])
def test_a_matroska_file_that_was_cut_off_says_so(sound: bool, tmp_path: Path) -> None:
    whole = with_sound(tmp_path / "whole.mkv", 16.0) if sound else write(tmp_path / "whole.mkv", g=20)
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    footage = open_footage([str(tmp_path / "cut.mkv")])
    (line,) = footage.missing
    assert "cut.mkv is cut off: " in line
    assert re.search(r"of 16\.\d s are there$", line)
    assert numbers(footage, 1, footage.frames - 4) == rows(1, footage.frames - 4)


def test_pieces_of_less_than_a_second_go_on(tmp_path: Path) -> None:
    pictures = [numbered(number) for number in range(1, 41)]
    parts = [encode(tmp_path / f"{place}.ts", pictures[8 * place : 8 * place + 8], g=4) for place in range(5)]
    frames = list(read_frames(open_footage([str(joined(tmp_path / "all.ts", *parts))])))
    assert [number_of(frame.image) for frame in frames] == list(range(1, 41))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(40) / 10, atol=0.011)


@pytest.mark.parametrize("base", [Fraction(1, 10), Fraction(1, 1000)])
def test_an_avi_with_dropped_frames_is_whole_until_it_is_cut(base: Fraction, tmp_path: Path) -> None:
    path = tmp_path / "dropped.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=round(1 / base))
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", 10
        stream.codec_context.time_base = base
        for place in range(60):
            frame = av.VideoFrame.from_ndarray(numbered(place + 1, 160, 120), format="bgr24")
            frame.pts, frame.time_base = round((place + 5 * (place >= 30)) / 10 / base), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    footage = open_footage([str(path)])
    assert footage.problems == ()
    assert [number_of(frame.image) for frame in read_frames(footage)] == list(range(1, 61))
    with av.open(str(path)) as whole:
        place = [packet.pos for packet in whole.demux(video=0) if packet.size][40]
    path.write_bytes(path.read_bytes()[:place])
    assert "is cut off" in open_footage([str(path)]).problems[0]


@pytest.mark.parametrize("name", ["part.mp4", "part.mkv", "part.ts", "part.avi"])
def test_a_part_that_ends_before_a_key_frame_is_read_once(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As segments do whose length is a multiple of the distance of key frames. The decoder is given the key
    frame after the end, of which the part's index says nothing, before it gives the last frame.
    """
    path = write(tmp_path / name, g=10, bf=2, x264_params="scenecut=0")
    footage, openings = open_footage([str(path)]), list[str]()
    opened = reading.opened

    def counted(source: str, **more: Any) -> Any:
        openings.append(source)
        return opened(source, **more)

    monkeypatch.setattr(reading, "opened", counted)
    for first, last in ((91, 120), (99, 130)):
        openings.clear()
        part = footage.part(first, last)
        assert numbers(part, first, last) == rows(first, last)
        assert len(openings) == 1
