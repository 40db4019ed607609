"""What is read is counted against the index: a frame that does not come is a line and exit 3, wherever it
lies.
"""

import re
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli import app
from reid.errors import ReidError
from serving.job.run import Execution, run_job
from serving.spec import load_job
from serving.video import open_footage, read_frames
from tests.serving.execution_job import SEGMENT_S, WALKS, make_place
from tests.serving.numbered import encode
from tests.serving.tiny_footage import draw, write_truth

FRAMES = 160
DAMAGED = (50, 51, 120)  # the last frame of a segment, the first of the next, and one in the middle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_place(tmp_path_factory.mktemp("missing"), cameras=1)
    pictures = [draw(number, WALKS) for number in range(1, FRAMES + 1)]
    path = encode(folder / "damaged.avi", pictures, "mjpeg", pixels="yuvj420p", qmin=1, qmax=3)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in DAMAGED:
        position, size = packets[number - 1]
        data[position + 8 : position + 8 + size - 8] = b"\0" * (size - 8)
    path.write_bytes(data)
    job = yaml.safe_load((folder / "job.yaml").read_text())
    job["cameras"] = [{"id": "hall", "source": "damaged.avi"}]
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_frames_that_do_not_come_are_counted_once(workers: int, place: Path) -> None:
    result = run_job(
        load_job(place / "job.yaml"), place / f"workers-{workers}", execution=Execution(SEGMENT_S, workers)
    )
    assert result.problems == (
        "camera hall: 3 of 160 frames are damaged and were not seen, the first: number 50",
    )
    assert result.summary["counts"]["frames"] == FRAMES - len(DAMAGED)


def test_it_is_exit_3(place: Path) -> None:
    done = CliRunner().invoke(app, ["match", str(place / "job.yaml"), "--out", str(place / "out"), "--quiet"])
    assert done.exit_code == 3
    assert "3 of 160 frames are damaged and were not seen, the first: numbers 50 to 51" in done.stderr


def test_crops_say_what_of_the_footage_is_missing(place: Path) -> None:
    write_truth(place / "gt.txt", WALKS, FRAMES, {"anna": 1, "bert": 2, "carl": 3})
    asked = ["crops", str(place / "damaged.avi"), "--truth", str(place / "gt.txt")]
    done = CliRunner().invoke(app, [*asked, "--out", str(place / "crops")])
    expected = (
        f"video {place / 'damaged.avi'}: 3 of 160 frames are damaged and were not seen, the first: "
        "numbers 50 to 51\n"
    )
    assert (done.exit_code, done.stderr) == (3, expected)
    assert any((place / "crops").iterdir())
    done = CliRunner().invoke(app, [*asked, "--out", str(place / "whole"), "--frames", "52-119"])
    assert (done.exit_code, done.stderr) == (0, "")
    cut = place / "cut.avi"
    cut.write_bytes((place / "damaged.avi").read_bytes()[: cut_at(place / "damaged.avi", 100)])
    done = CliRunner().invoke(app, ["crops", str(cut), *asked[2:], "--out", str(place / "cut")])
    assert (done.exit_code, "is cut off: 100 of 160 frames are there" in done.stderr) == (3, True), (
        done.stderr
    )


def cut_at(path: Path, frames: int) -> int:
    """The length in bytes of the first so many frames of a file."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return packets[frames].pos


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
def test_a_file_cut_off_anywhere_in_its_first_frames(codec: str, tmp_path: Path) -> None:
    pictures = [draw(number, WALKS) for number in range(1, 6)]
    whole = encode(
        tmp_path / "whole.avi", pictures, codec, pixels="yuvj420p" if codec == "mjpeg" else "yuv420p"
    )
    with av.open(str(whole)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    data, found = whole.read_bytes(), set()
    for length in np.linspace(ends[0] // 2, ends[2], 25).astype(int):
        path = tmp_path / f"{length}.avi"
        path.write_bytes(data[:length])
        try:
            footage = open_footage([str(path)])
        except ReidError as error:
            found.add(re.sub(r"video \S+", "video", str(error)))
        else:
            assert 1 <= len(list(read_frames(footage))) <= footage.frames <= 3
    assert "video holds no whole frame: it is cut off in its first; copy it again" in found, found
