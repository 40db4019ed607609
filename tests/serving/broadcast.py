"""Cameras on the network: HTTP on loopback that sends a file piece by piece, whole or not, and RTSP."""

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_PIECE = 8192


@contextmanager
def broadcast(
    *files: Path, shares: tuple[float, ...] = (1.0,), seconds: float = 0.0, length: bool = True
) -> Iterator[str]:
    """Serve an address; the n-th connection gets the n-th file (then the last again), the n-th share of it,
    over ``seconds``.

    With ``length`` the whole file's length is promised, without it the stream just ends.
    """
    connections = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = next(connections)
            data, share = (
                files[min(number, len(files) - 1)].read_bytes(),
                shares[min(number, len(shares) - 1)],
            )
            self.send_response(200)
            if length:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            cut = data[: int(share * len(data))]
            try:
                for start in range(0, len(cut), _PIECE):
                    self.wfile.write(cut[start : start + _PIECE])
                    self.wfile.flush()
                    time.sleep(seconds * _PIECE / max(1, len(cut)))
            except OSError:
                pass  # whoever listened has gone
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://user:s3cret@127.0.0.1:{server.server_port}/live{files[0].suffix}?token=t0ken"
    finally:
        server.shutdown()
        server.server_close()


class _RtspHandler(socketserver.StreamRequestHandler):
    """Just enough of RTSP 1.0 (RFC 2326) with RTP in the same connection to play a transport stream (RFC
    2250).
    """

    def handle(self) -> None:
        while request := self._request():
            method, headers = request
            getattr(self, method, self._ok)(headers)

    def _request(self) -> tuple[str, dict[str, str]] | None:
        first = self.rfile.readline().decode()
        if not first.strip():
            return None
        headers: dict[str, str] = {}
        while line := self.rfile.readline().decode().strip():
            key, _, value = line.partition(":")
            headers[key.lower()] = value.strip()
        return first.split()[0], headers

    def _ok(self, headers: dict[str, str], extra: str = "", body: str = "") -> None:
        length = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n" if body else ""
        self.wfile.write(
            f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\nSession: 1\r\n{extra}{length}\r\n{body}".encode()
        )

    def DESCRIBE(self, headers: dict[str, str]) -> None:
        lines = [
            "v=0",
            "o=- 0 0 IN IP4 127.0.0.1",
            "s=live",
            "t=0 0",
            "m=video 0 RTP/AVP 33",
            "a=control:track",
        ]
        self._ok(headers, body="".join(f"{line}\r\n" for line in lines))

    def SETUP(self, headers: dict[str, str]) -> None:
        server: Any = self.server
        server.transports.append(headers["transport"])
        self._ok(headers, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")

    def PLAY(self, headers: dict[str, str]) -> None:
        server: Any = self.server
        self._ok(headers)
        data = server.files[min(len(server.transports), len(server.files)) - 1].read_bytes()
        try:
            for number, start in enumerate(range(0, len(data), 1316)):
                packet = (
                    struct.pack(">BBHII", 0x80, 33, number % 65536, number * 900, 1)
                    + data[start : start + 1316]
                )
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            time.sleep(0.3)
        except OSError:
            pass
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def rtsp_broadcast(*files: Path) -> Iterator[tuple[str, list[str]]]:
    """An RTSP camera: the n-th connection plays the n-th transport stream (then the last again) and ends.
    With the transports asked for.
    """
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _RtspHandler)
    server.daemon_threads, server.files, server.transports = True, files, []
    server.handle_error = lambda *_: None  # whoever listened has gone
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"rtsp://user:s3cret@127.0.0.1:{server.server_address[1]}/live", server.transports
    finally:
        server.shutdown()
        server.server_close()
