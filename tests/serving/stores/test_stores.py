"""Files of a store: listed, read by ranges through the cache, and what goes wrong on the way."""

import dataclasses
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from reid.errors import ReidError, UsageError
from serving.protocols import scheme_problem
from serving.stores import StoredFile, listed
from serving.stores.blocks import BLOCK, Blocks
from serving.video import Pulse
from serving.video.index import Index, index_of
from serving.video.reading import read_range
from tests.serving.bucket import SECRET, Bucket, CuttingProxy, reach

FRAMES = 60


def write_noise(path: Path, codec: str = "libx264", options: dict[str, str] | None = None) -> Path:
    """Pictures that no codec makes small: some megabytes, in two seconds and a half."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=24, options={"preset": "ultrafast", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, 2
        for _ in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 255, (360, 480, 3), np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert path.stat().st_size > 2.5 * BLOCK
    return path


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("noise") / "noise.mp4")


def same_index(one: Index, other: Index) -> None:
    for field in dataclasses.fields(Index):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "keys":
            for key in dataclasses.fields(a):
                assert np.array_equal(getattr(a, key.name), getattr(b, key.name)), key.name
        elif field.name != "version":
            assert np.array_equal(a, b), field.name


def pictures(source: str, index: Index, first: int, last: int) -> list[tuple[int, int]]:
    read = read_range(source, index, range(first, last + 1), Pulse())
    return [(number, int(frame.to_ndarray(format="gray").sum())) for number, frame in read]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each range had that was asked for; and the cache of this process begins empty."""
    sizes: list[int] = []
    fetch, own = StoredFile._fetched, Blocks(64 * BLOCK)

    def counted(self: StoredFile, first: int, end: int) -> bytes:
        sizes.append(end - first)
        return fetch(self, first, end)

    monkeypatch.setattr(StoredFile, "_fetched", counted)
    monkeypatch.setattr("serving.stores.stored_file.blocks_of_process", lambda: own)
    return sizes


def test_a_glob_is_listed_in_the_order_of_its_numbers(footage: Bucket, tmp_path: Path) -> None:
    for name in (
        "cam1/part-10.mp4",
        "cam1/part-2.mp4",
        "cam1/part-1.mp4",
        "cam1/notes.txt",
        "cam2/part-3.mp4",
    ):
        (tmp_path / "file").write_text(name)
        footage.put(tmp_path / "file", name)
    found = listed("s3://footage/cam1/*.mp4")
    assert list(found) == [f"s3://footage/cam1/part-{number}.mp4" for number in (1, 2, 10)]
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("options", [{}, {"movflags": "+faststart"}, {"movflags": "+frag_keyframe"}], ids=str)
def test_the_index_of_a_stored_file_is_that_of_the_file(
    footage: Bucket, tmp_path: Path, options: dict[str, str], fetched: list[int]
) -> None:
    path = write_noise(tmp_path / "noise.mp4", options=options)
    address, here = footage.put(path, "noise.mp4"), index_of(str(path), Pulse())
    index = index_of(address, Pulse())
    same_index(index, here)
    size = path.stat().st_size
    # Of an MP4 with one table the pictures are not read; of fragments all is.
    assert sum(fetched) <= (size if options.get("movflags") == "+frag_keyframe" else 2 * BLOCK + size % BLOCK)
    assert pictures(address, index, 25, 45) == pictures(str(path), here, 25, 45)
    assert sum(fetched) <= size  # nothing twice


def test_an_mkv_is_read_once_for_index_and_pictures(
    footage: Bucket, tmp_path: Path, fetched: list[int]
) -> None:
    path = write_noise(tmp_path / "noise.mkv")
    address, here = footage.put(path, "noise.mkv"), index_of(str(path), Pulse())
    index = index_of(address, Pulse())
    same_index(index, here)
    assert pictures(address, index, 0, FRAMES - 1) == pictures(str(path), here, 0, FRAMES - 1)
    assert sum(fetched) == path.stat().st_size


def test_cut_connections_are_tried_again(footage: Bucket, noise: Path, fetched: list[int]) -> None:
    address, here = footage.put(noise, "noise.mp4"), index_of(str(noise), Pulse())
    proxy = CuttingProxy(footage.url, cuts=12)
    with pytest.MonkeyPatch.context() as patch:
        reach(proxy.url, patch)
        index = index_of(address, Pulse())
        assert pictures(address, index, 0, FRAMES - 1) == pictures(str(noise), here, 0, FRAMES - 1)
        assert proxy.cut == 12
        proxy.left = 10**9
        fetched.clear()
        with (
            pytest.MonkeyPatch.context() as impatient,
            pytest.raises(
                ReidError, match=r"noise\.mp4 cannot be read \(\w+\): check the address, the network"
            ),
        ):
            impatient.setattr("serving.stores.stored_file._WAITS_S", (0.01, 0.01))
            impatient.setattr("serving.stores.stored_file.blocks_of_process", lambda: Blocks(0))
            pictures(address, index, 0, FRAMES - 1)
        assert len(fetched) == 1  # asked for three times within, then given up, and no range after it
    proxy.close()


