"""A camera on the network: HTTP on loopback that sends a file piece by piece, whole or not."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PIECE = 8192


@contextmanager
def broadcast(*files: Path, shares: tuple[float, ...] = (1.0,), seconds: float = 0.0, length: bool = True) -> Iterator[str]:
    """Serve an address; the n-th connection gets the n-th file (then the last again), the n-th share of it, over ``seconds``.

    With ``length`` the whole file's length is promised, without it the stream just ends.
    """
    connections = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = next(connections)
            data, share = files[min(number, len(files) - 1)].read_bytes(), shares[min(number, len(shares) - 1)]
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
