import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reid.errors import ReidError, UsageError
from serving.gallery import Gallery
from tests.serving.rows import DAY, pieces_in_files, unit_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


@pytest.fixture
def gallery(path: Path):
    with Gallery.open(path, "model-a", create=True, who="tester") as opened:
        yield opened


def test_search_is_brute_force_over_people(gallery: Gallery) -> None:
    rows = unit_rows(300, seed=1)
    owners = np.random.default_rng(2).integers(0, 20, 300)
    owners[:150] = 7  # one person fills the top of many lists
    for person in np.unique(owners):
        gallery.enroll(f"p{person}", rows[owners == person])
    queries = np.concatenate([unit_rows(30, seed=3), rows[:5]])
    for k in (1, 5, 20, 50):
        for query, found in zip(queries.astype(np.float64), gallery.search(queries, k), strict=True):
            nearest = {
                f"p{p}": np.linalg.norm(rows[owners == p] - query, axis=1).min() for p in np.unique(owners)
            }
            wanted = sorted(nearest.items(), key=lambda item: item[1])[:k]
            assert [name for name, _ in found] == [name for name, _ in wanted]
            np.testing.assert_allclose(
                [distance for _, distance in found], [distance for _, distance in wanted], atol=1e-6
            )


def test_rows_that_are_not_quite_of_norm_1_are_in_the_right_order(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    near = unit_rows(1) + 1e-3 * unit_rows(200, seed=1)
    rows = (
        near / np.linalg.norm(near, axis=1, keepdims=True) * rng.uniform(0.9991, 1.0009, (200, 1))
    ).astype(np.float32)
    gallery.enroll([f"p{row}" for row in range(200)], rows)
    for query in (unit_rows(1)[0], rows[7] / np.linalg.norm(rows[7])):
        distances = np.linalg.norm(rows.astype(np.float64) - query, axis=1)
        found = gallery.search(query[None], 3)[0]
        np.testing.assert_allclose([distance for _, distance in found], np.sort(distances)[:3], atol=1e-7)


def test_somebody_with_very_many_references_hides_nobody(gallery: Gallery) -> None:
    near = unit_rows(1) + 0.01 * unit_rows(600, seed=1)
    gallery.enroll("crowd", near / np.linalg.norm(near, axis=1, keepdims=True))
    gallery.enroll(["anna", "bert"], unit_rows(2, seed=2))
    assert {name for name, _ in gallery.search(unit_rows(1), 3)[0]} == {"crowd", "anna", "bert"}


def test_an_enrolled_embedding_is_at_distance_zero(gallery: Gallery) -> None:
    rows = unit_rows(40, 128)
    gallery.enroll("anna", rows)
    assert max(found[0][1] for found in gallery.search(rows, 1)) == 0.0


def test_what_is_enrolled_is_there_after_reopening(path: Path, gallery: Gallery) -> None:
    rows = unit_rows(3)
    taken = datetime(2026, 1, 2, tzinfo=UTC)
    gallery.enroll(
        "anna", rows, source=["a.png", "b.png", "c.png"], camera="east", time=taken, quality=[0.1, 0.2, 0.3]
    )
    gallery.close()
    with Gallery.open(path, "model-a") as again:
        references = again.show("anna")
        assert [one.source for one in references] == ["a.png", "b.png", "c.png"]
        assert [one.quality for one in references] == [0.1, 0.2, 0.3]
        assert {(one.camera, one.taken_at) for one in references} == {("east", taken.timestamp())}
        stored, identities = again.references()
        np.testing.assert_array_equal(stored, rows)
        assert identities.tolist() == ["anna"] * 3
        (person,) = again.people()
        assert (person.identity, person.references, person.cameras) == ("anna", 3, ("east",))


def test_a_batch_of_many_people_is_one_change(gallery: Gallery) -> None:
    rows = unit_rows(5)
    gallery.enroll("anna", rows[:1])
    assert gallery.enroll(["bert", "anna", "bert", "carl"], rows[1:], source=["1", "2", "3", "4"]) == 2
    assert {one.identity: one.references for one in gallery.people()} == {"anna": 2, "bert": 2, "carl": 1}
    assert [one.source for one in gallery.show("bert")] == ["1", "3"]
    assert gallery.references()[1].tolist() == ["anna", "bert", "anna", "bert", "carl"]
    assert [(e.identity, e.detail[0]) for e in gallery.audit()[1:]] == [
        ("bert", "2"),
        ("anna", "1"),
        ("carl", "1"),
    ]
    for names in (["dora"], ["dora", "dora", "dora", "tab\t"], ["dora"] * 5):
        with pytest.raises(ReidError):
            gallery.enroll(names, rows[1:])
    assert gallery.version == 2


def test_every_change_raises_the_version_by_one(gallery: Gallery) -> None:
    assert gallery.version == 0
    assert gallery.enroll("anna", unit_rows(2)) == 1
    assert gallery.enroll("bert", unit_rows(2, seed=1)) == 2
    gallery.rename("anna", "anne")
    gallery.merge("bert", "anne")
    gallery.set_retention(30)
    gallery.remove("anne")
    assert gallery.version == 6
    gallery.expire()
    assert gallery.version == 6


def test_the_audit_log_says_who_did_what_to_whom_and_cannot_be_changed(path: Path, gallery: Gallery) -> None:
    before = time.time()
    gallery.enroll("anna", unit_rows(2))
    gallery.rename("anna", "anne")
    gallery.remove("anne")
    entries = gallery.audit()
    assert [(e.who, e.action, e.identity, e.version) for e in entries] == [
        ("tester", "enroll", "anna", 1),
        ("tester", "rename", "anna", 2),
        ("tester", "remove", "anne", 3),
    ]
    assert all(before - 1 <= entry.at <= time.time() for entry in entries)
    with sqlite3.connect(path) as db:
        for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'nobody'"):
            with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                db.execute(statement)


def test_another_open_gallery_sees_each_change(path: Path, gallery: Gallery) -> None:
    rows = unit_rows(6)
    with Gallery.open(path, "model-a") as reader:
        assert reader.search(rows[:1], 3) == [[]]
        for step in (
            lambda: gallery.enroll("anna", rows[:2]),
            lambda: gallery.enroll("bert", rows[2:4]),
            lambda: gallery.rename("anna", "anne"),
            lambda: gallery.enroll("anne", rows[4:]),
            lambda: gallery.merge("bert", "anne"),
            lambda: gallery.remove("anne"),
        ):
            step()
            assert reader.search(rows, 3) == gallery.search(rows, 3)
            for one, other in zip(reader.references(), gallery.references(), strict=True):
                np.testing.assert_array_equal(one, other)
        assert len(reader.references()[0]) == 0


def test_rename_and_merge(gallery: Gallery) -> None:
    rows = unit_rows(4)
    gallery.enroll("anna", rows[:2])
    gallery.enroll("bert", rows[2:])
    with pytest.raises(ReidError, match="has 'bert' already: merge"):
        gallery.rename("anna", "bert")
    gallery.rename("anna", "carl")
    assert gallery.search(rows[:1], 1)[0][0][0] == "carl"
    gallery.merge("carl", "bert")
    assert [(one.identity, one.references) for one in gallery.people()] == [("bert", 4)]
    assert [name for name, _ in gallery.search(rows[:1], 5)[0]] == ["bert"]
    with pytest.raises(UsageError, match="cannot be merged into itself"):
        gallery.merge("bert", "bert")
    for call in (
        lambda: gallery.rename("nobody", "x"),
        lambda: gallery.merge("bert", "nobody"),
        lambda: gallery.remove("nobody"),
    ):
        with pytest.raises(ReidError, match="has nobody named 'nobody'"):
            call()


# Without rewriting the file, the second and third leave a piece of a removed row in a gap between rows.
@pytest.mark.parametrize(("dim", "seed"), [(16, 0), (256, 5), (512, 11)])
def test_removal_takes_every_piece_out_of_the_files(tmp_path: Path, dim: int, seed: int) -> None:
    folder = tmp_path / "g"
    rng = np.random.default_rng(seed)
    rows = unit_rows(300, dim, seed=seed)
    people: dict[str, np.ndarray] = {}
    gone: list[np.ndarray] = []
    with Gallery.open(folder / "gallery.db", "m", create=True) as gallery:
        start = 0
        while start < len(rows):
            own = rows[start : start + int(rng.integers(1, 9))]
            gallery.enroll(f"p{start}", own, source="s" * int(rng.integers(0, 60)))
            people[f"p{start}"] = own
            start += len(own)
            if rng.random() < 0.4:
                name = sorted(people)[int(rng.integers(len(people)))]
                assert gallery.remove(name).purged
                gone.append(people.pop(name))
        assert pieces_in_files(folder, np.concatenate(gone)) == 0
        kept = np.concatenate(list(people.values()))
        assert pieces_in_files(folder, kept) == len(kept)
        assert gallery.verify().problems == ()


def test_removal_waits_with_erasing_while_somebody_reads_and_catches_up(path: Path, gallery: Gallery) -> None:
    rows = unit_rows(4, 64)
    with Gallery.open(path, "model-a", busy_timeout_s=0.05) as writer:
        writer.enroll("anna", rows[:2])
        writer.enroll("bert", rows[2:])
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM refs").fetchone()
        removal = writer.remove("anna")
        assert (removal.removed, removal.purged) == ({"anna": 2}, False)
        assert [person.identity for person in writer.people()] == ["bert"]
        assert pieces_in_files(path.parent, rows[:2]) == 2
        reader.close()
        with Gallery.open(path, None):
            assert pieces_in_files(path.parent, rows[:2]) == 0


def test_expiry_follows_when_images_were_taken(gallery: Gallery) -> None:
    now = 1_800_000_000.0
    rows = unit_rows(6)
    gallery.enroll("old", rows[:2], time=now - 40 * DAY)
    gallery.enroll("both", rows[2:4], time=[now - 31 * DAY, now - 29 * DAY])
    gallery.enroll("new", rows[4:], time=now)
    assert gallery.expire(now).removed == {}
    gallery.set_retention(30)
    assert gallery.retain_days == 30
    removal = gallery.expire(datetime.fromtimestamp(now, UTC))
    assert removal.removed == {"old": 2, "both": 1}
    assert removal.purged
    assert [(one.identity, one.references) for one in gallery.people()] == [("both", 1), ("new", 2)]
    assert pieces_in_files(gallery.path.parent, rows[:3]) == 0
    assert {(e.action, e.identity) for e in gallery.audit()} >= {("expire", "old"), ("expire", "both")}
    with pytest.raises(UsageError, match="retention of 0 days"):
        gallery.set_retention(0)


def test_export_holds_everything_and_is_private(tmp_path: Path, gallery: Gallery) -> None:
    rows = unit_rows(3)
    gallery.enroll("anna", rows[:2], camera="c1")
    gallery.enroll("bert", rows[2:], source="x.png")
    assert gallery.export(tmp_path / "all.parquet") == 3
    table = pq.read_table(tmp_path / "all.parquet")
    assert table["identity"].to_pylist() == ["anna", "anna", "bert"]
    np.testing.assert_array_equal(np.stack(table["embedding"].to_pylist()).astype(np.float32), rows)
    assert (table.schema.metadata[b"fingerprint"], table.schema.metadata[b"version"]) == (b"model-a", b"2")
    assert stat.S_IMODE((tmp_path / "all.parquet").stat().st_mode) == 0o600
    gallery.remove("anna")
    gallery.remove("bert")
    assert gallery.export(tmp_path / "none.parquet") == 0
    assert pq.read_table(tmp_path / "none.parquet").schema.equals(table.schema)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((1, 16), np.float32), "row 0 has norm 4"),
        (np.full((1, 16), np.nan), "row 0 holds NaN"),
        (unit_rows(1, 8), "8 numbers a row but the gallery's have 16"),
        (np.concatenate([unit_rows(2), np.zeros((1, 16))]), "row 2 has norm 0"),
        (unit_rows(1)[0], r"shape \(16,\)"),
        (np.empty((0, 16)), "no embedding to enroll"),
    ],
)
def test_bad_embeddings_are_refused_and_change_nothing(
    gallery: Gallery, rows: np.ndarray, message: str
) -> None:
    gallery.enroll("anna", unit_rows(1))
    with pytest.raises(ReidError, match=message):
        gallery.enroll("bert", rows)
    assert [one.identity for one in gallery.people()] == ["anna"]
    assert gallery.version == 1
    if len(rows):
        with pytest.raises(ReidError, match=message):
            gallery.search(rows, 1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 201,
        "a" * 10_000,
        "tab\there",
        "line\nbreak",
        "nul\0",
        "back\u202ewards",
        " padded",
        "unknown",
        "Unknown",
        "\u2028",
    ],
)
def test_bad_names_are_refused(gallery: Gallery, name: str) -> None:
    gallery.enroll("anna", unit_rows(1))
    for call in (lambda: gallery.enroll(name, unit_rows(1)), lambda: gallery.rename("anna", name)):
        with pytest.raises(ReidError, match="identity") as caught:
            call()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200
    assert gallery.version == 1


