"""Nothing stands still for ever: neither FFmpeg's decoder threads against Python's lock, nor a job whose
footage gives nothing.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import yaml

from reid.errors import ReidError
from serving.video import Pulse, ahead
from tests.serving.execution_job import FRAMES, SEGMENT_S, make_place
from tests.serving.tiny_footage import Walk, draw

# A library that sets a callback when it is imported, as torchvision did for years, is played by the first
# line.
_OPEN_AND_CLOSE = """
import sys, threading
import av
from itertools import islice
from serving.video import open_footage, read_frames
av.logging.set_level(av.logging.ERROR)
sys.setswitchinterval(0.0005)

def busy():
    while True:
        sum(number * number for number in range(1000))

for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
for number in range(300):
    frames = read_frames(open_footage([sys.argv[1 + number % 3]]))
    assert [frame.number for frame in islice(frames, 3)] == [1, 2, 3]
    frames.close()
assert av.logging.get_level() is None
print("closed")
"""


def encode(path: Path, codec: str, frames: int = 60, **options: str) -> Path:
    walk = Walk("anna", (20, 200), (4, 0), 1, frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(1, frames + 1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw(number, [walk]), format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.mark.slow
def test_three_hundred_files_are_opened_and_closed_beside_busy_threads(tmp_path: Path) -> None:
    files = [
        encode(tmp_path / "h264.mp4", "libx264", g="30", bf="2"),
        encode(tmp_path / "h265.mp4", "libx265", **{"x265-params": "log-level=none:keyint=30"}),
        encode(tmp_path / "mpeg4.avi", "mpeg4", g="30"),
    ]
    command = [sys.executable, "-c", _OPEN_AND_CLOSE, *map(str, files)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.stdout == "closed\n", ended.stderr
    assert ended.stderr == ""


@pytest.fixture
def cut_short(tmp_path: Path) -> Iterator[str]:
    """An address with a password and a token that gives the first half of a file and hangs up."""
    data = encode(tmp_path / "whole.mkv", "ffv1").read_bytes()

    class Half(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:s3cret@127.0.0.1:{server.server_port}/live.mkv?token=t0ken"
    server.shutdown()
    server.server_close()


_READ = """
import sys
from itertools import islice
import av
from serving.video import open_footage, opening, read_frames
if sys.argv[2] == "printed":
    opening.no_log_callback = lambda: (
        av.logging.restore_default_callback(), av.logging.set_libav_level(av.logging.TRACE)
    )
assert len(list(islice(read_frames(open_footage([sys.argv[1]])), 6))) == 6
"""


def test_ffmpegs_own_messages_show_no_address(cut_short: str) -> None:
    def messages(way: str) -> str:
        command = [sys.executable, "-c", _READ, cut_short, way]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr

    assert messages("quiet") == ""
    assert "t0ken" in messages("printed")  # so there was something to be quiet about


def test_what_gives_nothing_is_given_up_and_does_not_hold_the_process() -> None:
    stuck, pulse = threading.Event(), Pulse(stall_s=0.4)
    pulse.name = "hall.mp4"

    def frames() -> Iterator[int]:
        for number in range(3):
            pulse.beat()
            yield number
        stuck.wait()

    got = []
    began = time.monotonic()
    with pytest.raises(ReidError, match=r"video hall\.mp4: nothing came for 0\.4 s"):
        got.extend(ahead(frames(), 8, pulse))
    assert got == [0, 1, 2]
    assert time.monotonic() - began < 5
    stuck.set()


def test_slow_is_not_still() -> None:
    pulse = Pulse(stall_s=0.4)

    def frames() -> Iterator[int]:
        for number in range(12):
            time.sleep(0.1)
            pulse.beat()
            if number % 6 == 5:
                yield number

    reader = ahead(frames(), 1, pulse)
    assert next(reader) == 5
    time.sleep(1.0)  # who uses the frames may take longer than that
    assert list(reader) == [11]


# A decoder that hangs cannot be had. This stands in for it in every process of a job: from the 40th packet of
# two.avi on, reading waits for ever, with Python's lock free or holding it, once the job has its index and
# works through segments.
_STANDS_STILL = """
import ctypes, os, threading
import av

opened = av.open

class Still:
    def __init__(self, container):
        self.__dict__["container"] = container

    def __getattr__(self, name):
        return getattr(self.container, name)

    def demux(self, stream):
        for number, packet in enumerate(self.container.demux(stream)):
            if number == 40 and os.path.exists(os.environ["LEDGER"]):
                if os.environ["HOW"] == "locked":
                    ctypes.PyDLL(None).sleep(10000)
                threading.Event().wait()
            yield packet

def open_still(file, *arguments, **options):
    container = opened(file, *arguments, **options)
    return Still(container) if str(file).endswith("two.avi") and "w" not in arguments else container

av.open = open_still
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_place(tmp_path_factory.mktemp("still"))
    (folder / "fake").mkdir()
    (folder / "fake" / "sitecustomize.py").write_text(_STANDS_STILL)
    job = yaml.safe_load((folder / "job.yaml").read_text()) | {"stall_s": 1.0}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


@pytest.mark.parametrize(
    ("how", "options", "words"),
    [
        ("free", [], "nothing came for 1 s"),
        pytest.param("free", ["--workers", "2"], "nothing came for 1 s", marks=pytest.mark.slow),
        pytest.param(
            "locked", ["--workers", "2"], "was killed or stood still 3 times", marks=pytest.mark.slow
        ),
        pytest.param("free", ["--ray", "local"], "nothing came for 1 s", marks=pytest.mark.slow),
    ],
    ids=["in process", "workers", "workers, with the interpreter's lock", "ray"],
)
def test_a_camera_that_stands_still_is_a_problem_line_and_the_job_ends(
    place: Path, how: str, options: list[str], words: str
) -> None:
    out = place / "-".join(["out", how, *(one.strip("-") for one in options)])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            [str(place / "fake"), str(Path(__file__).parents[4]), os.environ.get("PYTHONPATH", "")]
        ),
        "LEDGER": str(place / f".{out.name}.work" / "ledger.json"),
        "HOW": how,
    }
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "match",
        str(place / "job.yaml"),
        "--out",
        str(out),
        "--quiet",
    ]
    ended = subprocess.run(
        [*command, "--segment-s", str(SEGMENT_S), *options],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )
    assert ended.returncode == 3, ended.stderr
    lines = ended.stderr.splitlines()
    assert lines
    assert all(line.startswith("camera two: ") and words in line for line in lines)
    counts = json.loads((out / "job.json").read_text())["counts"]["cameras"]
    assert (counts["one"]["frames"], counts["two"]["frames"]) == (FRAMES, 0)


_PAUSED = """
import time
from serving.watchdog import ended_when_stuck

with ended_when_stuck(0.4):
    print("ready", flush=True)
    for _ in range(20):
        time.sleep(0.1)
print("done")
"""


def test_ctrl_z_ends_no_job() -> None:
    # A group of its own with this session as its keeper: the kernel stops no group that nobody could
    # continue.
    command = [sys.executable, "-c", _PAUSED]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTSTP)
        time.sleep(3)  # beyond 0.4 s and its margin of 0.8 s
        assert process.poll() is None
        process.send_signal(signal.SIGCONT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "done\n"), error
