import os
from pathlib import Path

import pytest

from reid.data.catalog import write_catalog
from reid.errors import ReidError, UsageError
from serving.gallery import Gallery
from serving.gallery.enrollment import enroll_samples
from serving.gallery.samples import find_samples
from serving.runtime import load
from tests.serving.images import named_images, write_images
from tests.serving.tiny_models import tiny_model


def whom(folder: Path, **how: str) -> list[tuple[str, str, str]]:
    return [(one.identity, one.camera, one.path.name) for one in find_samples(folder, **how).samples]


def test_the_text_before_the_first_underscore_is_the_person(tmp_path: Path) -> None:
    folder = named_images(tmp_path / "images", ["bert_2.png", "anna_1.png", "anna_2.jpg", "nobody.png"])
    (folder / "list_of.txt").write_text("no image")
    found = find_samples(folder)
    assert whom(folder) == [
        ("anna", "", "anna_1.png"),
        ("anna", "", "anna_2.jpg"),
        ("bert", "", "bert_2.png"),
    ]
    assert [path.name for path in found.skipped] == ["nobody.png"]


def test_a_pattern_tells_person_and_camera(tmp_path: Path) -> None:
    folder = named_images(tmp_path / "images", ["c1-anna.png", "c2-bert.png"])
    assert whom(folder, pattern="(?P<camera>c[0-9])-(?P<identity>[a-z]+)") == [
        ("anna", "c1", "c1-anna.png"),
        ("bert", "c2", "c2-bert.png"),
    ]


def test_one_folder_a_person(tmp_path: Path) -> None:
    named_images(tmp_path / "people" / "Bert B", ["x_1.png"])
    named_images(tmp_path / "people" / "Anna" / "winter", ["y.png"])
    assert whom(tmp_path / "people") == [("Anna", "", "y.png"), ("Bert B", "", "x_1.png")]


def test_a_catalog_gives_the_rows_of_its_split_without_junk(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 4)
    rows = [("anna", "gallery"), ("-1", "gallery"), ("bert", "query"), ("carl", "gallery")]
    write_catalog(
        [
            {
                "path": path.name,
                "identity": name,
                "camera": "c1",
                "split": split,
                "width": 1,
                "height": 1,
                "sha256": "",
            }
            for path, (name, split) in zip(paths, rows, strict=True)
        ],
        tmp_path / "catalog.parquet",
    )
    assert [one[0] for one in whom(tmp_path / "catalog.parquet")] == ["anna", "carl"]
    assert [one[0] for one in whom(tmp_path / "catalog.parquet", split="query")] == ["bert"]
    with pytest.raises(ReidError, match="has nobody in split 'train'"):
        find_samples(tmp_path / "catalog.parquet", split="train")


def test_sources_without_people_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent does not exist"):
        find_samples(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReidError, match="holds no image"):
        find_samples(tmp_path / "empty")
    folder = named_images(tmp_path / "images", ["anna.png"])
    with pytest.raises(ReidError, match=r"no image in .* matches .*anna\.png.*--pattern"):
        find_samples(folder)
    with pytest.raises(UsageError, match="is a file"):
        find_samples(folder / "anna.png")
    with pytest.raises(UsageError, match="is not a regular expression"):
        find_samples(folder, "(")
    with pytest.raises(UsageError, match="no group"):
        find_samples(folder, "(.*)")
    named_images(tmp_path / "bad", ["unknown_1.png"])
    with pytest.raises(ReidError, match="choose another name"):
        find_samples(tmp_path / "bad")


def test_enrolling_twice_adds_only_what_is_new(tmp_path: Path) -> None:
    folder = named_images(tmp_path / "images", ["anna_1.png", "anna_2.png", "bert_1.png"])
    (folder / "bert_2.png").write_bytes(b"text")
    embedder = load(tiny_model(tmp_path / "model"))
    with Gallery.open(tmp_path / "g.db", embedder.fingerprint, create=True) as gallery:
        first = enroll_samples(gallery, embedder, find_samples(folder).samples)
        assert (first.enrolled, first.already) == ({"anna": 2, "bert": 1}, 0)
        assert [one.path.name for one in first.unreadable] == ["bert_2.png"]
        (folder / "bert_2.png").write_bytes((folder / "bert_1.png").read_bytes())
        (folder / "carl_1.png").write_bytes((folder / "anna_1.png").read_bytes())
        second = enroll_samples(gallery, embedder, find_samples(folder).samples)
        assert (second.enrolled, second.already) == ({"bert": 1, "carl": 1}, 3)
        assert second.version == gallery.version
        assert [(one.kind, one.identity, one.other, Path(one.source).name) for one in second.conflicts] == [
            ("duplicate", "bert", "bert", "bert_2.png"),
            ("contradiction", "carl", "anna", "carl_1.png"),
        ]
        assert {one.identity: one.references for one in gallery.people()} == {"anna": 2, "bert": 2, "carl": 1}
        assert {Path(one.source).name for one in gallery.show("anna")} == {"anna_1.png", "anna_2.png"}


