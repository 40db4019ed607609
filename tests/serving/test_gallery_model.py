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

DIM = 8
DAY = 86400.0
names = st.sampled_from(["anna", "bert", "carl", "dora"])


def rows_from(seed: int, count: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class GalleryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "gallery.db"
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
        self.gallery = Gallery.open(self.path, "m", create=False)

    @rule(seed=st.integers(0, 199), k=st.integers(1, 5))
    def search(self, seed: int, k: int) -> None:
        if not self.gallery.index().embeddings.shape[1]:
            return
        query = rows_from(seed, 1)
        nearest = {
            name: min(np.linalg.norm(np.frombuffer(row, "f4").astype(np.float64) - query[0]) for _, row in refs)
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
        assert {one.identity: one.references for one in self.gallery.people()} == {name: len(refs) for name, refs in self.model.items()}
        stored, owners = self.gallery.references()
        ours = sorted((name, row) for name, refs in self.model.items() for _, row in refs)
        assert sorted((str(name), row.tobytes()) for name, row in zip(owners, stored, strict=True)) == ours
        assert self.gallery.version == self.version

    def teardown(self) -> None:
        assert self.gallery.verify().problems == ()
        self.gallery.close()
        self.folder.cleanup()


TestGalleryModel = GalleryMachine.TestCase
TestGalleryModel.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
