from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.errors import ReidError
from reid.images import read_image
from serving.embedding import embed_files
from serving.runtime import load
from serving.runtime.embedder import CPU_BATCH
from tests.serving.images import write_images
from tests.serving.tiny_models import tiny_model


@pytest.mark.parametrize("threads", [1, 3, None])
def test_files_give_the_rows_of_their_images_in_order(tmp_path: Path, threads: int | None) -> None:
    embedder = load(tiny_model(tmp_path / "model"))
    paths = write_images(tmp_path / "images", 2 * CPU_BATCH + 11)
    result = embed_files(embedder, paths, threads=threads)
    np.testing.assert_allclose(result.embeddings, embedder([read_image(path) for path in paths]), atol=1e-6)
    assert result.paths == tuple(paths)
    assert result.index.tolist() == list(range(len(paths)))
    assert result.unreadable == ()


def test_files_that_are_no_images_are_listed_and_the_rest_is_kept(tmp_path: Path) -> None:
    embedder = load(tiny_model(tmp_path / "model"))
    paths = write_images(tmp_path / "images", 2 * CPU_BATCH + 6)
    whole = embedder([read_image(path) for path in paths])
    paths[3].write_bytes(b"")
    paths[10].write_bytes(b"text")
    paths[2 * CPU_BATCH + 1].write_bytes(paths[0].read_bytes()[:40])
    paths[2 * CPU_BATCH + 2].unlink()
    result = embed_files(embedder, paths)
    lost = [3, 10, 2 * CPU_BATCH + 1, 2 * CPU_BATCH + 2]
    kept = np.setdiff1d(np.arange(len(paths)), lost)
    assert [one.path for one in result.unreadable] == [paths[position] for position in lost]
    assert ["is empty" in result.unreadable[0].reason, "cannot be read" in result.unreadable[3].reason] == [
        True,
        True,
    ]
    assert result.index.tolist() == kept.tolist()
    np.testing.assert_allclose(result.embeddings, whole[kept], atol=1e-6)


def test_progress_counts_every_file_once_and_ends_at_all(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "images", CPU_BATCH + 5)
    paths[0].write_bytes(b"text")
    calls: list[tuple[int, int]] = []
    embed_files(
        load(tiny_model(tmp_path / "model")),
        paths,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert [done for done, _ in calls] == [CPU_BATCH, CPU_BATCH + 5]
    assert {everything for _, everything in calls} == {CPU_BATCH + 5}


def test_what_is_measured_of_an_image_stands_beside_its_embedding(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "images", CPU_BATCH + 5)
    paths[1].write_bytes(b"text")
    result = embed_files(
        load(tiny_model(tmp_path / "model")), paths, measure=lambda image: float(image.mean())
    )
    assert result.measured.tolist() == [float(read_image(path).mean()) for path in result.paths]


def test_nothing_readable_and_nothing_given(tmp_path: Path) -> None:
    embedder = load(tiny_model(tmp_path / "model"))
    assert embed_files(embedder, []).embeddings.shape == (0, embedder.dim)
    result = embed_files(embedder, [tmp_path / "absent.png"])
    assert result.embeddings.shape == (0, embedder.dim)
    assert len(result.unreadable) == 1


def test_colours_are_read_as_rgb(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 2] = 200  # OpenCV writes BGR: this is red
    cv2.imwrite(str(tmp_path / "red.png"), image)
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [200, 0, 0]


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 5), 9, np.uint8))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((4, 5, 4), 9, np.uint8))
    assert read_image(tmp_path / "grey.png").shape == read_image(tmp_path / "alpha.png").shape == (4, 5, 3)


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ReidError, match="cannot be read"):
        read_image(tmp_path)
