from collections import Counter
from pathlib import Path

import pytest

from reid.data.datasets import read_folder, read_market1501
from reid.errors import ReidError, UsageError


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def market(root: Path) -> Path:
    for name in ("0002_c1s1_000451_03.jpg", "0002_c3s1_000551_01.jpg", "0007_c2s3_070952_01.jpg"):
        touch(root / "bounding_box_train" / name)
    for name in ("0001_c1s1_001051_00.jpg", "0001_c2s1_000301_00.jpg"):
        touch(root / "query" / name)
    for name in ("-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "0001_c3s1_000051_00.jpg", "0001_c1s1_001051_03.jpg"):
        touch(root / "bounding_box_test" / name)
    touch(root / "bounding_box_test" / "Thumbs.db")
    return root


def test_market_drops_junk_and_keeps_distractors(tmp_path: Path) -> None:
    records = read_market1501(market(tmp_path))
    assert Counter(record.split for record in records) == {"train": 3, "query": 2, "gallery": 3}
    assert sorted(record.identity for record in records if record.split == "gallery") == ["0000", "0001", "0001"]
    first = next(record for record in records if record.path.name == "0002_c3s1_000551_01.jpg")
    assert (first.identity, first.camera, first.frame) == ("0002", "3", 551)


def test_market_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bounding_box_train is missing"):
        read_market1501(tmp_path)
    touch(market(tmp_path) / "query" / "holiday.jpg")
    with pytest.raises(ReidError, match=r"holiday\.jpg"):
        read_market1501(tmp_path)


def test_folder_reads_identity_and_camera_from_the_path(tmp_path: Path) -> None:
    for name in ("b/c2/1.png", "a/c1/2.JPG", "a/c1/notes.txt", "other.jpg"):
        touch(tmp_path / name)
    records = read_folder(tmp_path, r"^(?P<identity>\w)/c(?P<camera>\d)/")
    assert [(r.identity, r.camera, r.split) for r in records] == [("a", "1", "train"), ("b", "2", "train")]


@pytest.mark.parametrize(
    ("pattern", "message"), [(r"(?P<person>\d+)", "no group"), ("(", "not a regular expression"), (r"(?P<identity>\d{9})", "no image in")]
)
def test_folder_errors(tmp_path: Path, pattern: str, message: str) -> None:
    touch(tmp_path / "001_c1.png")
    with pytest.raises(ReidError, match=message):
        read_folder(tmp_path, pattern)


def test_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_folder(tmp_path / "none", "(?P<identity>.)")
