"""An S3 server on loopback (moto's), and a way to it that cuts connections."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SECRET = "s3cret-key-of-the-test"


class Bucket:
    """A bucket called ``footage`` of a server at ``url``."""

    def __init__(self, url: str) -> None:
        import boto3

        self.url = url
        self._client = boto3.client("s3", endpoint_url=url)
        self._client.create_bucket(Bucket="footage")

    def put(self, path: Path, name: str) -> str:
        """Store a file; its address."""
        self._client.put_object(Bucket="footage", Key=name, Body=path.read_bytes())
        return f"s3://footage/{name}"

    def content(self, name: str) -> bytes:
        return bytes(self._client.get_object(Bucket="footage", Key=name)["Body"].read())

    def names(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket="footage").get("Contents", [])
        return [one["Key"] for one in found]

    def close_to_all(self) -> None:
        """From now on the credentials of the test may nothing."""
        import requests

        requests.post(f"{self.url}/moto-api/reset-auth", data=b"0", timeout=30)


@contextmanager
def bucket(patch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket, with the environment by which it is reached."""
    from moto.server import ThreadedMotoServer

    for name, value in (("ACCESS_KEY_ID", "testing"), ("SECRET_ACCESS_KEY", SECRET), ("REGION", "us-east-1")):
        patch.setenv(f"AWS_{name}", value)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        reach(f"http://{host}:{port}", patch)
        one = Bucket(f"http://{host}:{port}")
        yield one
    finally:
        import requests

        requests.post(f"{one.url}/moto-api/reset-auth", data=b"1000000000", timeout=30)
        requests.post(f"{one.url}/moto-api/reset", timeout=30)
        server.stop()


def reach(url: str, patch: pytest.MonkeyPatch) -> None:
    """Let drivers reach the server at ``url``."""
    from s3fs import S3FileSystem

    patch.setenv("AWS_ENDPOINT_URL", url)
    S3FileSystem.clear_instance_cache()  # the opened one knows the address before


class CuttingProxy:
    """Passes connections on to a server, and cuts the first ``cuts`` after ``after`` bytes of answer, or of
    what is sent. ``answered`` counts the bytes of all answers.
    """

    def __init__(self, url: str, cuts: int, after: int = 20_000, sent: bool = False) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._to, self.left, self.cut = (host, int(port)), cuts, 0
        self.answered, self._lock = 0, threading.Lock()
        self._budgets = (after, None) if sent else (None, after)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._to)
            for one in ((client, server, self._budgets[0], False), (server, client, self._budgets[1], True)):
                threading.Thread(target=self._pass, args=one, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, budget: int | None, answer: bool) -> None:
        seen = 0
        try:
            while data := source.recv(16_384):
                seen += len(data)
                if answer:
                    with self._lock:
                        self.answered += len(data)
                if budget is not None and seen > budget and self.left > 0:
                    self.left -= 1
                    self.cut += 1
                    break
                target.sendall(data)
        except OSError:
            pass  # the other side has gone
        for one in (source, target):
            with suppress(OSError):  # it is closed already
                one.shutdown(socket.SHUT_RDWR)


def no_secret_in(folder: Path) -> None:
    """Nothing below a folder holds the secret."""
    files = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    assert files
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
