"""A file server on loopback that cuts connections, redirects, and tells what it was asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["ModelServer", "serving"]


class ModelServer(ThreadingHTTPServer):
    """Serves bytes by path.

    Attributes:
        files: by path.
        cuts: bytes after which the next answers end, one each.
        redirects: addresses by path.
        statuses: of the next answers, one each.
        etag: of every file; None for a server that does not tell versions apart.
        asked: path and range of each request.
        users: what each request said of who asks.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.redirects: dict[str, str] = {}
        self.statuses: list[int] = []
        self.etag: str | None = '"1"'
        self.asked: list[tuple[str, str | None]] = []
        self.users: list[str | None] = []

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.path, self.headers["Range"]))
        server.users.append(self.headers["Authorization"])
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if self.path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[self.path])
            self.end_headers()
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        whole = server.files[self.path]
        begin = 0
        if self.headers["Range"] and server.etag and self.headers["If-Range"] == server.etag:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(whole) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(whole) - begin))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        end = begin + server.cuts.pop(0) if server.cuts else len(whole)
        self.wfile.write(whole[begin:end])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[ModelServer]:
    """A running server."""
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
