"""Folders as people's disks hold them: links, other systems' files, downloads, names of any encoding, names
without a match.
"""

import os
from pathlib import Path

import pytest

from reid.data.catalog import readable
from reid.data.datasets import read_market1501
from reid.data.datasets.files import find_images, walk
from reid.data.datasets.folder import scan_folder
from reid.errors import ReidError
from tests.reid.data.datasets.miniatures import touch

README_PATTERN = r"^(?P<identity>\d+)_c(?P<camera>\d+)_"


def names(root: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_images_without_a_match_are_counted_and_named(tmp_path: Path) -> None:
    """Case 17: a camera of two digits, another spelling, an ending in capitals."""
    touch(tmp_path, "0001_c10_000.jpg", "0001_C2_000.jpg", "0002_c3_000.JPG")
    narrow = scan_folder(tmp_path, r"^(?P<identity>\d+)_c(?P<camera>\d)_")
    assert [(record.identity, record.camera) for record in narrow.records] == [("0002", "3")]
    assert (
        narrow.unmatched() == f"2 of 3 images do not match the pattern, the first: {tmp_path}/0001_C2_000.jpg"
    )
    wide = scan_folder(tmp_path, README_PATTERN)
    assert [(record.identity, record.camera) for record in wide.records] == [("0001", "10"), ("0002", "3")]
    assert [(stray.kind, stray.path.name) for stray in wide.strays] == [("unmatched", "0001_C2_000.jpg")]
    (tmp_path / "0001_C2_000.jpg").unlink()
    assert scan_folder(tmp_path, README_PATTERN).unmatched() is None


def test_linked_folders_are_followed_and_loops_left(tmp_path: Path) -> None:
    """Case 20, and links back up, to a folder that is there anyway, to each other, and to nothing."""
    root, elsewhere = tmp_path / "root", tmp_path / "disk"
    touch(root, "c1/1.jpg")
    touch(elsewhere, "c2/2.jpg", "c2/deep/3.jpg")
    (root / "c2").symlink_to(elsewhere / "c2")
    (root / "a_copy_of_c1").symlink_to(root / "c1")
    (root / "c1/up").symlink_to(root)
    (elsewhere / "c2/deep/loop").symlink_to(elsewhere / "c2")
    (root / "c1/link.jpg").symlink_to(elsewhere / "c2/2.jpg")
    (root / "c1/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert names(root, walk(root)) == ["c1/1.jpg", "c1/gone.jpg", "c1/link.jpg", "c2/2.jpg", "c2/deep/3.jpg"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "c1/1.jpg")

    def refuse(folder: Path) -> None:  # permissions do not bind root, as whom tests may run
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ReidError, match=r"folder .* cannot be read \(Permission denied\): change"):
        walk(tmp_path)


def test_what_systems_and_downloads_leave_is_named_and_left_out(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.jpg",
        "._a.jpg",
        "Thumbs.db",
        ".DS_Store",
        "b.jpg.part",
        "Unconfirmed 7.crdownload",
        "__MACOSX/c.jpg",
        "@eaDir/d.jpg",
    )
    os.mkfifo(tmp_path / "e.jpg")
    touch(tmp_path, "notes.txt", "clip.MP4", "readme")
    found = find_images(tmp_path)
    assert names(tmp_path, found.images) == ["a.jpg"]
    assert {stray.kind for stray in found.strays} == {"by_system"}
    assert {stray.path.name: stray.detail for stray in found.strays} == {
        "._a.jpg": "macOS's companion of a file: no picture, whatever its ending",
        "Thumbs.db": "a file of the system",
        ".DS_Store": "a file of the system",
        "b.jpg.part": "a download that has not ended",
        "Unconfirmed 7.crdownload": "a download that has not ended",
        "c.jpg": "in __MACOSX, which a system made",
        "d.jpg": "in @eaDir, which a system made",
        "e.jpg": "a pipe, a socket or a device",
    }
    assert dict(found.others) == {".txt": 1, ".mp4": 1, "readme": 1}


def test_a_public_set_from_a_mac_is_read(tmp_path: Path) -> None:
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        touch(
            tmp_path,
            f"{folder}/0002_c1s1_000451_03.jpg",
            f"{folder}/._0002_c1s1_000451_03.jpg",
            f"{folder}/Thumbs.db",
        )
    assert [record.path.name for record in read_market1501(tmp_path)] == ["0002_c1s1_000451_03.jpg"] * 3
    assert len(find_images(tmp_path).strays) == 6


@pytest.mark.parametrize(
    "suffix",
    ["jpg", "JPEG", "jpe", "JFIF", "png", "bmp", "webp", "TIF", "tiff", "gif", "jp2", "avif", "HEIC", "heif"],
)
def test_endings(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a.{suffix}")
    assert len(find_images(tmp_path).images) == 1


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"Ren\xe9_c1_1.jpg")).touch()
    (tmp_path / "Renée_c2_1.jpg").touch()
    scan = scan_folder(tmp_path, r"^(?P<identity>[^_]+)_c(?P<camera>\d)_")
    assert {record.identity for record in scan.records} == {"Ren\\xe9", "Renée"}
    assert all(record.path.exists() for record in scan.records)
    assert readable(tmp_path / "Renée") == str(tmp_path / "Renée"), "what is UTF-8 stays"
    (tmp_path / "Renée_c2_1.jpg").unlink()
    with pytest.raises(ReidError, match=r"no image in .*Ren\\xe9_c1_1\.jpg"):
        scan_folder(tmp_path, r"(?P<identity>\d{9})")


def test_a_link_to_itself_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It stops nothing: one with the ending of an image is listed like any link that leads nowhere."""
    (tmp_path / "a.jpg").touch()
    for name in ("self", "self.jpg"):
        (tmp_path / name).symlink_to(name)
    assert [path.name for path in walk(tmp_path)] == ["a.jpg", "self", "self.jpg"]
