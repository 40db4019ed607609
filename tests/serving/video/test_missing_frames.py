"""What is read is counted against the index: a frame that does not come is a line and exit 3, wherever it lies."""

from pathlib import Path

import av
import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli import app
from serving.job.run import Execution, run_job
from serving.spec import load_job
from tests.serving.execution_job import SEGMENT_S, WALKS, make_place
from tests.serving.numbered import encode
from tests.serving.tiny_footage import draw

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
    result = run_job(load_job(place / "job.yaml"), place / f"workers-{workers}", execution=Execution(SEGMENT_S, workers))
    assert result.problems == ("camera hall: 3 of 160 frames are damaged and were not seen, the first: number 50",)
    assert result.summary["counts"]["frames"] == FRAMES - len(DAMAGED)


def test_it_is_exit_3(place: Path) -> None:
    done = CliRunner().invoke(app, ["match", str(place / "job.yaml"), "--out", str(place / "out"), "--quiet"])
    assert done.exit_code == 3
    assert "3 of 160 frames are damaged and were not seen, the first: numbers 50 to 51" in done.stderr
