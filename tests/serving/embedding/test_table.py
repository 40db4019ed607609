import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reid.errors import ReidError, UsageError
from serving.embedding import embed_files
from serving.embedding.table import collect_images, embed_to_file
from serving.runtime import Embedder, load
from tests.serving.images import write_images
from tests.serving.tiny_models import tiny_model


class StoppedError(Exception):
    pass


def stop_after(images: int):
    def on_progress(done: int, total: int) -> None:
        if done >= images:
            raise StoppedError

    return on_progress


def rows_of(path: Path) -> tuple[list[str], np.ndarray]:
    table = pq.read_table(path)
    return table["path"].to_pylist(), np.stack(table["embedding"].to_pylist()).astype(np.float32)


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    return load(tiny_model(tmp_path / "model"))


def test_the_file_holds_every_readable_image(tmp_path: Path, embedder: Embedder) -> None:
    paths = write_images(tmp_path / "images", 25)
    whole = embed_files(embedder, paths).embeddings
    paths[7].write_bytes(b"text")
    written = embed_to_file(embedder, paths, tmp_path / "out" / "rows.parquet", part_images=10)
    names, rows = rows_of(written.path)
    assert names == [str(path) for path in paths if path != paths[7]]
    np.testing.assert_allclose(rows, np.delete(whole, 7, axis=0), atol=1e-6)
    assert [one.path for one in written.unreadable] == [paths[7]]
    assert (written.rows, written.resumed) == (24, 0)
    assert pq.read_schema(written.path).metadata[b"fingerprint"] == b"tiny-1"
    assert stat.S_IMODE(written.path.stat().st_mode) == 0o600
    assert [path.name for path in written.path.parent.iterdir()] == ["rows.parquet"]


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, embedder: Embedder) -> None:
    paths = write_images(tmp_path / "images", 25)
    paths[2].write_bytes(b"text")
    embed_to_file(embedder, paths, tmp_path / "once.parquet", part_images=10)
    output = tmp_path / "twice.parquet"
    with pytest.raises(StoppedError):
        embed_to_file(embedder, paths, output, part_images=10, on_progress=stop_after(20))
    assert not output.exists()
    written = embed_to_file(embedder, paths, output, part_images=10)
    assert written.resumed == 10
    assert [one.path for one in written.unreadable] == [paths[2]]
    names, rows = rows_of(output)
    assert names == rows_of(tmp_path / "once.parquet")[0]
    np.testing.assert_allclose(rows, rows_of(tmp_path / "once.parquet")[1], atol=1e-6)


def test_a_killed_run_goes_on_with_the_parts_that_are_whole(tmp_path: Path, embedder: Embedder) -> None:
    paths = write_images(tmp_path / "images", 25)
    output = tmp_path / "rows.parquet"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from serving.embedding.table import embed_to_file\n"
        "from serving.runtime import load\n"
        "def kill(done, total):\n"
        "    if done >= 20: os.kill(os.getpid(), signal.SIGKILL)\n"
        "embed_to_file(load(sys.argv[1]), [Path(one) for one in sys.argv[3:]], sys.argv[2], "
        "part_images=10, on_progress=kill)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model"), str(output), *map(str, paths)],
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not output.exists()
    written = embed_to_file(embedder, paths, output, part_images=10)
    assert written.resumed == 10  # the second part had its rows, but was not yet whole on the disk
    np.testing.assert_allclose(rows_of(output)[1], embed_files(embedder, paths).embeddings, atol=1e-6)
    assert not list(tmp_path.glob("*.parts"))


def test_changed_images_or_another_model_begin_anew(tmp_path: Path, embedder: Embedder) -> None:
    paths = write_images(tmp_path / "images", 25)
    other = load(tiny_model(tmp_path / "other", card={"fingerprint": "tiny-2"}))
    output = tmp_path / "rows.parquet"
    for change in ("image", "model"):
        with pytest.raises(StoppedError):
            embed_to_file(embedder, paths, output, part_images=10, on_progress=stop_after(20))
        if change == "image":
            paths[0].write_bytes(paths[1].read_bytes())
        written = embed_to_file(other if change == "model" else embedder, paths, output, part_images=10)
        assert written.resumed == 0
        first = rows_of(output)[1]
        np.testing.assert_allclose(first, embed_files(embedder, paths).embeddings, atol=1e-6)


def test_nothing_readable_leaves_nothing(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    output = tmp_path / "rows.parquet"
    with pytest.raises(ReidError, match=r"not one of 1 images can be read; the first: .*a\.png"):
        embed_to_file(embedder, [tmp_path / "a.png"], output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "model"]


def test_a_folder_that_is_in_the_way_is_left_alone(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "rows.parquet.parts").mkdir()
    (tmp_path / "rows.parquet.parts" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="is in the way"):
        embed_to_file(embedder, write_images(tmp_path / "images", 1), tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet.parts" / "mine.txt").read_text() == "keep"


def test_images_are_collected_from_files_and_folders_once_each(tmp_path: Path) -> None:
    first = write_images(tmp_path / "a", 2)
    second = write_images(tmp_path / "a" / "deep", 1)
    (tmp_path / "a" / "note.txt").write_text("no image")
    assert collect_images([first[1], tmp_path / "a"]) == [first[1], first[0], *second]
    with pytest.raises(UsageError, match="absent does not exist"):
        collect_images([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no image inside"):
        collect_images([tmp_path / "empty"])


def test_a_name_that_is_not_utf8_is_one_line_before_the_work(tmp_path: Path, embedder: Embedder) -> None:
    paths = write_images(tmp_path / "images", 3)
    foreign = paths[1].rename(paths[1].with_name(os.fsdecode(b"caf\xe9.png")))
    with pytest.raises(
        ReidError, match=r"^1 of 3 file names are not UTF-8, the first: .*caf\\xe9\.png; .*rename them"
    ) as caught:
        embed_to_file(embedder, [paths[0], foreign, paths[2]], tmp_path / "rows.parquet")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if "rows" in path.name] == []
