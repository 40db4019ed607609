"""What batches and losses take from the embeddings of now, made anew between epochs: the class tree, and
triplets mined over the whole training set.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from reid.config import TreeParams
from reid.errors import ReidError
from reid.files import atomic_path
from reid.metric.class_tree import ClassTree
from reid.training.samplers import PK, Mined, SamplerPlan

__all__ = ["PK_BATCHES", "BatchPlan", "Renewal", "some_of_each"]

Rows = npt.NDArray[np.int64]
Embed = Callable[[Rows | None], npt.NDArray[np.float32]]
_Thing = TypeVar("_Thing", ClassTree, Rows)


@dataclass(frozen=True)
class BatchPlan:
    """How batches are drawn; ``tree`` says how the class tree is made, None where nothing needs one."""

    sampler: SamplerPlan
    tree: TreeParams | None = None


PK_BATCHES = BatchPlan(PK())
"""P people with K images each, and no tree."""


class Renewal:
    """Keeps the class tree and the mined triplets until they are due again.

    What is renewed every few epochs is no function of the state at the start of an epoch, which is all that a
    checkpoint holds. So it lies in a file of its own beside the checkpoint, named by the epoch that it was
    made in, for a training that is continued between two renewals.

    Args:
        plan: what is renewed, and how often.
        labels: (N,) of the training images.
        seed: of mining.
        folder: where the files lie; None keeps none.
        writes: whether this process writes them.
    """

    def __init__(
        self, plan: BatchPlan, labels: Rows, seed: int, folder: Path | None = None, writes: bool = True
    ) -> None:
        self.plan = plan
        self.labels = labels
        self.seed = seed
        self.folder = folder
        self.writes = writes
        self.tree: ClassTree | None = None
        self.triplets: Rows | None = None
        few = None if plan.tree is None else plan.tree.images
        self._rows_of_tree = None if few is None else some_of_each(labels, few)

    def begin(self, epoch: int, embed: Embed) -> None:
        """Renew what is due in this epoch; ``embed`` gives the present embeddings (N, D) of these rows, for
        None of all images.
        """
        everything = cache(lambda: embed(None))  # one pass over the images serves both
        mines = isinstance(self.plan.sampler, Mined)
        if (tree := self.plan.tree) is not None:
            rows = None if mines else self._rows_of_tree

            def grown() -> ClassTree:
                features = everything() if rows is None else embed(rows)
                labels = self.labels if rows is None else self.labels[rows]
                return ClassTree.from_embeddings(features, labels, levels=tree.levels)

            self.tree = self._at(epoch, "tree", tree.every, self.tree, grown)
        if isinstance(mined := self.plan.sampler, Mined):
            seed = (self.seed << 20) + epoch

            def drawn() -> Rows:
                return mined.mine(everything(), self.labels, seed)

            self.triplets = self._at(epoch, "mined", mined.every, self.triplets, drawn)

    def forget(self) -> None:
        """Remove the files of a training that has ended."""
        for kind in ("tree", "mined"):
            self._remove(kind)

    def _at(
        self, epoch: int, kind: str, every: int, kept: _Thing | None, make: Callable[[], _Thing]
    ) -> _Thing:
        made_in = epoch - epoch % every
        path = None if self.folder is None or every == 1 else self.folder / f"{kind}-{made_in}.npz"
        if epoch == made_in:
            thing = make()
            if path is not None and self.writes:
                # The checkpoint that lies there is of this epoch's start: nobody asks for an earlier file.
                self._remove(kind)
                _save(thing, path)
            return thing
        if kept is not None:
            return kept
        if path is None or not path.exists():
            raise ReidError(
                f"the training cannot go on between two renewals without {path}: delete its checkpoint to "
                "train from the start"
            )
        return _load(kind, path)  # type: ignore[return-value]  # by its kind

    def _remove(self, kind: str) -> None:
        for path in self.folder.glob(f"{kind}-*.npz") if self.folder is not None and self.writes else ():
            path.unlink(missing_ok=True)


def some_of_each(labels: Rows, count: int) -> Rows:
    """Rows of at most ``count`` images of each label of ``labels`` (N,), spread evenly over its images: those
    of one camera stand together in most sets.
    """
    order = np.argsort(labels, kind="stable")
    own = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    places = (np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64) for rows in own)
    return np.sort(np.concatenate([rows[place] for rows, place in zip(own, places, strict=True)]))


def _save(thing: ClassTree | Rows, path: Path) -> None:
    if isinstance(thing, ClassTree):
        thing.save(path)
        return
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, triplets=thing)


def _load(kind: str, path: Path) -> ClassTree | Rows:
    if kind == "tree":
        return ClassTree.load(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            triplets: Rows = stored["triplets"]
            return triplets
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ReidError(
            f"mined triplets {path} cannot be read ({error}): delete the checkpoint beside them to train "
            "from the start"
        ) from error