def test_a_new_name_for_somebody_enrolled_is_pointed_out(tmp_path: Path) -> None:
    folder = named_images(tmp_path / "images", ["anna_1.png", "anna_2.png", "bert_1.png"])
    embedder = load(tiny_model(tmp_path / "model"))
    with Gallery.open(tmp_path / "g.db", embedder.fingerprint, create=True) as gallery:
        assert (
            enroll_samples(gallery, embedder, find_samples(folder).samples, lookalike_distance=1e-4).warnings
            == ()
        )
        (folder / "carl_1.png").write_bytes((folder / "anna_1.png").read_bytes())
        (folder / "anna_3.png").write_bytes((folder / "bert_1.png").read_bytes())
        report = enroll_samples(gallery, embedder, find_samples(folder).samples, lookalike_distance=1e-4)
    assert [warning.split(":")[0] for warning in report.warnings] == [
        "'anna' looks like 'bert' (1 of 1 images)",
        "'carl' looks like 'anna' (1 of 1 images)",
    ]
    assert ["split" in warning for warning in report.warnings] == [True, False]


def test_a_source_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    folder = named_images(tmp_path / "images", ["anna_1.png"])
    (folder / "anna_1.png").write_bytes(b"text")
    embedder = load(tiny_model(tmp_path / "model"))
    with (
        Gallery.open(tmp_path / "g.db", embedder.fingerprint, create=True) as gallery,
        pytest.raises(ReidError, match=r"not one of 1 images can be read; the first: .*anna_1\.png"),
    ):
        enroll_samples(gallery, embedder, find_samples(folder).samples)


def test_an_empty_image_is_listed_and_enrolled_nowhere(tmp_path: Path) -> None:
    folder = named_images(tmp_path / "images", ["anna_1.png", "bert_1.png"])
    (folder / "bert_1.png").write_bytes(b"")
    embedder = load(tiny_model(tmp_path / "model"))
    with Gallery.open(tmp_path / "g.db", embedder.fingerprint, create=True) as gallery:
        report = enroll_samples(gallery, embedder, find_samples(folder).samples)
        assert [str(one.reason) for one in report.unreadable] == [
            f"image {folder / 'bert_1.png'} is empty: remove it or restore it"
        ]
        assert [one.identity for one in gallery.people()] == ["anna"]


def test_junk_and_distractors_are_nobody_by_name_by_folder_and_by_catalog(tmp_path: Path) -> None:
    market = [
        "-1_c1s1_000401_03.jpg",
        "0000_c1s1_000151_01.jpg",
        "0000_c2s1_000151_01.jpg",
        "0001_c1s1_001051_03.jpg",
    ]
    found = find_samples(named_images(tmp_path / "market", market))
    assert [one.identity for one in found.samples] == ["0001"]
    assert [note.split(";")[0] for note in found.notes] == [
        "1 image left out: identity -1 is junk",
        "2 images left out: identity 0000 is somebody unknown",
    ]
    for folder, image in {"-1": "a.png", "0000": "b.png", "anna": "c.png"}.items():
        named_images(tmp_path / "people" / folder, [image], seed=len(folder))
    assert whom(tmp_path / "people") == [("anna", "", "c.png")]
    row = {"camera": "1", "split": "gallery", "width": 1, "height": 1, "sha256": ""}
    write_catalog(
        [{"path": "a.png", "identity": one} | row for one in ("-1", "0000", "anna")],
        tmp_path / "catalog.parquet",
    )
    assert [one[0] for one in whom(tmp_path / "catalog.parquet")] == ["anna"]
    with pytest.raises(
        ReidError, match=r"shows nobody who can be enrolled: 1 image left out: identity -1 is junk$"
    ):
        find_samples(named_images(tmp_path / "junk", ["-1_c1.png"]))


def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    named_images(tmp_path / "disk", ["x.png"])
    people = tmp_path / "people"
    named_images(people / "anna", ["y.png"])
    (people / "bert").symlink_to(tmp_path / "disk")
    (people / "anna" / "up").symlink_to(people)
    assert whom(people) == [("anna", "", "y.png"), ("bert", "", "x.png")]


def test_what_systems_and_downloads_leave_is_named_and_shows_nobody(tmp_path: Path) -> None:
    people = tmp_path / "people"
    named_images(people / "anna", ["x.png"])
    for name in ("._x.png", "anna/._x.png", "anna/Thumbs.db", ".DS_Store", "bert/y.png.part"):
        (people / name).parent.mkdir(exist_ok=True)
        (people / name).write_bytes(b"no image")
    found = find_samples(people)
    assert [(one.identity, one.path.name) for one in found.samples] == [("anna", "x.png")]
    assert found.notes == (
        f"5 files of a system or a download left out, the first: {people}/.DS_Store: a file of the system",
    )


def test_names_that_are_not_utf8_are_enrolled_as_they_are_shown(tmp_path: Path) -> None:
    folder = named_images(tmp_path / "images", ["anna_1.png"])
    (folder / "anna_1.png").rename(os.fsdecode(os.fsencode(folder) + b"/Andr\xe9_1.png"))
    embedder = load(tiny_model(tmp_path / "model"))
    with Gallery.open(tmp_path / "g.db", embedder.fingerprint, create=True) as gallery:
        assert enroll_samples(gallery, embedder, find_samples(folder).samples).enrolled == {"Andr\\xe9": 1}
        assert enroll_samples(gallery, embedder, find_samples(folder).samples).already == 1
