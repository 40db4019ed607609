"""The stored search index: finds what exact search finds, follows every change, and keeps nothing of who has
left.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reid.errors import ReidError, UsageError
from serving.gallery import Gallery
from serving.gallery.index.build import KINDS, RECALL, build_index, remove_index
from serving.gallery.index.compact import CompactIndex
from serving.gallery.models import add_embeddings, pending, stage_model, switch_model
from tests.serving.rows import unit_rows

DIM = 32
PEOPLE, EACH = 300, 8


def crowd() -> np.ndarray:
    near = np.repeat(unit_rows(PEOPLE, DIM, seed=1), EACH, axis=0) + 0.5 * unit_rows(
        PEOPLE * EACH, DIM, seed=2
    )
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


ROWS = crowd()


@pytest.fixture
def gallery(tmp_path: Path):
    with Gallery.open(tmp_path / "g" / "gallery.db", "m", create=True) as opened:
        opened.enroll([f"p{row // EACH:03d}" for row in range(len(ROWS))], ROWS)
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_exact_search_finds(gallery: Gallery, kind: str) -> None:
    built = build_index(gallery, kind)
    assert (built.references, built.version) == (len(ROWS), gallery.version)
    assert built.recall >= (RECALL if kind != "pq" else 0.9)
    assert built.bytes < ROWS.nbytes * (0.8 if kind == "fp16" else 0.5)
    assert gallery.audit()[-1].detail.startswith(
        f"{kind}, 2400 references, recall 0.9" if built.recall < 1 else kind
    )
    rng = np.random.default_rng(0)
    probes = ROWS[::97] + 0.02 * rng.standard_normal((len(ROWS[::97]), DIM)).astype(np.float32)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    with Gallery.open(gallery.path, "m") as again:
        index = CompactIndex(again)
        assert (index.facts.kind, index.facts.recall) == (kind, built.recall)
        shares, wrong = [], 0
        for found, exact in zip(index.search(probes, 5), gallery.search(probes, 5), strict=True):
            assert len(found) == 5
            shares.append(len({name for name, _ in found} & {name for name, _ in exact}) / 5)
            nearest = dict(exact)
            wrong += sum(abs(distance - nearest[name]) > 1e-6 for name, distance in found if name in nearest)
        assert np.mean(shares) >= 0.9
        assert wrong <= 2  # the nearest reference of somebody may be missing; a distance is never made up
        assert [found[0] for found in index.search(ROWS[:5], 1)] == [("p000", 0.0)] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_it_follows_every_change(gallery: Gallery, kind: str) -> None:
    build_index(gallery, kind)
    with Gallery.open(gallery.path, "m") as reader:
        index = CompactIndex(reader)
        fresh = unit_rows(3, DIM, seed=7)
        gallery.enroll("new", fresh)
        assert [found[0] for found in index.search(fresh, 1)] == [("new", 0.0)] * 3
        gallery.rename("new", "newer")
        assert index.search(fresh[:1], 1)[0][0][0] == "newer"
        gallery.merge("p001", "newer")
        assert index.search(ROWS[EACH : EACH + 1], 1) == [[("newer", 0.0)]]
        gallery.split("newer", [gallery.show("newer")[0].id], "p001")
        assert index.search(ROWS[EACH : EACH + 1], 1)[0][0][0] == "p001"
        gallery.remove("p002")
        gallery.remove("newer")
        names = {
            name for found in index.search(np.concatenate([ROWS[: 3 * EACH], fresh]), 20) for name, _ in found
        }
        assert not {"p002", "newer"} & names
        everybody = index.search(ROWS[:1], 10_000)[0]
        if kind != "ivf":
            assert len(everybody) == len(gallery.people())
        assert gallery.verify().problems == ()


def halves_in_files(folder: Path, rows: np.ndarray) -> int:
    """How many rows have four neighbouring numbers in half precision in some file of the folder, at any
    offset.
    """
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    words = rows.astype(np.float16).reshape(len(rows), -1, 4).copy().view(np.uint64)[..., 0]
    found = np.zeros(words.shape, np.bool_)
    for offset in range(8):
        found |= np.isin(
            words, np.frombuffer(content[offset : offset + (len(content) - offset) // 8 * 8], np.uint64)
        )
    return int(found.any(axis=1).sum())


def test_removal_takes_the_bytes_out_of_the_index_too(gallery: Gallery) -> None:
    build_index(gallery, "fp16")
    assert halves_in_files(gallery.path.parent, ROWS) == len(ROWS)
    gallery.set_retention(1)
    assert gallery.remove("p004").purged
    assert gallery.remove("p299").purged
    gone = np.r_[4 * EACH : 5 * EACH, 299 * EACH : 300 * EACH]
    assert halves_in_files(gallery.path.parent, ROWS[gone]) == 0
    assert halves_in_files(gallery.path.parent, np.delete(ROWS, gone, axis=0)) == len(ROWS) - 2 * EACH
    assert CompactIndex(gallery).facts.references == len(ROWS) - 2 * EACH
    assert sum(gallery.expire(4e9).removed.values()) == len(ROWS) - 2 * EACH
    assert halves_in_files(gallery.path.parent, ROWS) == 0
    with pytest.raises(ReidError, match="has no index: build one with `reid gallery index`"):
        CompactIndex(gallery)


def test_an_index_is_dropped_when_asked_and_with_its_model(gallery: Gallery) -> None:
    assert not remove_index(gallery)
    build_index(gallery, "fp16")
    assert remove_index(gallery)
    assert halves_in_files(gallery.path.parent, ROWS) == 0
    build_index(gallery, "fp16")
    index = CompactIndex(gallery)
    stage_model(gallery, "next", 8)
    todo = [key for key, _ in pending(gallery, "next")]
    add_embeddings(gallery, "next", todo, unit_rows(len(todo), 8))
    assert index.search(ROWS[:1], 1) == [[("p000", 0.0)]]
    switch_model(gallery, "next")
    with pytest.raises(ReidError, match="holds embeddings of model next, not of m"):
        index.search(ROWS[:1], 1)
    with Gallery.open(gallery.path, "next") as after, pytest.raises(ReidError, match="has no index"):
        CompactIndex(after)


def test_wrong_calls_are_refused(tmp_path: Path, gallery: Gallery) -> None:
    with pytest.raises(UsageError, match="index 'tree' is unknown: want one of auto, ivf, fp16, pq"):
        build_index(gallery, "tree")
    with pytest.raises(ReidError, match="has no index"):
        CompactIndex(gallery)
    with Gallery.open(tmp_path / "small.db", "m", create=True) as small:
        small.enroll("anna", unit_rows(20))
        with pytest.raises(ReidError, match="holds 20 references, an index wants 512 or more"):
            build_index(small, "fp16")
    build_index(gallery, "pq")
    index = CompactIndex(gallery)
    with pytest.raises(UsageError, match="k is 0"):
        index.search(ROWS[:1], 0)
    for bad, message in (
        (unit_rows(1, 8), "8 numbers"),
        (np.full((1, DIM), np.nan), "NaN"),
        (2 * ROWS[:1], "norm 2"),
    ):
        with pytest.raises(ReidError, match=message):
            index.search(bad, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_references_are_ranked_from_the_database_as_from_memory(gallery: Gallery, kind: str) -> None:
    build_index(gallery, kind)
    probes = ROWS[::37]
    with Gallery.open(gallery.path, "m") as one, Gallery.open(gallery.path, "m") as other:
        from_database = CompactIndex(one, rows_in_memory=False).search(probes, 2)
        from_memory = CompactIndex(other, rows_in_memory=True).search(probes, 2)
        assert one._index is None
    assert other._index is not None
    for a, b in zip(from_database, from_memory, strict=True):
        assert [name for name, _ in a] == [name for name, _ in b]
        np.testing.assert_allclose([d for _, d in a], [d for _, d in b], atol=1e-6)


def test_the_kind_is_chosen_by_what_was_measured(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_index(gallery).kind == "ivf"
    measured = {"ivf": 0.98, "pq": 0.985, "fp16": 1.0}
    monkeypatch.setattr("serving.gallery.index.build._tuned", lambda *_: measured["ivf"])
    monkeypatch.setattr(
        "serving.gallery.index.build._Truth.recall",
        lambda self, index, kind: measured["pq" if kind is KINDS["pq"] else "fp16"],
    )
    assert build_index(gallery).kind == "fp16"
    measured["pq"] = 0.991
    assert build_index(gallery).kind == "pq"


def test_more_is_proposed_in_a_larger_gallery(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "pq", replace(KINDS["pq"], least=1))
    few = build_index(gallery, "pq").recall
    monkeypatch.setattr("serving.gallery.index.build._CROWDED", len(ROWS) // 20)
    assert build_index(gallery, "pq").recall > few
    probes, asked = ROWS[:4], []
    index = CompactIndex(gallery)
    search = index._index.search
    monkeypatch.setattr(index._index, "search", lambda rows, k: asked.append(k) or search(rows, k))
    index.search(probes, 2)
    assert asked[0] == 2 * 20


def test_references_and_those_after_the_index_are_counted(gallery: Gallery) -> None:
    assert gallery.counted() == (len(ROWS), None)
    build_index(gallery, "fp16")
    gallery.enroll("new", unit_rows(3, DIM, seed=7))
    assert gallery.counted() == (len(ROWS) + 3, 3)
    gallery.remove("p003")
    assert gallery.counted() == (len(ROWS) + 3 - EACH, 3)