@pytest.mark.parametrize(
    "name", ["x", "a" * 200, "Žofie Nová", "李小龍", "O'Brien; DROP TABLE people", "0042", "[bold]"]
)
def test_good_names_are_kept(gallery: Gallery, name: str) -> None:
    gallery.enroll(name, unit_rows(1))
    assert gallery.search(unit_rows(1), 1)[0][0][0] == name
    gallery.remove(name)


def test_equal_looking_names_are_one_person(gallery: Gallery) -> None:
    gallery.enroll("Zo\u00eb", unit_rows(1))
    gallery.enroll("Zoe\u0308", unit_rows(1, seed=1))
    assert [one.references for one in gallery.people()] == [2]
    assert gallery.remove("Zoe\u0308").removed == {"Zo\u00eb": 2}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quality": 1.5}, "quality is 1.5"),
        ({"quality": [0.5]}, "quality has 1 values for 2 embeddings"),
        ({"source": ["a", "b", "c"]}, "source has 3 values"),
        ({"time": "yesterday"}, "time is 'yesterday'"),
        ({"time": float("inf")}, "time is inf"),
    ],
)
def test_bad_values_are_refused(gallery: Gallery, values: dict, message: str) -> None:
    with pytest.raises(ReidError, match=message):
        gallery.enroll("anna", unit_rows(2), **values)
    assert gallery.version == 0


