"""Footage on a web server that knows ranges (aiohttp's own), and on one that does not."""

import asyncio
import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from reid.errors import ReidError
from serving.stores import StoredFile, listed
from serving.stores.blocks import BLOCK, Blocks
from serving.video import open_footage, read_frames
from tests.serving.numbered import encode, number_of, numbered

FRAMES = 60


@contextmanager
def ranges(folder: Path) -> Iterator[str]:
    """The files of a folder, served with ranges, at an address."""
    loop, begun, address = asyncio.new_event_loop(), threading.Event(), list[str]()

    async def begin() -> None:
        application = web.Application()
        application.router.add_static("/", folder)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address.append("http://{}:{}".format(*runner.addresses[0]))
        begun.set()

    def work() -> None:
        loop.run_until_complete(begin())
        loop.run_forever()

    threading.Thread(target=work, daemon=True).start()
    begun.wait(30)
    yield address[0]
    loop.call_soon_threadsafe(loop.stop)


@contextmanager
def no_ranges(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_footage_is_read_by_ranges_and_is_that_of_the_file(tmp_path: Path) -> None:
    path = encode(tmp_path / "film.mp4", [numbered(number) for number in range(1, FRAMES + 1)], g=10)
    with ranges(tmp_path) as url:
        source = f"range+{url}/film.mp4"
        footage = open_footage([source])
        assert np.array_equal(
            footage.clips[0].index.times_s, open_footage([str(path)]).clips[0].index.times_s
        )
        numbers = [number_of(frame.image) for frame in read_frames(footage, 31, 45)]
        assert numbers == list(range(31, 46))


def test_one_range_is_one_range(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(3 * BLOCK + 1000)
    (tmp_path / "film.bin").write_bytes(content)
    with ranges(tmp_path) as url:
        file = StoredFile(f"range+{url}/film.bin", blocks=Blocks(4 * BLOCK))
        file.seek(2 * BLOCK + 10)
        assert file.read(1000) == content[2 * BLOCK + 10 : 2 * BLOCK + 1010]
        file.seek(-5, 2)
        assert file.read() == content[-5:]
        file.check_unchanged()
        (tmp_path / "film.bin").write_bytes(content[:-1])
        with pytest.raises(ReidError, match="has changed since"):
            file.check_unchanged()
        with pytest.raises(ReidError, match=r"none\.mp4 does not exist"):
            listed(f"range+{url}/none.mp4")


def test_a_server_without_ranges_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.stores.stored_file._WAITS_S", (0.01,))
    (tmp_path / "film.bin").write_bytes(bytes(2 * BLOCK))
    with no_ranges(tmp_path) as url:
        file = StoredFile(f"range+{url}/film.bin", blocks=Blocks(4 * BLOCK))
        file.seek(BLOCK + 5)
        assert file.read(10) == b""
        with pytest.raises(ReidError, match=r"film\.bin cannot be read \(\w+\)"):
            file.check()
