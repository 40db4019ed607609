"""Galleries that SQLite takes for sound and that hold what no gallery holds: every command says one line and
writes nothing.
"""

import gc
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reid.errors import ReidError
from serving.cli.shared import day
from serving.gallery import Gallery
from serving.gallery.index.build import build_index
from serving.gallery.index.compact import CompactIndex
from tests.serving.cli.commands import reid
from tests.serving.rows import unit_rows
from tests.serving.tiny_models import DIM

HALF = struct.pack("<2f", 1.0, 0.0)
DAMAGES = {
    "no version": "DELETE FROM meta WHERE key = 'version'",
    "no rewritten": "DELETE FROM meta WHERE key = 'rewritten'",
    "no purge": "DELETE FROM meta WHERE key = 'purge_pending'",
    "no retention": "DELETE FROM meta WHERE key = 'retain_days'",
    "version null": "UPDATE meta SET value = NULL WHERE key = 'version'",
    "no meta": "DELETE FROM meta",
    "no meta table": "DROP TABLE meta",
    "no model": "PRAGMA foreign_keys = OFF; DELETE FROM models",
    "no active model": "UPDATE models SET active = 0",
    "no models table": "PRAGMA foreign_keys = OFF; DROP TABLE models",
    "name no text": "UPDATE people SET name = CAST(x'ff41' AS TEXT) WHERE name = 'anna'",
    "model no text": "UPDATE models SET fingerprint = CAST(x'ff41' AS TEXT)",
    "source no text": "UPDATE refs SET source = CAST(x'ff41' AS TEXT)",
    "camera no text": "UPDATE refs SET camera = CAST(x'ff41' AS TEXT)",
    "short": f"UPDATE refs SET embedding = x'{HALF.hex()}' WHERE id = 1",
    "not of 4": "UPDATE refs SET embedding = x'0102030405' WHERE id = 2",
    "empty": "UPDATE refs SET embedding = x'' WHERE id = 1",
    "nobody's": "PRAGMA foreign_keys = OFF; DELETE FROM people WHERE name = 'anna'",
    "huge id": "UPDATE refs SET id = 9223372036854775806 WHERE id = 3",
    "no time": "UPDATE refs SET taken_at = 1e300",
    "no column": "DROP INDEX refs_by_age; ALTER TABLE refs DROP COLUMN taken_at",
}


@contextmanager
def old_objects_frozen() -> Iterator[None]:
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_no_command_falls_over_it(gallery: Path, model: Path, tmp_path: Path, damage: str) -> None:
    with sqlite3.connect(gallery) as db:
        db.executescript(damage)
    db.close()
    gallery.chmod(0o600)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    image = tmp_path / "images" / "anna_1.png"
    outputs = {}
    with old_objects_frozen():  # or each look for cycles goes through all that other tests have imported
        for command in (
            ("verify", gallery),
            ("list", gallery),
            ("show", gallery, "anna"),
            ("audit", gallery),
            ("models", gallery),
            ("identify", gallery, image, "--model", model),
            ("identify", gallery, image, "--model", model, "--policy", "mean"),
            ("rename", gallery, "bert", "carl"),
            ("expire", gallery),
            ("export", gallery, tmp_path / "e.parquet"),
        ):
            result = reid("gallery", *command)
            outputs[command[0]] = str(result.exception or result.output)
            assert result.exit_code in (0, 1)
            assert "\n" not in str(result.exception or "")
            # An exception holds on to the database's cursors, and these to its log; in a process of its own a
            # command ends with both.
            del result
            gc.collect()
    assert "all is well" not in outputs["verify"], outputs
    (tmp_path / "e.parquet").unlink(missing_ok=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("moment", [None, float("nan"), 1e300, -1e18, "text"])
def test_a_time_that_is_none_stops_no_list(moment: object) -> None:
    assert day(moment) == "no time"  # type: ignore[arg-type]


def test_a_damaged_index_is_one_line_and_keeps_nobody_from_being_erased(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g.db", "m", DIM, create=True) as opened:
        opened.enroll([f"p{number:04d}" for number in range(600)], unit_rows(600, DIM))
        build_index(opened, "fp16")
    for damage in (
        "UPDATE search_index_parts SET data = zeroblob(length(data))",
        "DELETE FROM search_index_parts",
        "UPDATE search_index SET kind = 'x'",
    ):
        with sqlite3.connect(tmp_path / "g.db") as db:
            db.executescript(damage)
        db.close()
        with (
            Gallery.open(tmp_path / "g.db", "m", create=False) as opened,
            pytest.raises(ReidError, match="reid gallery index"),
        ):
            CompactIndex(opened)
    with Gallery.open(tmp_path / "g.db", "m", create=False) as opened:
        assert opened.remove("p0007").removed == {"p0007": 1}
        assert "p0007" not in {person.identity for person in opened.people()}