def test_a_gallery_of_another_model_or_dimension_is_refused(path: Path, gallery: Gallery) -> None:
    gallery.enroll("anna", unit_rows(1))
    with pytest.raises(ReidError, match="holds embeddings of model model-a, not of model-b: use that model"):
        Gallery.open(path, "model-b")
    with pytest.raises(ReidError, match="holds embeddings of 16 numbers, not of 32"):
        Gallery.open(path, "model-a", dim=32)
    with Gallery.open(path, None) as without:
        assert without.fingerprint == "model-a"
        with pytest.raises(UsageError, match="opened without a model"):
            without.enroll("bert", unit_rows(1))


def test_a_missing_gallery_is_made_only_when_asked_or_at_the_first_enrolment(path: Path) -> None:
    with pytest.raises(UsageError, match=r"gallery\.db does not exist"):
        Gallery.open(path, "m", create=False)
    with Gallery.open(path, "m") as gallery:
        with pytest.raises(UsageError, match="does not exist"):
            gallery.search(unit_rows(1), 1)
        with pytest.raises(ReidError, match="norm"):
            gallery.enroll("anna", np.ones((1, 4)))
        assert not path.exists()
        gallery.enroll("anna", unit_rows(1))
        assert gallery.search(unit_rows(1), 1) == [[("anna", 0.0)]]
    with pytest.raises(UsageError, match="opened without a model"):
        Gallery.open(path.with_name("other.db"), None, create=True)


