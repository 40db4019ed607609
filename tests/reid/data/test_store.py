import weakref
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from reid.data import store
from reid.data.catalog import Catalog, read_catalog, write_catalog
from reid.data.store import load_images, load_rows, open_store, stored_blocks
from reid.errors import ReidError
from reid.files import sha256_of


def test_an_image_is_rgb_and_resized(tmp_path: Path) -> None:
    picture = np.zeros((40, 20, 3), np.uint8)
    picture[..., 0] = 200  # blue, as OpenCV orders colours
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    image = load_images([tmp_path / "a.png"], 16, 8)[0]
    assert image.shape == (16, 8, 3)
    assert image[0, 0].tolist() == [0, 0, 200]


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(ReidError, match=r"a\.png is not an image"):
        load_images([tmp_path / "a.png"], 8, 8)
    with pytest.raises(ReidError, match=r"b\.png cannot be read"):
        load_images([tmp_path / "b.png"], 8, 8)


def catalog_of(folder: Path, values: list[int], queries: int = 0) -> Catalog:
    """Plain pictures of these values; so many of the last are queries."""
    rows = []
    for index, value in enumerate(values):
        path = folder / f"{index:02}.png"
        cv2.imwrite(str(path), np.full((20, 10, 3), value, np.uint8))
        row = {"path": path.name, "identity": "a", "camera": "1", "width": 10, "height": 20}
        split = "query" if index >= len(values) - queries else "gallery"
        rows.append(row | {"split": split, "sha256": sha256_of(path)})
    write_catalog(rows, folder / "catalog.parquet")
    return read_catalog(folder / "catalog.parquet")


def test_the_store_is_made_once_and_follows_the_content(tmp_path: Path) -> None:
    first = catalog_of(tmp_path, [10, 200])
    images = open_store(first, 16, 8)
    assert images[:, 0, 0, 0].tolist() == [10, 200]
    assert np.array_equal(images, load_images(first.paths, 16, 8))
    calls: list[int] = []
    open_store(first, 16, 8, lambda done, total: calls.append(done))
    assert calls == []
    assert open_store(catalog_of(tmp_path, [200, 10]), 16, 8)[:, 0, 0, 0].tolist() == [200, 10]


def test_rows_come_from_the_store_or_are_decoded_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = catalog_of(tmp_path, [10, 20, 30, 40])
    read: list[str] = []
    decoder = store.read_image
    monkeypatch.setattr(store, "read_image", lambda path: (read.append(path.name), decoder(path))[1])
    alone = load_rows(catalog, [3, 1], 16, 8)
    assert sorted(read) == ["01.png", "03.png"]
    open_store(catalog, 16, 8)
    read.clear()
    stored = load_rows(catalog, [3, 1], 16, 8)
    assert (read, stored[:, 0, 0, 0].tolist()) == ([], [40, 20])
    assert np.array_equal(stored, alone)
    stored[:] = 0  # a copy, which a caller may change
    assert load_rows(catalog, [], 16, 8).shape == (0, 16, 8, 3)


@pytest.mark.parametrize("queries", [0, 3, 5, 11])
def test_blocks_of_stores_are_those_of_the_files(
    queries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = catalog_of(tmp_path, [20 * number for number in range(11)], queries)
    parts = [catalog.split("query"), catalog.split("gallery")]
    monkeypatch.setattr(store, "BLOCK", 4)
    wanted = store.image_blocks([path for part in parts for path in part.paths], 16, 8)
    calls: list[tuple[int, int]] = []
    found = stored_blocks(parts, 16, 8, lambda done, total: calls.append((done, total)))
    for (first, images), (start, block) in zip(wanted, found, strict=True):
        assert first == start
        assert np.array_equal(images, block)
    assert calls == [(4, 11), (8, 11), (11, 11)]


def test_blocks_are_the_images_and_no_more_than_two_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(11)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((20, 10, 3), 20 * number, np.uint8))
    monkeypatch.setattr(store, "BLOCK", 4)
    held: list[weakref.ref[np.ndarray]] = []
    calls: list[tuple[int, int]] = []
    seen = []
    decode = store.load_images

    def counted(*arguments: Any) -> Any:
        images = decode(*arguments)
        held.append(weakref.ref(images))
        assert sum(one() is not None for one in held) <= 3, (
            "this one, the one the caller has, and one that waits"
        )
        return images

    monkeypatch.setattr(store, "load_images", counted)
    starts = []
    for start, images in store.image_blocks(paths, 16, 8, lambda done, total: calls.append((done, total))):
        starts.append(start)
        seen.append(images.copy())
    assert starts == [0, 4, 8]
    assert calls == [(4, 11), (8, 11), (11, 11)]
    assert np.array_equal(np.concatenate(seen), decode(paths, 16, 8))
