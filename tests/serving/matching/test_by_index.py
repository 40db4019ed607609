"""Names by a gallery's index: as by all references, and when a job takes it."""

from pathlib import Path

import numpy as np
import pytest

from serving.gallery import Gallery
from serving.job.preparation import search_index
from serving.matching import identify
from serving.spec import Camera, Job
from tests.serving.rows import unit_rows

DIM, PEOPLE, EACH = 32, 150, 8


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory):
    near = np.repeat(unit_rows(PEOPLE, DIM, seed=1), EACH, axis=0)
    near = near + 0.5 * unit_rows(PEOPLE * EACH, DIM, seed=2)
    rows = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    with Gallery.open(tmp_path_factory.mktemp("g") / "gallery.db", "m", create=True) as opened:
        opened.enroll([f"p{row // EACH:03d}" for row in range(len(rows))], rows)
        yield opened


def job(gallery: Gallery, **more: object) -> Job:
    camera = Camera(id="hall", source="hall.mp4")
    return Job(cameras=(camera,), model="model", gallery=str(gallery.path), **more)  # type: ignore[arg-type]


def test_a_job_takes_the_index_of_a_large_gallery_and_says_why_not(gallery: Gallery, tmp_path: Path) -> None:
    small, large = job(gallery), job(gallery, index_above=1000)
    assert search_index(small, gallery) == (None, [])
    index, notes = search_index(large, gallery)
    assert index is None and "1200 references are read" in notes[0] and "it has none" in notes[0]
    gallery.build_index()
    assert search_index(small, gallery) == (None, [])
    for more, why in (
        ({"policy": "mean"}, "the policy mean looks at all"),
        ({"rescore": True}, "rescore looks"),
    ):
        index, notes = search_index(job(gallery, index_above=1000, **more), gallery)
        assert index is None and why in notes[0]
    with Gallery.open(gallery.path, "m", read_only=True) as reader:
        index, notes = search_index(large, reader)
        assert index is not None and not notes and index.facts.kind == "ivf"
        assert reader._index is None  # not all references were read
        rng = np.random.default_rng(0)
        rows = gallery.references()[0][::31]
        probes = rows + 0.1 * rng.standard_normal(rows.shape).astype(np.float32)
        probes = np.concatenate([probes, unit_rows(30, DIM, seed=9)])
        probes /= np.linalg.norm(probes, axis=1, keepdims=True)
        found = identify(probes, reader, 0.7, index=index)
        exact = identify(probes, gallery, 0.7)
        same = [
            a.nearest == b.nearest and a.identity == b.identity for a, b in zip(found, exact, strict=True)
        ]
        assert np.mean(same) >= 0.97
        for a, b in zip(found, exact, strict=True):
            if a.nearest == b.nearest:
                assert a.distance == pytest.approx(b.distance, abs=1e-6)
            else:
                assert (
                    a.distance >= b.distance - 1e-6
                )  # somebody nearer may be missing, nobody is made nearer


def test_a_gallery_too_small_for_an_index_is_not_told_to_build_one(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "gallery.db", "m", create=True) as small:
        small.enroll(["a", "b", "c"], unit_rows(3, DIM, seed=1))
        index, notes = search_index(job(small, index_above=1), small)
    assert index is None and "none is built of fewer than 512 references" in notes[0]
    assert "reid gallery index" not in notes[0]


def test_an_index_that_lacks_many_references_is_not_used(gallery: Gallery) -> None:
    gallery.build_index("fp16")
    large = job(gallery, index_above=1000)
    gallery.enroll("new", unit_rows(200, DIM, seed=11))
    index, _ = search_index(large, gallery)
    assert index is not None
    assert index.search(unit_rows(200, DIM, seed=11)[:1], 1) == [[("new", 0.0)]]
    gallery.enroll("newer", unit_rows(200, DIM, seed=12))
    index, notes = search_index(large, gallery)
    assert index is None and "400 came after it was built" in notes[0]
