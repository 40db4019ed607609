"""Random sequences of operations on a gallery and on a plain dictionary give the same answers."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reid.errors import ReidError
from serving.gallery import Gallery
from serving.gallery.models import add_embeddings, forget_model, pending, stage_model, switch_model
from serving.gallery.transfer import import_references

DIM = 8
DAY = 86400.0
names = st.sampled_from(["anna", "bert", "carl", "dora"])


def rows_from(seed: int, count: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rolled(row: bytes, steps: int) -> bytes:
    return np.roll(np.frombuffer(row, "f4"), steps).tobytes()


def content_of(gallery: Gallery) -> list[tuple[str, bytes]]:
    stored, owners = gallery.references()
    return sorted((str(name), row.tobytes()) for name, row in zip(owners, stored, strict=True))


class GalleryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "gallery.db"
        self.fingerprint = "m"
        self.gallery = Gallery.open(self.path, "m", create=True)
        self.model: dict[str, list[tuple[float, bytes]]] = {}  # name -> (day taken, embedding)
        self.version = 0
        self.retention: int | None = None

    @rule(name=names, seed=st.integers(0, 99), count=st.integers(1, 4), day=st.integers(0, 20))
    def enroll(self, name: str, seed: int, count: int, day: int) -> None:
        rows = rows_from(seed, count)
        self.version += 1
        assert self.gallery.enroll(name, rows, time=day * DAY) == self.version
        self.model.setdefault(name, []).extend((day, row.tobytes()) for row in rows)

    @rule(name=names)
    def remove(self, name: str) -> None:
        if name not in self.model:
            with pytest.raises(ReidError):
                self.gallery.remove(name)
            return
        assert self.gallery.remove(name).removed == {name: len(self.model.pop(name))}
        self.version += 1

    @rule(name=names, other=names)
    def rename(self, name: str, other: str) -> None:
        if name not in self.model or other in self.model:
            with pytest.raises(ReidError):
                self.gallery.rename(name, other)
            return
        self.gallery.rename(name, other)
        self.model[other] = self.model.pop(name)
        self.version += 1

    @rule(name=names, other=names)
    def merge(self, name: str, other: str) -> None:
        if name == other or name not in self.model or other not in self.model:
            with pytest.raises(ReidError):
                self.gallery.merge(name, other)
            return
        self.gallery.merge(name, other)
        self.model[other] += self.model.pop(name)
        self.version += 1

    @rule(name=names, other=names, chosen=st.sets(st.integers(0, 5), min_size=1, max_size=3))
    def split(self, name: str, other: str, chosen: set[int]) -> None:
        there = [one.id for one in self.gallery.show(name)] if name in self.model else []
        ids = [there[position] for position in sorted(chosen) if position < len(there)]
        if not ids or len(ids) == len(there) or other in self.model:
            with pytest.raises(ReidError):
                self.gallery.split(name, ids, other)
            return
        self.gallery.split(name, ids, other)
        index = self.gallery.index()
        moved = [
            (one.taken_at / DAY, index.embeddings[np.searchsorted(index.ids, one.id)].tobytes())
            for one in self.gallery.show(other)
        ]
        for ref in moved:
            self.model[name].remove(ref)
        self.model[other] = moved
        self.version += 1

    @rule(forget=st.booleans())
    @precondition(lambda self: self.model)
    def change_model(self, forget: bool) -> None:
        """The other model's embeddings are the old ones rolled on by one."""
        old, new = self.fingerprint, "n" if self.fingerprint == "m" else "m"
        before, index = self.gallery.version, self.gallery.index()
        stage_model(self.gallery, new, DIM)
        todo = [key for key, _ in pending(self.gallery, new)]
        rows = np.roll(index.embeddings, 1, axis=1)[np.searchsorted(index.ids, todo)]
        # Those embedded by this model before keep what it gave them then: the same, rolled there and back.
        if todo:
            assert add_embeddings(
                self.gallery, new, todo, rows if new == "n" else np.roll(rows, -2, axis=1)
            ) == len(todo)
        switch_model(self.gallery, new)
        if forget:
            assert forget_model(self.gallery, old)
        self.fingerprint = new
        self.reopen()
        steps = 1 if new == "n" else -1
        self.model = {
            name: [(day, rolled(row, steps)) for day, row in refs] for name, refs in self.model.items()
        }
        assert self.gallery.version > before
        self.version = self.gallery.version

    @rule()
    @precondition(lambda self: self.model)
    def move(self) -> None:
        """Everything survives the way through an export into a new file."""
        exported = self.path.with_name("all.parquet")
        count = self.gallery.export(exported)
        with Gallery.open(self.path.with_name("copy.db"), None) as copy:
            assert import_references(copy, exported) == (len(content_of(copy)), count - len(content_of(copy)))
            assert set(content_of(copy)) == set(content_of(self.gallery))
        copy.path.unlink()

    @rule(days=st.none() | st.integers(1, 15))
    def retain(self, days: int | None) -> None:
        self.gallery.set_retention(days)
        self.retention = days
        self.version += 1

    @rule(day=st.integers(0, 30))
    def expire(self, day: int) -> None:
        limit = -1 if self.retention is None else day - self.retention
        gone = {name: sum(taken < limit for taken, _ in refs) for name, refs in self.model.items()}
        gone = {name: count for name, count in gone.items() if count}
        assert self.gallery.expire(day * DAY).removed == gone
        self.model = {name: [ref for ref in refs if ref[0] >= limit] for name, refs in self.model.items()}
        self.model = {name: refs for name, refs in self.model.items() if refs}
        self.version += bool(gone)

    @rule(bad=st.sampled_from([np.ones((1, DIM)), np.full((1, DIM), np.nan), np.eye(DIM + 1)]))
    @precondition(lambda self: self.version > 0)
    def refuse(self, bad: np.ndarray) -> None:
        if bad.shape[1] == DIM or self.gallery.index().embeddings.shape[1]:
            with pytest.raises(ReidError):
                self.gallery.enroll("eve", bad)

    @rule()
    def reopen(self) -> None:
        self.gallery.close()
        self.gallery = Gallery.open(self.path, self.fingerprint, create=False)

    @rule(seed=st.integers(0, 199), k=st.integers(1, 5))
    def search(self, seed: int, k: int) -> None:
        if not self.gallery.index().embeddings.shape[1]:
            return
        query = rows_from(seed, 1)
        nearest = {
            name: min(
                np.linalg.norm(np.frombuffer(row, "f4").astype(np.float64) - query[0]) for _, row in refs
            )
            for name, refs in self.model.items()
        }
        found = self.gallery.search(query, k)[0]
        assert len(found) == min(k, len(self.model))
        for (name, distance), wanted in zip(found, sorted(nearest.values()), strict=False):
            assert distance == pytest.approx(wanted, abs=1e-5)
            assert nearest[name] == pytest.approx(wanted, abs=1e-5)  # two people may share one embedding
        assert len({name for name, _ in found}) == len(found)

    @invariant()
    def same_content(self) -> None:
        assert {one.identity: one.references for one in self.gallery.people()} == {
            name: len(refs) for name, refs in self.model.items()
        }
        assert content_of(self.gallery) == sorted(
            (name, row) for name, refs in self.model.items() for _, row in refs
        )
        assert self.gallery.version == self.version

    def teardown(self) -> None:
        assert self.gallery.verify().problems == ()
        self.gallery.close()
        self.folder.cleanup()


TestGalleryModel = GalleryMachine.TestCase
TestGalleryModel.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
