import weakref
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from reid.data import store
from reid.data.catalog import read_catalog, write_catalog
from reid.data.store import load_images, open_store
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


def test_the_store_is_made_once_and_follows_the_content(tmp_path: Path) -> None:
    def catalog(values: list[int]) -> Path:
        rows = []
        for index, value in enumerate(values):
            path = tmp_path / f"{index}.png"
            cv2.imwrite(str(path), np.full((20, 10, 3), value, np.uint8))
            row = {
                "path": path.name,
                "identity": "a",
                "camera": "1",
                "split": "train",
                "width": 10,
                "height": 20,
                "sha256": sha256_of(path),
            }
            rows.append(row)
        write_catalog(rows, tmp_path / "catalog.parquet")
        return tmp_path / "catalog.parquet"

    first = read_catalog(catalog([10, 200]))
    images = open_store(first, 16, 8)
    assert images[:, 0, 0, 0].tolist() == [10, 200]
    assert np.array_equal(images, load_images(first.paths, 16, 8))
    calls: list[int] = []
    open_store(first, 16, 8, lambda done, total: calls.append(done))
    assert calls == []
    assert open_store(read_catalog(catalog([200, 10])), 16, 8)[:, 0, 0, 0].tolist() == [200, 10]


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
