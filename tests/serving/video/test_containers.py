"""Every container and codec that PyAV's wheel can write: each frame carries its number, and the numbers are
read back.

A pair counts where FFmpeg itself, read plainly from front to end, gives all numbers in their order: some
muxers write files that it cannot read again.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import serving.video.reading
from serving.video import Pulse, open_footage, read_frames
from tests.serving.numbered import encode, number_of, numbered

FRAMES = 40
_X265 = {"x265_params": "log-level=none:keyint=12:bframes=2"}
_GOP = {"g": 12}
# codec: (pixels, width, height, frames a second, options)
CODECS = {
    "libx264": ("yuv420p", 160, 120, 10, _GOP | {"bf": 2}),
    "libx265": ("yuv420p", 160, 120, 10, _X265),
    "mpeg4": ("yuv420p", 160, 120, 10, _GOP | {"bf": 2}),
    "mpeg2video": ("yuv420p", 160, 120, 25, _GOP | {"bf": 2}),
    "mpeg1video": ("yuv420p", 160, 120, 25, _GOP | {"bf": 2}),
    "libvpx": ("yuv420p", 160, 120, 10, _GOP | {"auto_alt_ref": 1, "lag_in_frames": 16, "b": 2_000_000}),
    "libvpx-vp9": (
        "yuv420p",
        160,
        120,
        10,
        _GOP | {"auto_alt_ref": 1, "lag_in_frames": 16, "deadline": "realtime", "cpu_used": 8},
    ),
    "libsvtav1": ("yuv420p", 160, 120, 10, _GOP | {"preset": 12, "crf": 10}),
    "mjpeg": ("yuvj420p", 160, 120, 10, {}),
    "msmpeg4": ("yuv420p", 160, 120, 10, _GOP),
    "wmv1": ("yuv420p", 160, 120, 10, _GOP),
    "wmv2": ("yuv420p", 160, 120, 10, _GOP),
    "flv": ("yuv420p", 160, 120, 10, _GOP),
    "h261": ("yuv420p", 176, 144, 10, {}),
    "h263": ("yuv420p", 176, 144, 10, {}),
    "rv10": ("yuv420p", 176, 144, 10, {}),
    "rv20": ("yuv420p", 176, 144, 10, {}),
    "svq1": ("yuv410p", 160, 120, 10, _GOP),
    "snow": ("yuv420p", 160, 120, 10, _GOP),
    "cinepak": ("rgb24", 160, 120, 10, _GOP),
    "roqvideo": ("yuvj444p", 128, 128, 30, {}),
    "amv": ("yuvj420p", 160, 112, 10, {}),
    "asv1": ("yuv420p", 160, 112, 10, {}),
    "dvvideo": ("yuv420p", 720, 576, 25, {}),
    "dnxhd": ("yuv422p", 256, 128, 25, {"profile": "dnxhr_lb"}),
    "prores_ks": ("yuv422p10le", 160, 128, 10, {}),
    "cfhd": ("yuv422p10le", 160, 128, 10, {}),
    "jpeg2000": ("yuv420p", 160, 120, 10, {}),
    "speedhq": ("yuv420p", 160, 128, 10, {}),
    "ffv1": ("yuv420p", 160, 120, 10, _GOP),
    "huffyuv": ("yuv422p", 160, 120, 10, {}),
    "utvideo": ("yuv420p", 160, 120, 10, {}),
    "magicyuv": ("gbrp", 160, 120, 10, {}),
    "png": ("rgb24", 160, 120, 10, {}),
    "apng": ("rgb24", 160, 120, 10, {}),
    "gif": ("bgr8", 160, 120, 10, {}),
    "libwebp_anim": ("yuv420p", 160, 120, 10, {}),
    "qtrle": ("rgb24", 160, 120, 10, _GOP),
    "zmbv": ("bgr0", 160, 120, 10, _GOP),
    "flashsv": ("bgr24", 160, 120, 10, _GOP),
    "msvideo1": ("rgb555le", 160, 120, 10, {}),
    "rawvideo": ("yuv420p", 160, 120, 10, {}),
}
# container: how its files are named
CONTAINERS = {
    "mp4": "mp4",
    "mov": "mov",
    "3gp": "3gp",
    "ismv": "ismv",
    "f4v": "f4v",
    "ipod": "m4v",
    "psp": "psp.mp4",
    "matroska": "mkv",
    "webm": "webm",
    "avi": "avi",
    "flv": "flv",
    "asf": "wmv",
    "nut": "nut",
    "mxf": "mxf",
    "ogg": "ogv",
    "mpegts": "ts",
    "mpeg": "mpg",
    "vob": "vob",
    "dvd": "dvd.mpg",
    "svcd": "svcd.mpg",
    "vcd": "vcd.mpg",
    "wtv": "wtv",
    "h264": "h264",
    "hevc": "h265",
    "m4v": "m4v",
    "mpeg1video": "m1v",
    "mpeg2video": "m2v",
    "mjpeg": "mjpeg",
    "obu": "obu",
    "h261": "h261",
    "h263": "h263",
    "ivf": "ivf",
    "rm": "rm",
    "swf": "swf",
    "dv": "dv",
    "gif": "gif",
    "apng": "apng",
    "roq": "roq",
    "yuv4mpegpipe": "y4m",
    "smjpeg": "mjpg",
    "film_cpk": "cpk",
    "mpjpeg": "mpjpeg",
    "avif": "avif",
    "image2pipe": "pipe",
}


@cache
def pictures(width: int, height: int) -> list[np.ndarray]:
    return [numbered(number, width, height) for number in range(1, FRAMES + 1)]


def written(folder: Path, container: str, codec: str) -> Path | None:
    """A file of this kind; None where FFmpeg cannot write it, or cannot read it again."""
    pixels, width, height, fps, options = CODECS[codec]
    path = folder / f"{codec}.{CONTAINERS[container]}"
    try:
        encode(path, pictures(width, height), codec, container, fps, pixels, **options)
        with av.open(str(path)) as file:
            numbers = [
                number_of(frame.to_ndarray(format="bgr24", threads=1)) for frame in file.decode(video=0)
            ]
    except (av.FFmpegError, OSError, ValueError, IndexError, AttributeError):
        return None
    return path if numbers == list(range(1, FRAMES + 1)) else None


GOOD: dict[str, int] = {}


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_numbers_in_the_pictures_are_those_of_the_frames(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.video.reading, "_NEAR", 6)  # so that ranges begin with a seek
    for codec in CODECS:
        path = written(tmp_path, container, codec)
        if path is None:
            continue
        GOOD[container] = GOOD.get(container, 0) + 1
        footage = open_footage([str(path)])
        assert footage.frames == FRAMES, codec
        assert footage.missing == [], codec
        for first, last, step in [
            (1, FRAMES, 1),
            (31, 33, 1),
            (14, FRAMES, 1),
            (9, FRAMES, 7),
            (FRAMES, FRAMES, 1),
        ]:
            frames = list(read_frames(footage, first, last, step))
            got = [(frame.number, number_of(frame.image)) for frame in frames]
            assert got == [(number, number) for number in range(first, last + 1, step)], (
                codec,
                first,
                last,
                step,
            )
            times_s = [frame.time_s for frame in frames]
            wanted = np.arange(first - 1, last, step) / footage.fps
            np.testing.assert_allclose(times_s, wanted, atol=0.0021, err_msg=codec)
        if container not in (
            "mjpeg",
            "obu",
            "gif",
            "image2pipe",
            "mpjpeg",
            "h261",
            "h263",
        ):  # which do not say it
            assert footage.fps == pytest.approx(CODECS[codec][3], rel=0.02), codec


@pytest.mark.parametrize(("codec", "most"), [("libx264", 0.9), ("mpeg4", 0.5), ("mpeg2video", 0.5)])
def test_of_frames_between_the_steps_those_that_no_other_needs_are_not_decoded(
    codec: str, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "matroska", codec)
    assert path is not None
    every = {frame.number: frame.image for frame in read_frames(open_footage([str(path)]))}
    given: list[av.VideoFrame] = []
    original = serving.video.reading.decoded

    def counted(*args: Any) -> list[av.VideoFrame]:
        frames = original(*args)
        given.extend(frames)
        return frames

    monkeypatch.setattr(serving.video.reading, "decoded", counted)
    found = list(read_frames(open_footage([str(path)]), step=9))
    assert [frame.number for frame in found] == list(range(1, FRAMES + 1, 9))
    for frame in found:
        np.testing.assert_array_equal(frame.image, every[frame.number])
    assert len(found) <= len(given) < most * FRAMES


def test_a_packet_that_is_no_frames_own_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the second field of a wanted frame."""
    path = written(tmp_path, "matroska", "mpeg4")
    assert path is not None
    (clip,) = open_footage([str(path)]).clips
    assert clip.index is not None
    lacking = replace(clip.index, place=np.where(clip.index.place == 5, 0, clip.index.place))
    told: dict[int, str] = {}
    original = serving.video.reading.decoded

    def noted(one: Any, packet: Any, place: int, pulse: Pulse) -> list[av.VideoFrame]:
        told[place] = str(one.stream.codec_context.skip_frame)
        return original(one, packet, place, pulse)

    monkeypatch.setattr(serving.video.reading, "decoded", noted)
    list(serving.video.reading.read_range(clip.source, lacking, range(0, FRAMES, FRAMES - 1), Pulse()))
    assert told[5] == "DEFAULT" and told[6] == "NONREF"


def test_no_pair_was_passed_over_that_was_read_before() -> None:
    if len(GOOD) < len(CONTAINERS) // 2:
        pytest.skip("only with all the others of this file")
    assert sum(GOOD.values()) >= 250, GOOD
