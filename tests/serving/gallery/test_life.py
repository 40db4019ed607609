"""Splitting, moving between files, and re-embedding with a new model."""

import os
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reid.errors import ReidError, UsageError
from serving.gallery import Gallery
from serving.gallery.models import (
    add_embeddings,
    forget_model,
    models_of,
    pending,
    reembed,
    stage_model,
    switch_model,
)
from serving.gallery.transfer import import_references
from serving.runtime import load
from tests.serving.images import write_images
from tests.serving.rows import DAY, pieces_in_files, unit_rows
from tests.serving.tiny_models import tiny_model


@pytest.fixture
def gallery(tmp_path: Path):
    with Gallery.open(tmp_path / "g" / "gallery.db", "old", create=True, who="tester") as opened:
        yield opened


def people(gallery: Gallery) -> dict[str, int]:
    return {one.identity: one.references for one in gallery.people()}


def grow(gallery: Gallery, fingerprint: str, dim: int, seed: int) -> np.ndarray:
    """Embed everything with another model, in the order of the references."""
    stage_model(gallery, fingerprint, dim)
    todo = [key for key, _ in pending(gallery, fingerprint)]
    rows = unit_rows(len(todo), dim, seed=seed)
    assert add_embeddings(gallery, fingerprint, todo, rows) == len(todo)
    return rows


def test_splitting_gives_some_references_to_a_new_person(gallery: Gallery) -> None:
    rows = unit_rows(5)
    gallery.enroll("anna", rows[:4], source=list("abcd"))
    gallery.enroll("bert", rows[4:])
    ids = {one.source: one.id for one in gallery.show("anna")}
    gallery.split("anna", [ids["b"], ids["d"]], "carl")
    assert [one.source for one in gallery.show("carl")] == ["b", "d"]
    assert [one.source for one in gallery.show("anna")] == ["a", "c"]
    assert [found[0] for found in gallery.search(rows, 1)] == [
        ("anna", 0),
        ("carl", 0),
        ("anna", 0),
        ("carl", 0),
        ("bert", 0),
    ]
    assert gallery.audit()[-1].detail == "2 references to carl"
    version = gallery.version
    for references, into, message in (
        ([], "dora", "none was named"),
        ([ids["a"], 999], "dora", "'anna' has no reference 999: see `reid gallery show"),
        ([ids["b"]], "dora", f"'anna' has no reference {ids['b']}"),
        ([ids["a"], ids["c"]], "dora", "all references of 'anna' would leave: rename"),
        ([ids["a"]], "bert", "has 'bert' already"),
        ([ids["a"]], "un\nknown", "control character"),
    ):
        with pytest.raises(ReidError, match=message):
            gallery.split("anna", references, into)
    assert gallery.version == version


def test_a_new_model_grows_beside_the_old_one_and_takes_over_at_once(gallery: Gallery) -> None:
    old = unit_rows(6)
    gallery.enroll("anna", old[:3], camera="c1", time=5 * DAY, quality=0.5)
    gallery.enroll("bert", old[3:])
    new = grow(gallery, "new", 8, seed=3)
    assert gallery.search(old[:1], 1) == [[("anna", 0.0)]]
    assert (people(gallery), len(gallery.references()[0])) == ({"anna": 3, "bert": 3}, 6)
    with Gallery.open(gallery.path, None) as admin:
        assert [(m.fingerprint, m.dim, m.active, m.references, m.missing) for m in models_of(admin)] == [
            ("old", 16, True, 6, 0),
            ("new", 8, False, 6, 0),
        ]
        switch_model(admin, "new")
    # Whoever has the gallery open with the old model must not compare its embeddings with the new ones.
    for call in (lambda: gallery.search(old[:1], 1), lambda: gallery.enroll("carl", old[:1])):
        with pytest.raises(
            ReidError,
            match="holds embeddings of model new, not of old: use that model, embed the gallery anew",
        ):
            call()
    with Gallery.open(gallery.path, "new") as after:
        assert after.search(new[4:5], 1) == [[("bert", 0.0)]]
        assert [(r.camera, r.taken_at, r.quality) for r in after.show("anna")] == [("c1", 5 * DAY, 0.5)] * 3
        after.enroll("carl", unit_rows(1, 8, seed=9))
        assert [m.missing for m in models_of(after)] == [0, 1]
        with pytest.raises(
            ReidError,
            match=r"1 references of gallery .* have no embedding of model old: "
            r"run `reid gallery reembed` again",
        ):
            switch_model(after, "old")
        assert forget_model(after, "old")
        assert pieces_in_files(gallery.path.parent, old) == 0
        assert people(after) == {"anna": 3, "bert": 3, "carl": 1}
        assert after.verify().problems == ()
        assert [m.fingerprint for m in models_of(after)] == ["new"]


