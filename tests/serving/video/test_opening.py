"""What FFmpeg may open on behalf of a source: the file itself, or an address of a protocol that is listed.
It says nothing by itself, and its threads never wait for Python's lock.
"""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from reid.errors import ReidError
from serving.video import open_footage, read_frames
from tests.serving.tiny_footage import Walk, background, draw, write_video

LISTS = {
    "live.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
    "hidden.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile {other}\n",
    "stream.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n",
    "cast.mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        'type="static"><BaseURL>{other}</BaseURL></MPD>'
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_is_no_video(name: str, tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.ts", [background()] * 20)
    path = tmp_path / name
    path.write_text(LISTS[name].format(other=other.name))
    with pytest.raises(ReidError, match=r"is a playlist or script, which may lead to other files and hosts"):
        open_footage([str(path)])


@pytest.mark.parametrize(
    "source",
    ["file:///etc/passwd", "ftp://127.0.0.1/a.mp4", "concat://a|b", "data://x", "gopher://127.0.0.1/"],
)
def test_an_address_of_another_protocol_is_refused(source: str) -> None:
    with pytest.raises(
        ReidError, match=r"the address has no scheme that a camera may have: want one of http, https, rtsp"
    ):
        open_footage([source])


@pytest.mark.parametrize(
    "name", ["rtp:cam.avi", "concat:a|b.avi", "a%03d.avi", "pipe:0.avi", "c,d=e.avi", "ä ö.avi"]
)
def test_a_name_is_a_name_whatever_is_in_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.avi", [background()] * 5).rename(tmp_path / name)
    assert len(list(read_frames(open_footage([name])))) == 5


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
