"""The stage on every kind of source, run in a folder of its own; and its page in a browser."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pipelines import prepare
from reid.data.catalog import read_catalog
from reid.data.synthetic.wardrobe import WardrobeSpec, write_people
from reid.errors import ReidError, UsageError
from reid.files import sha256_of
from tests.browser import Browser
from tests.pipelines.sources import configure, pictures

PATTERN = r"(?P<identity>\d+)_c(?P<camera>\d)"


def test_rendered_people_carry_their_attributes(folder: Path) -> None:
    configure()
    prepare.main()
    catalog = read_catalog("data/catalog.parquet")
    assert len(catalog) == 40
    vectors = dict(zip(catalog.identities.tolist(), catalog.table["label_vector"].to_pylist(), strict=True))
    town = json.loads(Path("data/town.json").read_text())
    assert all(
        np.allclose(vectors[name], person["vector"], atol=1e-4) for name, person in town["people"].items()
    )
    assert (folder / "data/data_report.html").stat().st_size > 20_000


def test_people_made_to_carry_over_are_the_same_again(folder: Path) -> None:
    configure(source="wardrobe")
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["synthetic"] |= {"people": 25, "cameras": 6, "cameras_per_person": 3, "ages": 1.0, "h264": 0.5}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    prepare.main()
    catalog = read_catalog("data/catalog.parquet")
    assert len(catalog) == 25 * 3 * 2
    cameras = {name: set(catalog.cameras[catalog.identities == name]) for name in catalog.identities}
    assert len(cameras) == 25 and {len(seen) for seen in cameras.values()} == {3}
    assert len(set().union(*cameras.values())) == 6
    assert set(catalog.table["split"].to_pylist()) == {"train", "val", "query", "gallery"}
    written = {path.name: path.read_bytes() for path in Path("data/crops").iterdir()}
    spec = WardrobeSpec(
        people=25,
        cameras=6,
        cameras_per_person=3,
        images_per_camera=2,
        seed=params["seed"],
        ages=1.0,
        h264=0.5,
    )
    write_people(spec, folder / "again", processes=2)
    assert {path.name: path.read_bytes() for path in (folder / "again").iterdir()} == written


def test_a_messy_folder_is_kept_listed_and_counted(folder: Path) -> None:
    root = pictures(folder / "in")
    (root / "000_c1_0.png").write_bytes(b"")
    (root / "001_c1_0.png").write_text("<b>no & picture</b>")
    shutil.copy(root / "002_c1_0.png", root / "002_c2_9.png")
    configure(source="folder", root="in", pattern=PATTERN)
    prepare.main()
    summary = json.loads(Path("data/summary.json").read_text())
    assert (summary["images_found"], summary["images_kept"], summary["images_left_out"]) == (33, 31, 2)
    catalog = read_catalog("data/catalog.parquet")
    assert summary["data_hash"] == catalog.data_hash
    problems = json.loads(Path("data/problems.json").read_text())
    assert {problem["kind"] for problem in problems} >= {"empty", "not_an_image"}
    page = Path("data/data_report.html").read_text()
    # counts have no interval: no empty columns for it
    assert "Zero-byte file (1)" in page and "measured on" not in page
    assert "000_c1_0.png" in page
    assert catalog.data_hash in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "<b>no" not in page
    assert (
        all(re.search(r'alt="[^"]{20,}"', tag) for tag in re.findall(r"<img [^>]*>", page))
        and page.count("<img ") == 2
    )
    configure(source="folder", root="in", pattern=PATTERN, policies={"empty": "stop"})
    before = sha256_of("data/catalog.parquet")
    with pytest.raises(ReidError, match="Zero-byte"):
        prepare.main()
    assert sha256_of("data/catalog.parquet") == before


def test_heads_are_blurred_and_originals_left_alone(folder: Path) -> None:
    root = pictures(folder / "in")
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    configure(source="folder", root="in", pattern=PATTERN, blur_heads=True)
    prepare.main()
    catalog = read_catalog("data/catalog.parquet")
    assert len(catalog) == 32
    assert {path.parent for path in catalog.paths} == {folder / "data/crops"}
    assert [sha256_of(path) for path in catalog.paths] == catalog.column("sha256").tolist()
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before
    one = cv2.imread(str(catalog.paths[0]))
    original = cv2.imread(str(root / (catalog.paths[0].stem[8:] + ".png")))
    assert np.array_equal(one[19:], original[19:]) and not np.array_equal(one[:19], original[:19])
    assert "Heads are blurred" in Path("data/data_report.html").read_text()


def test_tables_with_and_without_splits(folder: Path) -> None:
    pictures(folder / "in")
    rows = [f"in/{path.name},{path.name[:3]},{path.name[5]}" for path in sorted((folder / "in").iterdir())]
    Path("people.csv").write_text("path,identity,camera\n" + "\n".join(rows) + "\n")
    configure(source="table", root="people.csv")
    prepare.main()
    assert set(read_catalog("data/catalog.parquet").column("split")) == {"train", "val", "query", "gallery"}
    given = [
        f"{row},{'train' if row[3:6] < '004' else 'query' if row[7] == '1' else 'gallery'}" for row in rows
    ]
    Path("people.csv").write_text("path,identity,camera,split\n" + "\n".join(given) + "\n")
    configure(source="table", root="people.csv", validation_share=0.0)
    prepare.main()
    catalog = read_catalog("data/catalog.parquet")
    assert set(catalog.split("train").identities) == {"000", "001", "002", "003"}
    assert len(catalog.split("query")) + len(catalog.split("gallery")) == 16


def test_footage_and_public_sets(folder: Path) -> None:
    from reid.data.synthetic import TownSpec, generate_town
    from tests.reid.data.datasets.miniatures import cuhk03_np

    spec = TownSpec(
        people=6,
        images_per_camera=1,
        cameras=2,
        footage_people=4,
        footage_seconds=6.0,
        footage_fps=3,
        footage_width=320,
        footage_height=240,
    )
    generate_town(spec, folder / "town", [1, 2, 3, 4])
    shutil.rmtree(folder / "town/crops")
    configure(
        source="footage",
        root="town/footage",
        footage={"every": 3, "min_height": 20, "min_visibility": 0.5, "shared_identities": True},
    )
    prepare.main()
    catalog = read_catalog("data/catalog.parquet")
    assert set(catalog.cameras) == {"camera1", "camera2"}
    assert {path.parent for path in catalog.paths} == {folder / "data/crops"}
    summary = json.loads(Path("data/summary.json").read_text())
    boxes = sum(len(path.read_text().splitlines()) for path in (folder / "town/footage").glob("*.txt"))
    assert summary["images_found"] + sum(summary["boxes_not_cut"].values()) == boxes

    root = cuhk03_np(folder)
    for path in root.rglob("*.png"):
        cv2.imwrite(str(path), np.random.default_rng(len(str(path))).integers(0, 255, (32, 16, 3), np.uint8))
    configure(source="cuhk03_detected", root=str(root))
    prepare.main()
    assert json.loads(Path("data/summary.json").read_text())["splits"]["query"] == {
        "images": 1,
        "identities": 1,
    }


def test_the_stage_does_not_eat_its_input(folder: Path) -> None:
    (folder / "data").mkdir()
    pictures(folder / "data/crops")
    configure(source="folder", root="data/crops", pattern=PATTERN)
    with pytest.raises(UsageError, match="this stage replaces that folder"):
        prepare.main()
    assert len(list((folder / "data/crops").iterdir())) == 32


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_phones_and_desks(folder: Path, browser: Browser, width: int) -> None:
    root = pictures(folder / "in")
    (root / "000_c1_0.png").write_bytes(b"")
    configure(source="folder", root="in", pattern=PATTERN)
    prepare.main()
    browser.open(folder / "data/data_report.html", width)
    assert browser.run("[...document.images].every(image => image.naturalWidth)")
    assert browser.run("document.documentElement.scrollWidth") <= width