def test_files_are_private_from_the_first_moment_and_others_are_refused(path: Path) -> None:
    mask = os.umask(0)
    try:
        with Gallery.open(path, "m", create=True) as gallery:
            gallery.enroll("anna", unit_rows(1))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(mask)
    assert modes == {"gallery.db": 0o600, "gallery.db-wal": 0o600, "gallery.db-shm": 0o600}
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(ReidError, match=rf"mode {mode:04o}\): run chmod 600 .*gallery\.db"):
            Gallery.open(path, "m")


@pytest.mark.parametrize("content", [b"", b"text that is no database", b"SQLite format 3\0" + bytes(2000)])
def test_a_foreign_file_is_said_in_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ReidError, match=r"gallery\.db") as caught:
        Gallery.open(path, "m")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_another_sqlite_database_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE people (name TEXT)")
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(ReidError, match="not a gallery"):
        Gallery.open(path, "m", create=True)
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match="is not a file"):
        Gallery.open(path.parent, "m")


def test_a_damaged_gallery_is_said_in_one_line(path: Path) -> None:
    with Gallery.open(path, "m", create=True) as gallery:
        for person in range(50):
            gallery.enroll(f"p{person}", unit_rows(20, 64, seed=person))
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(16384)
        file.write(os.urandom(size - 2 * 16384))
    with pytest.raises(ReidError, match="damaged") as caught, Gallery.open(path, "m") as gallery:
        gallery.search(unit_rows(1, 64), 1)
    assert "\n" not in str(caught.value)


