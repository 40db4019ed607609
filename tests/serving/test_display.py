import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving import display as module
from serving.display import CompositeProgress, JsonLinesProgress, LineProgress, MetricsFile
from tests.serving.execution_job import make_place


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_json_lines_tell_rate_and_time_left_once_a_second(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = JsonLinesProgress(stream)
    progress.start("east", 100)
    for _ in range(50):
        clock[0] += 0.1
        progress.advance("east")
    progress.done("east", None)
    progress.done("west", "is gone")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"event": "start", "camera": "east", "frames": 100}
    middle = [line for line in lines if line["event"] == "progress"]
    assert 3 <= len(middle) <= 5
    for line in middle:
        assert line["rate"] == pytest.approx(10, abs=0.1)
        assert line["seconds_left"] == pytest.approx((100 - line["done"]) / 10, abs=0.2)
    assert lines[-2] == {"event": "done", "camera": "east", "done": 50, "problem": None}
    assert lines[-1] == {"event": "done", "camera": "west", "done": 0, "problem": "is gone"}


def test_a_log_gets_a_line_a_camera_with_the_time_left(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = LineProgress(stream)
    progress.start("east", 1000)
    progress.start("live", 0)
    progress.advance("live")
    for _ in range(100):
        clock[0] += 0.1
        progress.advance("east")
    progress.write(clock[0])
    progress.done("east", None)
    progress.done("live", "is gone")
    progress.write(clock[0])
    assert stream.getvalue().splitlines() == [
        "camera east: 100 of 1,000, 0:00:10 so far, about 0:01:30 left (frames)",
        "camera live: 1, 0:00:10 so far (frames)",
        "all frames are seen: naming people and writing the results",
    ]


def test_a_job_whose_screen_is_a_file_says_how_far_it_is(tmp_path: Path) -> None:
    """The whole command, told to speak ten times a second instead of every 30 s."""
    place = make_place(tmp_path, cameras=1)
    code = (
        "import sys; from serving import display; display.LINE_EVERY_S = 0.1; from "
        "pipelines.cli import main; sys.exit(main())"
    )
    arguments = ["match", str(place / "job.yaml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^camera one: \d+ of 260, 0:00:\d\d so far", done.stderr, re.MULTILINE), done.stderr
    assert "\x1b" not in done.stderr


def test_metrics_are_prometheus_text(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "reid.prom"
    progress = CompositeProgress([MetricsFile(path)])
    progress.start("east", 100)
    for _ in range(30):
        clock[0] += 0.1
        progress.advance("east")
    progress.done("west", "is gone")
    progress.done("east", None)
    values = dict(re.findall(r"^(\S+) (\S+)$", path.read_text(), re.MULTILINE))
    assert values['reid_frames_total{camera="east"}'] == "30"
    assert values['reid_frames_expected{camera="east"}'] == "100"
    assert values['reid_camera_failed{camera="east"}'] == "0"
    assert values['reid_camera_failed{camera="west"}'] == "1"
    assert float(values['reid_camera_seconds{camera="east"}']) == pytest.approx(3.0)
    assert len(re.findall(r"^# TYPE reid_\w+ (counter|gauge)$", path.read_text(), re.MULTILINE)) == 4
