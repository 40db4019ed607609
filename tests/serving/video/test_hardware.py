"""Decoding by hardware: asked for where there is none, software decodes and that is said. No machine of the
tests has such hardware; where it would give pictures, a stand-in gives software's in the form of hardware's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available

from serving.video import Clip, Footage, open_footage, read_frames, with_decoder
from serving.video import reading as reading_module
from serving.video.opening import Opened, opened
from serving.video.pixels import upright
from tests.serving.numbered import encode, number_of, numbered
from tests.serving.tiny_footage import Walk, draw

FRAMES = 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hardware") / "numbered.mp4"
    encode(path, [numbered(number) for number in range(1, FRAMES + 1)])
    return path


def half_planar(frame: av.VideoFrame) -> av.VideoFrame:
    """The same pixels as hardware gives them."""
    planar = frame.to_ndarray()
    height = frame.height
    colours = planar[height:].reshape(2, -1)
    mixed = np.stack([colours[0], colours[1]], axis=1).reshape(height // 2, frame.width)
    other = av.VideoFrame.from_ndarray(np.concatenate([planar[:height], mixed]), format="nv12")
    other.pts, other.color_range = frame.pts, frame.color_range
    return other


def test_pixels_of_hardware_s_form_are_the_same(tmp_path: Path) -> None:
    walk = Walk("anna", (40, 100), (5, 3), 1, 10)
    encode(tmp_path / "colours.mp4", [draw(number, [walk]) for number in range(1, 6)])
    with opened(str(tmp_path / "colours.mp4")) as one:
        for frame in islice(one.container.decode(one.stream), 5):
            np.testing.assert_array_equal(upright(half_planar(frame)), upright(frame))


@pytest.mark.parametrize("wish", ["auto", "cuda", "vaapi"])
def test_without_the_hardware_software_decodes_and_says_so(clip: Path, wish: str) -> None:
    footage, said = with_decoder(open_footage([str(clip)]), wish)
    if said.startswith("decoded by"):
        pytest.skip("this machine has such hardware")
    assert said.startswith("decoded in software, not by ")
    for kind in ("cuda", "vaapi") if wish == "auto" else (wish,):
        why = "no such hardware" if kind in hwdevices_available() else "was built without it"
        assert f"not by {kind}: " in said
        assert why in said
    assert [number_of(frame.image) for frame in read_frames(footage)] == list(range(1, FRAMES + 1))
    assert dict(footage.decoded) == {"software": FRAMES}


def test_software_is_nothing_to_be_said(clip: Path) -> None:
    footage = open_footage([str(clip)])
    assert with_decoder(footage, "software") == (footage, "")


def test_a_machine_that_lacks_what_the_job_began_with_decodes_in_software(clip: Path) -> None:
    if with_decoder(open_footage([str(clip)]), "cuda")[1] == "decoded by cuda":
        pytest.skip("this machine has such hardware")
    footage = as_hardware(open_footage([str(clip)]))
    assert [number_of(frame.image) for frame in read_frames(footage, 5, 30)] == list(range(5, 31))
    assert dict(footage.decoded) == {"software": 26}


@pytest.mark.parametrize("gives", [100, 12, 0])
def test_from_the_first_frame_that_hardware_leaves_out_software_decodes(
    clip: Path, monkeypatch: pytest.MonkeyPatch, gives: int
) -> None:
    seen: list[av.VideoFrame] = []

    @contextmanager
    def stand_in(source: str, version: str = "", decoder: str = "software") -> Iterator[Opened]:
        with opened(source, version=version) as one:
            yield replace(one, decoder=decoder)

    def given(one: Opened, found: list[av.VideoFrame]) -> list[av.VideoFrame]:
        if one.decoder == "software":
            return found
        seen.extend(found)
        return [half_planar(frame) for frame in found if frame not in seen[gives : gives + 1]]

    decoded, flushed = reading_module.decoded, reading_module.flushed
    monkeypatch.setattr(reading_module, "opened", stand_in)
    monkeypatch.setattr(reading_module, "decoded", lambda one, *rest: given(one, decoded(one, *rest)))
    monkeypatch.setattr(reading_module, "flushed", lambda one, pulse: given(one, flushed(one, pulse)))
    plain = [frame.image for frame in read_frames(open_footage([str(clip)]))]
    footage = as_hardware(open_footage([str(clip)]))
    frames = list(read_frames(footage))
    assert [frame.number for frame in frames] == list(range(1, FRAMES + 1))
    for frame, image in zip(frames, plain, strict=True):
        np.testing.assert_array_equal(frame.image, image)
    assert footage.decoded["cuda"] == min(gives, FRAMES)
    assert footage.decoded["software"] == FRAMES - min(gives, FRAMES)


def test_the_first_hardware_that_gives_the_same_pictures_is_taken(clip: Path) -> None:
    def differs(_: Clip, kind: str) -> str:
        return "its pictures are others" if kind == "cuda" else ""

    kinds = {"cuda", "vaapi"} & set(hwdevices_available())
    footage, said = with_decoder(open_footage([str(clip)]), "cuda", differs)
    assert footage.clips[0].decoder == "software"
    assert said == "decoded in software, not by cuda: its pictures are others" or "cuda" not in kinds
    if kinds:
        footage, said = with_decoder(open_footage([str(clip)]), min(kinds), lambda *_: "")
        assert {one.decoder for one in footage.clips} == kinds == {said.removeprefix("decoded by ")}
        assert {one.decoder for one in footage.part(3, 9).clips} == kinds


def as_hardware(footage: Footage) -> Footage:
    return replace(footage, clips=tuple(replace(one, decoder="cuda") for one in footage.clips))