def test_what_happens_to_a_person_happens_to_both_models(gallery: Gallery) -> None:
    old = unit_rows(7)
    gallery.enroll("anna", old[:3])
    gallery.enroll("bert", old[3:5], time=10 * DAY)
    gallery.enroll("carl", old[5:])
    new = grow(gallery, "new", 8, seed=3)
    gallery.set_retention(5)
    assert gallery.expire(20 * DAY).removed == {"bert": 2}
    gallery.split("anna", [gallery.show("anna")[1].id], "dora")
    gallery.merge("carl", "dora")
    switch_model(gallery, "new")
    with Gallery.open(gallery.path, "new") as after:
        assert people(after) == {"anna": 2, "dora": 3}
        assert [found[0] for found in after.search(new[[0, 1, 2, 5, 6]], 1)] == [
            ("anna", 0),
            ("dora", 0),
            ("anna", 0),
            ("dora", 0),
            ("dora", 0),
        ]
        # Split once more, now that the rows that were twins are the active ones.
        after.split("dora", [after.show("dora")[0].id], "eve")
        assert after.remove("dora").removed == {"dora": 2}
        assert pieces_in_files(gallery.path.parent, old[3:]) == 0
        assert pieces_in_files(gallery.path.parent, new[3:]) == 0
        switch_model(after, "old")
    with Gallery.open(gallery.path, "old") as back:
        assert people(back) == {"anna": 2, "eve": 1}
        assert back.search(old[1:2], 1) == [[("eve", 0.0)]]
        assert back.verify().problems == ()


def test_who_is_left_behind_goes_with_the_model(gallery: Gallery) -> None:
    rows = unit_rows(3)
    gallery.enroll("anna", rows[:1])
    gallery.enroll("bert", rows[1:])
    stage_model(gallery, "new", 8)
    todo = [key for key, _ in pending(gallery, "new")]
    add_embeddings(gallery, "new", todo[1:], unit_rows(2, 8))
    with pytest.raises(ReidError, match="1 references"):
        switch_model(gallery, "new")
    switch_model(gallery, "new", leave_behind=True)
    with Gallery.open(gallery.path, "new") as after:
        assert people(after) == {"bert": 2}
        forget_model(after, "old")
        assert [e.identity for e in after.audit() if e.action == "remove"] == ["anna"]
        assert pieces_in_files(gallery.path.parent, rows) == 0
        assert after.verify().problems == ()


def test_wrong_calls_about_models_change_nothing(gallery: Gallery) -> None:
    gallery.enroll("anna", unit_rows(2))
    stage_model(gallery, "new", 8)
    stage_model(gallery, "new", 8)
    version, ids = gallery.version, [key for key, _ in pending(gallery, "new")]
    for call, message in (
        (lambda: stage_model(gallery, "old", 16), "already searched with model old"),
        (
            lambda: stage_model(gallery, "third", 8),
            "has embeddings of model new besides its own: finish with it, or drop it",
        ),
        (lambda: stage_model(gallery, "new", 9), "embeddings of 8 numbers before, now of 9"),
        (
            lambda: add_embeddings(gallery, "new", ids, unit_rows(2, 9)),
            "9 numbers a row but the gallery's have 8",
        ),
        (lambda: add_embeddings(gallery, "new", ids, unit_rows(1, 8)), "2 references for 1 embeddings"),
        (lambda: add_embeddings(gallery, "new", ids, np.ones((2, 8))), "norm 2.8"),
        (lambda: add_embeddings(gallery, "old", ids, unit_rows(2)), "is the active one"),
        (lambda: forget_model(gallery, "old"), "is the active one"),
        (lambda: switch_model(gallery, "old"), "already searched"),
        (lambda: switch_model(gallery, "third"), "knows no model third: see `reid gallery models"),
    ):
        with pytest.raises(ReidError, match=message):
            call()
    assert gallery.version == version
    rows = unit_rows(2, 8)
    assert add_embeddings(gallery, "new", ids, rows) == 2
    assert add_embeddings(gallery, "new", [*ids, 999], unit_rows(3, 8)) == 0


def test_reembedding_reads_the_images_again_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "images", 5)
    first, second = (
        load(tiny_model(tmp_path / "one")),
        load(tiny_model(tmp_path / "two", card={"fingerprint": "tiny-2"})),
    )
    from serving.embedding import embed_files

    with Gallery.open(tmp_path / "g.db", first.fingerprint, create=True) as gallery:
        gallery.enroll(
            list("aabbc"), embed_files(first, paths).embeddings, source=[str(path) for path in paths]
        )
        paths[1].rename(tmp_path / "away.png")
        once = reembed(gallery, second)
        assert (once.embedded, once.missing, [one.path for one in once.unreadable]) == (4, 1, [paths[1]])
        (tmp_path / "away.png").rename(paths[1])
        twice = reembed(gallery, second)
        assert (twice.embedded, twice.missing, twice.unreadable) == (1, 0, ())
        switch_model(gallery, "tiny-2")
    with Gallery.open(tmp_path / "g.db", "tiny-2") as gallery:
        found = gallery.search(embed_files(second, paths).embeddings, 1)
        assert [(one[0][0], round(one[0][1], 5)) for one in found] == [(name, 0.0) for name in "aabbc"]


