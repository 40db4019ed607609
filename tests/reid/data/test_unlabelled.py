"""Images without people's names, from a folder and from a catalog."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.data.catalog import read_catalog, write_catalog
from reid.data.findings import KINDS
from reid.data.unlabelled import unlabelled_rows
from reid.errors import ReidError, UsageError
from serving.job.layout import JobFolder, crop_name

POLICIES = {name: "stop" if "keep" in kind.choices else "leave_out" for name, kind in KINDS.items()}
POLICIES |= {"non_rgb": "keep", "exif_rotated": "keep"}


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 20, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)


def test_each_crop_of_jobs_is_an_identity_of_its_own(tmp_path: Path) -> None:
    """Whatever the policies say about people and cameras; the same bytes count once."""
    for number, job in enumerate(("monday", "tuesday")):
        for crop in range(3):
            image(tmp_path / job / crop_name("hall", crop), 10 * number + crop)
        JobFolder(tmp_path / job).report.write_text("<html>")
    image(tmp_path / "tuesday" / crop_name("hall", 7), 1)
    (tmp_path / "monday" / crop_name("hall", 9)).write_bytes(b"no picture")
    rows, problems = unlabelled_rows(tmp_path, tmp_path, POLICIES)
    assert len(rows) == len({row["identity"] for row in rows}) == 6
    assert {row["split"] for row in rows} == {"train"}
    out = {problem.kind: problem.what for problem in problems if problem.images_out}
    assert out.keys() == {"identity_conflict", "not_an_image"}
    assert out["not_an_image"].endswith("hall-00009.jpg")


def test_a_catalog_gives_its_training_images_and_keeps_its_validation_people(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    rows = []
    for number, split in enumerate(("train", "train", "train", "val", "query", "gallery")):
        image(data / "crops" / f"{number}.png", number)
        facts = {"width": 20, "height": 40, "sha256": f"{9 - number}"}
        rows.append(
            {"path": f"crops/{number}.png", "identity": f"p{number // 2}", "camera": "1", "split": split}
            | facts
        )
    write_catalog(rows, data / "catalog.parquet")
    source = read_catalog(data / "catalog.parquet")
    for folder in (data, elsewhere):
        found, _ = unlabelled_rows(data / "catalog.parquet", folder.resolve(), POLICIES)
        write_catalog(found, folder / "unlabelled.parquet")
        catalog = read_catalog(folder / "unlabelled.parquet")
        train, val = catalog.split("train"), catalog.split("val")
        assert len(catalog) == 4 and len(set(train.identities)) == 3
        assert val.identities.tolist() == ["p1"]
        assert train.paths == source.split("train").paths
        # in the same order, so that the decoded images are shared
        assert train.column("sha256").tolist() == source.split("train").column("sha256").tolist()
    with pytest.raises(ReidError, match=r"catalog \S+ has no training images: name another, or a folder"):
        write_catalog(rows[3:], data / "test.parquet")
        unlabelled_rows(data / "test.parquet", data, POLICIES)


def test_what_holds_no_image_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"images: \S+missing' does not exist: name a folder"):
        unlabelled_rows(tmp_path / "missing", tmp_path, POLICIES)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ReidError, match=r"no image below \S+ \(1 \.txt\): name a folder of crops"):
        unlabelled_rows(tmp_path, tmp_path, POLICIES)
    (tmp_path / "crop.jpg").write_bytes(b"")
    with pytest.raises(ReidError, match=r"none of the 1 images below \S+ can be used, the first: .*empty"):
        unlabelled_rows(tmp_path, tmp_path, POLICIES)