def test_verify_finds_each_kind_of_damage(path: Path, gallery: Gallery) -> None:
    gallery.enroll("anna", unit_rows(5))
    gallery.close()
    good = unit_rows(1, seed=9)[0]
    with sqlite3.connect(path) as db:
        db.execute("UPDATE refs SET embedding = ? WHERE id = 1", (good.tobytes(),))
        db.execute("UPDATE refs SET embedding = ? WHERE id = 2", (good.tobytes()[:-4],))
        db.execute("UPDATE refs SET embedding = ? WHERE id = 3", ((good * 3).tobytes(),))
        db.execute("UPDATE refs SET embedding = ? WHERE id = 4", (np.full(16, np.nan, "f4").tobytes(),))
        db.execute("INSERT INTO people (name, enrolled_at) VALUES ('empty', 0)")
    with Gallery.open(path, None) as again:
        report = again.verify()
    assert (report.people, report.references) == (2, 5)
    for wanted in (
        "reference 1 of 'anna' differs from its hash",
        "2 .* wrong length",
        "3 .* norm 3",
        "4 .* NaN",
        "'empty' has no reference",
    ):
        assert [problem for problem in report.problems if re.search(wanted, problem)], wanted
    assert len(report.problems) == 5


@pytest.mark.parametrize("other", ["NULL", "7", "'text'"])
def test_a_damaged_value_may_be_of_any_type(path: Path, gallery: Gallery, other: str) -> None:
    gallery.enroll("anna", unit_rows(2))
    gallery.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        for word in (" NOT NULL", " STRICT"):
            db.execute("UPDATE sqlite_master SET sql = replace(sql, ?, '') WHERE name = 'refs'", (word,))
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE refs SET embedding = {other}, taken_at = 'long ago' WHERE id = 1")
    with Gallery.open(path, None) as again:
        assert again.verify().problems == (
            "reference 1 of 'anna' has the wrong length: remove and enroll again",
        )
        with pytest.raises(ReidError, match="reference 1 has not 16 numbers, see `reid gallery verify`"):
            again.export(path.with_name("export.parquet"))


def test_a_damaged_row_is_near_to_nobody(path: Path) -> None:
    with Gallery.open(path, "m", create=True) as gallery:
        gallery.enroll("anna", unit_rows(1))
        gallery.enroll("bert", unit_rows(1, seed=1))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE refs SET embedding = ? WHERE id = 2", (np.full(16, np.nan, "f4").tobytes(),))
    with Gallery.open(path, "m") as gallery:
        assert [name for name, _ in gallery.search(unit_rows(1), 5)[0]] == ["anna"]


def test_a_second_writer_gets_a_clear_error_and_changes_nothing(path: Path) -> None:
    with Gallery.open(path, "m", create=True, busy_timeout_s=0.05) as gallery:
        gallery.enroll("anna", unit_rows(1))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ReidError, match="being written by another process: wait"):
            gallery.enroll("bert", unit_rows(1))
        assert [one.identity for one in gallery.people()] == ["anna"]
        other.execute("ROLLBACK")
        other.close()
        gallery.enroll("bert", unit_rows(1))


def test_a_full_disk_is_said_and_changes_nothing(path: Path, gallery: Gallery) -> None:
    gallery.enroll("anna", unit_rows(1, 512))
    with gallery.store.reading() as db:
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0] + 4}")
    with pytest.raises(ReidError, match="disk is full"):
        gallery.enroll("bert", unit_rows(500, 512))
    assert [one.identity for one in gallery.people()] == ["anna"]
    assert gallery.version == 1
    gallery.enroll("carl", unit_rows(1, 512))


def test_threads_and_writers_share_a_gallery(path: Path) -> None:
    with Gallery.open(path, "m", dim=16, create=True) as shared:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                if number % 2:
                    with Gallery.open(path, "m") as own:
                        for turn in range(10):
                            own.enroll(f"own {number} {turn}", unit_rows(2, seed=number))
                else:
                    for turn in range(10):
                        shared.enroll(f"shared {number} {turn}", unit_rows(2, seed=number))
                        shared.search(unit_rows(3), 5)
            except BaseException as error:  # noqa: BLE001 (shown below)
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(shared.people()) == 40
        assert shared.version == 40
        assert len(shared.references()[0]) == 80


def test_two_processes_that_make_the_same_gallery_end_in_one(path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from serving.gallery.gallery import Gallery\n"
        "with Gallery.open(sys.argv[1], 'm', create=True) as g:\n"
        "    [g.enroll(f'{sys.argv[2]} {i}', np.eye(4, dtype='f4')[:2]) for i in range(20)]\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(number)]) for number in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    with Gallery.open(path, "m") as gallery:
        assert len(gallery.people()) == 60
        assert gallery.verify().problems == ()
    assert [file.name for file in path.parent.iterdir()] == ["gallery.db"]
