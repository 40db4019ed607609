"""Files and addresses made to reach what they should not: other files of this machine, other hosts, folders
outside the output.
"""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from reid.card import load_card
from reid.errors import ReidError, UsageError
from serving.protocols import SCHEMES, container_options, scheme_problem
from serving.runtime import load
from serving.spec import load_job
from serving.video import open_footage
from tests.serving.tiny_models import tiny_model


def clip(path: Path, frames: int = 10) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for number in range(frames):
            image = np.full((48, 64, 3), 20 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        out.mux(stream.encode())
    return path


def playlists(secret: Path, host: str) -> dict[str, str]:
    """Scripts that FFmpeg follows by their content, whatever they are called."""
    lines = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" '
        'bandwidth="1"><BaseURL>{0}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>"
    )
    return {
        "hls of a file": lines.format(secret),
        "hls of a neighbour": lines.format(secret.name),
        "hls of a host": lines.format(f"{host}/a.ts"),
        "concat": f"ffconcat version 1.0\nfile {secret.name}\n",
        "concat of a host": f"ffconcat version 1.0\nfile {host}/a.ts\n",
        "dash": dash.format(f"{host}/a.mp4"),
        "sdp": (
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP "
            "96\na=rtpmap:96 H264/90000\n"
        ),
    }


@pytest.fixture
def visited() -> Iterator[tuple[str, list[str]]]:
    """A real HTTP server on loopback: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "name", ["walk.mkv", "walk.mp4", "walk.m3u8", "walk.ffconcat", "walk.mpd", "walk.sdp", "walk"]
)
@pytest.mark.parametrize("kind", list(playlists(Path("x"), "h:1")))
def test_a_playlist_reaches_nothing(
    tmp_path: Path, visited: tuple[str, list[str]], kind: str, name: str
) -> None:
    secret = clip(tmp_path / "secret.avi")
    (tmp_path / name).write_text(playlists(secret, visited[0])[kind])
    with pytest.raises(ReidError, match="is a playlist or script"):
        open_footage([str(tmp_path / name)])
    assert visited[1] == []
    # Without our own look at its first bytes, FFmpeg's list of containers keeps it from being followed.
    with pytest.raises((av.FFmpegError, OSError)):
        av.open(str(tmp_path / name), options=container_options(str(tmp_path / name)))
    assert visited[1] == []


def test_ffmpeg_would_have_followed_it(tmp_path: Path, visited: tuple[str, list[str]]) -> None:
    """What the lists are for: without them the same file leads to another."""
    secret = clip(tmp_path / "secret.avi")
    (tmp_path / "walk.mp4").write_text(playlists(secret, visited[0])["concat"])
    with av.open(str(tmp_path / "walk.mp4")) as container:
        assert container.streams.video[0].width == 64


def test_a_playlist_from_a_camera_is_not_followed(tmp_path: Path) -> None:
    """A camera that answers with a playlist of another host's files, or of this machine's."""
    other, asked = socket.create_server(("127.0.0.1", 0)), []
    secret = clip(tmp_path / "secret.ts")
    targets = iter([f"http://127.0.0.1:{other.getsockname()[1]}/a.ts", f"file://{secret}", str(secret)])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = playlists(secret, "")["hls of a file"].replace(str(secret), next(targets)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    other.settimeout(0.2)
    for _ in range(3):
        with pytest.raises((av.FFmpegError, OSError)):
            address = f"http://127.0.0.1:{server.server_port}/live.m3u8"
            av.open(address, options=container_options(address), timeout=10)
    with pytest.raises(TimeoutError):
        other.accept()
    server.shutdown()
    server.server_close()
    other.close()
    assert asked


@pytest.mark.parametrize(
    "source",
    [
        *(
            "file:///etc/passwd",
            "concat://a|b",
            "async:http://h/x",
            "cache:http://h/x",
            "subfile,,start,0,end,9,,://x",
            "crypto://x",
        ),
        *(
            "data://text",
            "pipe://0",
            "fd://3",
            "gopher://h/x",
            "ftp://h/x",
            "ftps://h/x",
            "smb://h/x",
            "hls+http://h/x",
            "://x",
            "HTTP+://h",
        ),
        *(
            "rtsp://[::1",
            "rtsp://[::1/x",
            "rtsp://a:p@[fe80::1%eth0/x",
            "rtsp:///path",
            "http://",
            "rtsp://host:port/x",
            "rtsp://h:99999/x",
        ),
    ],
)
def test_a_job_names_no_other_protocol(tmp_path: Path, source: str) -> None:
    for name in ("model", "gallery.db"):
        (tmp_path / name).write_text("x")
    value = {"cameras": [{"id": "c", "source": source}], "model": "model", "gallery": "gallery.db"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(value))
    with pytest.raises(UsageError, match=r"job\.yaml: cameras\.0\.source: the address") as raised:
        load_job(tmp_path / "job.yaml")
    assert source not in str(raised.value) or source == "://x", "an address may hold a password"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_cameras_that_there_are_can_be_named(scheme: str) -> None:
    assert scheme_problem(f"{scheme}://user:pass@[::1]:554/live?x=1") is None
    assert "file" not in container_options(f"{scheme}://h/x")["protocol_whitelist"].split(",")


@pytest.mark.parametrize("how", ["above", "absolute", "link", "linked folder"])
def test_a_model_card_opens_nothing_outside_its_folder(tmp_path: Path, how: str) -> None:
    outside = tiny_model(tmp_path / "outside") / "model.onnx"
    model = tiny_model(tmp_path / "model")
    (model / "linked").symlink_to(outside.parent)
    (model / "link.onnx").symlink_to(outside)
    name = {
        "above": "../outside/model.onnx",
        "absolute": str(outside),
        "link": "link.onnx",
        "linked folder": "linked/model.onnx",
    }[how]
    card = json.loads((model / "model.json").read_text())
    card["files"]["fp32"]["path"] = name
    (model / "model.json").write_text(json.dumps(card))
    for opener in (load_card, load):
        with pytest.raises(ReidError, match="which lies outside"):
            opener(model)


def test_a_model_folder_that_is_itself_a_link_is_opened(tmp_path: Path) -> None:
    tiny_model(tmp_path / "model")
    (tmp_path / "current").symlink_to("model")
    assert load_card(tmp_path / "current").name == "tiny"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input", {"height": 5_000_000, "width": 3_000_000}),
        ("input", {"height": 16, "width": 8, "std": [1, 0, 1]}),
        ("input", {"height": 16, "width": 8, "scale": float("inf")}),
        ("input", {"height": 16, "width": 8, "mean": [float("nan"), 0, 0]}),
        ("dim", 2**62),
        ("dim", 2**70),
        (
            "thresholds",
            [{"policy": "min", "unit": "image", "false_accept_rate": 0.1, "distance": float("inf")}],
        ),
        ("files", {"fp32": {"path": "n" * 10_000}}),
        ("files", {"fp32": {"path": ""}}),
        ("files", {"fp32": {"path": "a\0b"}}),
    ],
)
def test_a_model_card_of_impossible_sizes_is_one_line(tmp_path: Path, key: str, value: object) -> None:
    """Images of 43 TiB, among others."""
    model = tiny_model(tmp_path / "model")
    card = json.loads((model / "model.json").read_text()) | {key: value}
    (model / "model.json").write_text(json.dumps(card))
    with pytest.raises(ReidError, match=r"model card .*model\.json") as raised:
        load_card(model)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700