def test_an_export_comes_back_as_it_was(tmp_path: Path, gallery: Gallery) -> None:
    gallery.set_retention(30)
    gallery.enroll(
        "anna", unit_rows(3), source=list("xyz"), camera="c1", time=[1.0, 2.0, 3.0], quality=[0.1, 0.2, 0.3]
    )
    gallery.enroll("Žofie", unit_rows(2, seed=1))
    assert gallery.export(tmp_path / "all.parquet") == 5
    assert (gallery.audit()[-1].action, gallery.audit()[-1].detail, gallery.version) == (
        "export",
        "all.parquet",
        3,
    )
    with Gallery.open(tmp_path / "copy.db", None) as copy:
        assert import_references(copy, tmp_path / "all.parquet") == (5, 0)
        assert (copy.fingerprint, copy.retain_days) == ("old", 30)
        assert {e.action for e in copy.audit()} == {"retention", "import"}
        for name in ("anna", "Žofie"):
            facts = [
                [(r.source, r.camera, r.taken_at, r.quality) for r in one.show(name)]
                for one in (gallery, copy)
            ]
            assert facts[0] == facts[1]
        for one, other in zip(gallery.references(), copy.references(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert import_references(copy, tmp_path / "all.parquet") == (0, 5)
        version = copy.version
        gallery.enroll("anna", unit_rows(1, seed=5))
        gallery.export(tmp_path / "more.parquet")
        assert import_references(copy, tmp_path / "more.parquet") == (1, 5)
        assert copy.version == version + 1


def test_what_is_no_export_is_refused_and_makes_no_gallery(tmp_path: Path, gallery: Gallery) -> None:
    gallery.enroll("anna", unit_rows(2))
    gallery.export(tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    bad = tmp_path / "bad.parquet"

    def column(name: str, values: list) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))

    rows = unit_rows(2).tolist()
    for content, message in (
        (b"text", "cannot be read as Parquet"),
        (table.drop_columns(["camera"]), "lacks the column 'camera'"),
        (table.replace_schema_metadata({}), "lacks the model's fingerprint"),
        (table.slice(0, 0), "is empty"),
        (column("embedding", [rows[0], rows[1][:3]]), "different length"),
        (column("embedding", [rows[0], [float("nan")] * 16]), "row 1 holds NaN"),
        (column("embedding", [rows[0], [9.0] * 16]), "row 1 has norm 36"),
        (column("identity", ["anna", "tab\t"]), "control character"),
        (column("quality", [1.0, 7.0]), "quality is 7.0"),
        (column("taken_at", [1.0, None]), "time is None"),
    ):
        if isinstance(content, bytes):
            bad.write_bytes(content)
        else:
            pq.write_table(content, bad)
        with (
            Gallery.open(tmp_path / "new.db", None) as new,
            pytest.raises(ReidError, match=message) as caught,
        ):
            import_references(new, bad)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "new.db").exists()
    with (
        Gallery.open(tmp_path / "other.db", "other", create=True) as other,
        pytest.raises(ReidError, match=r"is of model old, gallery .* of other"),
    ):
        import_references(other, tmp_path / "all.parquet")
    with pytest.raises(UsageError, match="does not exist"), Gallery.open(tmp_path / "new.db", None) as new:
        import_references(new, tmp_path / "absent.parquet")


def test_an_export_is_private_even_under_a_lax_mask(tmp_path: Path, gallery: Gallery) -> None:
    gallery.enroll("anna", unit_rows(1))
    mask = os.umask(0)
    try:
        gallery.export(tmp_path / "all.parquet")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "all.parquet").stat().st_mode) == 0o600


def test_verify_finds_a_reference_whose_twin_belongs_to_somebody_else(gallery: Gallery) -> None:
    gallery.enroll("anna", unit_rows(1))
    gallery.enroll("bert", unit_rows(1, seed=1))
    grow(gallery, "new", 8, seed=2)
    assert gallery.verify().problems == ()
    gallery.close()
    with sqlite3.connect(gallery.path) as db:
        db.execute("UPDATE refs SET person_id = 2 WHERE id = 3")
    with Gallery.open(gallery.path, None) as again:
        assert again.verify().problems == (
            "references 3 and 1 are one image of two people: split or merge them",
        )
