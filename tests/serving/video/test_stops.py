"""Single frames decoded from key frames, with nothing decoded between: each under its own number and time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.video import (
    Pulse,
    open_footage,
    packet_sizes,
    read_pictures,
    read_stops,
    stops_of,
    times_of,
    upright,
)
from serving.video.opening import opened
from tests.serving.numbered import encode, number_of, numbered

FRAMES = 100


@pytest.fixture(
    scope="module", params=["h264.mp4", "h264.mkv", "h264.ts", "hevc.mp4", "mpeg4.avi", "vp9.webm"]
)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, container = request.param.split(".")
    options: dict[str, object] = {
        "h264": {"g": 15, "bf": 2, "preset": "ultrafast", "x264-params": "open-gop=1:b-adapt=0"},
        "hevc": {"preset": "ultrafast", "x265-params": "keyint=15:min-keyint=15:bframes=2:log-level=none"},
        "mpeg4": {"g": 15},
        "vp9": {"g": 15, "deadline": "realtime", "cpu_used": 8},
    }[codec]
    name = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9"}.get(codec, codec)
    place = tmp_path_factory.mktemp("stops") / f"film.{container}"
    return encode(place, [numbered(number) for number in range(1, FRAMES + 1)], name, **options)


@pytest.mark.parametrize("step", [1, 4])
def test_each_stop_is_the_frame_of_its_number(path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_footage([str(path)])
    for footage, first in ((whole, 1), (whole.part(24, 90), 30)):
        stops = stops_of(footage, first, 90, step)
        assert 4 <= len(stops) <= 7
        assert all((stop - first) % step == 0 for stop in stops)
        fed: list[int] = []
        monkeypatch.setattr("serving.video.reading.decoded", counting(fed))
        found = list(read_stops(footage, stops, Pulse()))
        monkeypatch.undo()
        assert [one.number for one in found] == stops
        assert [number_of(upright(one.frame)) for one in found] == stops
        times = {one.number: one.time_s for one in read_pictures(whole)}
        assert [one.time_s for one in found] == pytest.approx([times[stop] for stop in stops])
        assert times_of(footage, range(30, 80)) == pytest.approx([times[number] for number in range(30, 80)])
        assert len(fed) <= len(stops) * (step + 4)  # packets that were decoded


def counting(fed: list[int]) -> Callable[..., object]:
    from serving.video.opening import decoded

    def count(*arguments: Any) -> object:
        fed.append(arguments[2])
        return decoded(*arguments)

    return count


def test_packet_sizes_are_those_of_the_frames(path: Path) -> None:
    with opened(str(path)) as one:
        sizes = sorted(packet.size for packet in one.container.demux(one.stream) if packet.size)
    footage = open_footage([str(path)])
    assert sorted(packet_sizes(footage, range(1, FRAMES + 1)).tolist()) == sizes
    part = packet_sizes(footage.part(24, 90), range(30, 80)).tolist()
    assert part == packet_sizes(footage, range(1, FRAMES + 1)).tolist()[29:79]


def test_intra_codecs_have_a_stop_a_frame(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "film.avi", [numbered(number) for number in range(1, 11)], "mjpeg", pixels="yuvj420p"
    )
    assert stops_of(open_footage([str(path)]), 1, 10, 1) == list(range(1, 11))