def test_a_file_that_changes_is_noticed(footage: Bucket, noise: Path, tmp_path: Path) -> None:
    address = footage.put(noise, "noise.mp4")
    index = index_of(address, Pulse())
    frames = read_range(address, index, range(FRAMES), Pulse())
    next(frames)
    other = tmp_path / "other.mp4"
    other.write_bytes(noise.read_bytes() + b"\0\0\0\x08free")
    footage.put(other, "noise.mp4")
    with pytest.raises(ReidError, match=r"noise\.mp4 has changed since"):
        list(frames)  # in the middle of it
    with pytest.raises(ReidError, match=r"noise\.mp4 has changed since"):
        pictures(address, index, 0, 3)  # and when it is opened again


def test_what_a_store_refuses_is_one_line(
    footage: Bucket, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = footage.put(noise, "noise.mp4")
    for missing in (
        "s3://footage/none.mp4",
        "s3://footage/*.avi",
        "s3://nowhere/a.mp4",
        "s3://nowhere/*.mp4",
    ):
        with pytest.raises(ReidError, match=rf"{re.escape(missing)} does not exist, or its bucket does not"):
            listed(missing)
    footage.close_to_all()
    for closed in (address, "s3://footage/*.mp4"):
        with pytest.raises(ReidError, match=r"may not be read with these credentials") as raised:
            listed(closed)
        assert SECRET not in str(raised.value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    reach(footage.url, monkeypatch)
    with pytest.raises(ReidError, match="there are no credentials that the store takes: want AWS_"):
        listed(address)


def test_a_missing_driver_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r's3:// needs the package s3fs.*pip install "reid-pipeline\[s3\]"'):
        listed("s3://footage/a.mp4")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("s3://key:secret@bucket/a.mp4", "credentials of a store come from the environment alone"),
        ("sftp://user:secret@host/a.mp4", "credentials of a store come from the environment alone"),
        ("cluster://host/a.mp4", "no scheme that a camera may have"),
        ("s3:///a.mp4", "names no host"),
        ("sftp://user@host/a.mp4", None),
        ("s3://bucket/a.mp4", None),
    ],
)
def test_addresses_of_stores(source: str, problem: str | None) -> None:
    found = scheme_problem(source)
    assert found is None if problem is None else problem in str(found)
    assert "secret" not in str(found)


def test_a_playlist_in_a_store_is_refused(footage: Bucket, tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text("#EXTM3U\nhttp://elsewhere/a.ts\n")
    with pytest.raises(ReidError, match="is a playlist or script"):
        index_of(footage.put(tmp_path / "list.mp4", "list.mp4"), Pulse())


def test_the_cache_keeps_the_blocks_used_last_and_no_more() -> None:
    blocks = Blocks(3 * BLOCK)
    for number in range(3):
        blocks.put(("a", "1", number), bytes([number]) * BLOCK)
    assert blocks.get(("a", "1", 0)) == bytes(BLOCK)
    blocks.put(("a", "1", 3), b"short")
    assert blocks.get(("a", "1", 1)) is None
    assert blocks.get(("a", "1", 3)) == b"short"
    assert [blocks.get(("a", "1", number)) is not None for number in (0, 2)] == [True, True]
    assert blocks.get(("a", "2", 3)) is None  # another version
    facts = Path(f"/proc/self/fd/{blocks._file.fileno()}").stat()
    assert facts.st_size <= 3 * BLOCK
    assert facts.st_nlink == 0  # it has no name
    assert facts.st_mode & 0o777 == 0o600


def test_threads_share_the_cache() -> None:
    blocks, wrong = Blocks(4 * BLOCK), []

    def work(mine: int) -> None:
        for number in range(60):
            key = ("a", "1", (number * 7 + mine) % 9)
            blocks.put(key, bytes([key[2]]) * 1000)
            if (data := blocks.get(key)) is not None and data != bytes([key[2]]) * 1000:
                wrong.append(key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))  # an error in one of them is one here
    assert not wrong
