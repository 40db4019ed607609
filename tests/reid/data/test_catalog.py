import os
from pathlib import Path

import pytest

from reid.data.catalog import natural_order, read_catalog, write_catalog
from reid.errors import ReidError, UsageError


def row(
    name: str, identity: str = "a", camera: str = "1", split: str = "train", digest: str = "0"
) -> dict[str, object]:
    return {
        "path": name,
        "identity": identity,
        "camera": camera,
        "split": split,
        "width": 4,
        "height": 8,
        "sha256": digest,
    }


def test_round_trip_splits_and_labels(tmp_path: Path) -> None:
    write_catalog(
        [row("2.jpg", "b"), row("1.jpg", "c"), row("3.jpg", "a", split="query")], tmp_path / "catalog.parquet"
    )
    catalog = read_catalog(tmp_path / "catalog.parquet")
    assert len(catalog) == 3
    training = catalog.split("train")
    assert [path.name for path in training.paths] == ["1.jpg", "2.jpg"]
    assert training.labels().tolist() == [1, 0]
    assert catalog.split("val").identities.tolist() == []


def test_the_data_hash_sees_content_not_order_or_place(tmp_path: Path) -> None:
    def hashed(*rows: dict[str, object]) -> str:
        write_catalog(rows, tmp_path / "catalog.parquet")
        return read_catalog(tmp_path / "catalog.parquet").data_hash

    one, two = row("1.jpg", digest="a"), row("2.jpg", digest="b")
    assert hashed(one, two) == hashed(two, one) == hashed(one | {"path": "9.jpg"}, two)
    assert hashed(one, two) != hashed(one, two | {"sha256": "c"})
    assert hashed(one, two) != hashed(one, two | {"identity": "z"})


def test_bad_catalogs(tmp_path: Path) -> None:
    path = tmp_path / "catalog.parquet"
    with pytest.raises(UsageError, match="does not exist"):
        read_catalog(path)
    with pytest.raises(ReidError, match="no image"):
        write_catalog([], path)
    with pytest.raises(ReidError, match="'test'"):
        write_catalog([row("1.jpg", split="test")], path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(ReidError, match="not a Parquet file"):
        read_catalog(path)
    short = row("1.jpg")
    del short["sha256"]
    write_catalog([short], path)
    with pytest.raises(ReidError, match="sha256"):
        read_catalog(path)


def test_names_that_are_not_utf8_come_back_as_they_are(tmp_path: Path) -> None:
    """Parquet's text is UTF-8: the exact bytes are in a column of their own, and the shown name is text for
    every reader.
    """
    foreign = os.fsdecode(b"caf\xe9/1.jpg")
    write_catalog([row(foreign, digest="a"), row("2.jpg", digest="b")], tmp_path / "catalog.parquet")
    catalog = read_catalog(tmp_path / "catalog.parquet")
    assert set(catalog.paths) == {tmp_path / foreign, tmp_path / "2.jpg"}
    assert set(catalog.table["path"].to_pylist()) == {"caf\\xe9/1.jpg", "2.jpg"}
    assert [path.name for path in catalog.split("train").paths] == ["2.jpg", "1.jpg"]
    write_catalog([row("2.jpg")], tmp_path / "catalog.parquet")
    assert "path_bytes" not in read_catalog(tmp_path / "catalog.parquet").table.column_names


def test_a_value_that_only_some_rows_have_is_kept(tmp_path: Path) -> None:
    write_catalog([row("1.jpg"), row("2.jpg") | {"frame": 7}], tmp_path / "catalog.parquet")
    assert read_catalog(tmp_path / "catalog.parquet").table["frame"].to_pylist() == [None, 7]


def test_order_is_by_frame_or_by_number_in_the_name(tmp_path: Path) -> None:
    names = ["a_10.jpg", "a_2.jpg", "b_1.jpg"]
    assert natural_order([Path(name) for name in names]).tolist() == [1, 0, 2]
    write_catalog([row(name) for name in names], tmp_path / "catalog.parquet")
    assert read_catalog(tmp_path / "catalog.parquet").order.tolist() == [1, 0, 2]
    write_catalog(
        [row(name) | {"frame": 9 - place} for place, name in enumerate(names)], tmp_path / "catalog.parquet"
    )
    assert read_catalog(tmp_path / "catalog.parquet").order.tolist() == [9, 8, 7]
    write_catalog([row("1.jpg") | {"frame": 3}, row("2.jpg")], tmp_path / "catalog.parquet")
    assert read_catalog(tmp_path / "catalog.parquet").order.tolist() == [0, 1], (
        "where a frame is missing, names decide"
    )
