"""``reid metric fit``: a metric fitted to what a model directory embeds, and a new model directory with it
inside. Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.model.calibration import calibrate_model
from pipelines.model.folded import Held, write_folded
from pipelines.stage.console import progress_bar, say, working
from reid.card import ModelCard, load_card, refuse_foreign
from reid.config import CalibrateParams, MetricParams
from reid.data.catalog import hash_of
from reid.data.labelled import People, labelled_people
from reid.errors import ReidError, UsageError
from reid.files import atomic_directory, sha256_of
from reid.linear_metric.judgement import Labelled, check_wanted, fit_and_judge

__all__ = ["Groups", "choose_groups", "fit_to_model", "unfitted_card"]

_HELD_PICTURES = 256  # at most, on which every file is held against the metric


@dataclass(frozen=True, eq=False)
class Groups:
    """The people to fit to, and others to judge and to calibrate on."""

    training: People
    held_out: People


def choose_groups(
    root: Path | None, pattern: str | None, catalog: Path | None, share: float, seed: int
) -> Groups:
    """Who is fitted to and who is held out.

    Of a catalog the training and the validation people; nobody of query and gallery. Where there is no
    validation person, and of a folder, a share of the people is drawn.

    Raises:
        UsageError: neither or both are named, or a folder comes without a pattern.
        ReidError: there are fewer than four people, or no training people.
    """
    people = labelled_people(root, pattern, catalog, "train", "val", say=say)
    held_out = people.split == "val"
    names = np.unique(people.identities[~held_out])
    if len(names) < 4:
        raise ReidError(
            f"{root or catalog} has {len(names)} people with pictures to fit to: a metric wants some hundred "
            "people, and four at least: name more"
        )
    if not held_out.any():
        count = max(2, round(share * len(names)))
        drawn = np.random.default_rng(seed).permutation(names)[:count]
        held_out = np.isin(people.identities, drawn)
        say(f"{count:,} of {len(names):,} people are held out, to judge and to calibrate on (--held-out)")
    left = len(np.unique(people.identities[~held_out]))
    if left < 2:
        raise ReidError(
            f"too few people are left to fit to ({left}): lower --held-out, or name more; a metric wants "
            "some hundred people, and four at least"
        )
    return Groups(people.where(~held_out), people.where(held_out))


def unfitted_card(model_dir: Path, out: Path) -> ModelCard:
    """The card of a model that a metric can be fitted to, with the result in ``out``.

    Raises:
        UsageError: the model directory is missing, or ``out`` is the model itself or no model directory.
        ReidError: the model has a metric already.
    """
    card = load_card(model_dir)
    if card.fitted_metric is not None:
        raise ReidError(
            f"{model_dir} has a fitted metric already ({card.fitted_metric.method}): fit to the model that "
            f"it was fitted to, fingerprint {card.fitted_metric.fitted_to}"
        )
    if out.resolve() == model_dir.resolve():
        raise UsageError(f"--out {out} is the model itself: name a new folder")
    refuse_foreign(out)
    return card


def fit_to_model(
    card: ModelCard,
    model_dir: Path,
    out: Path,
    groups: Groups,
    wanted: MetricParams,
    calibration: CalibrateParams,
    *,
    seed: int = 0,
    backend: str = "auto",
    threads: int | None = None,
) -> tuple[ModelCard, tuple[str, ...]]:
    """Fit, fold, check and calibrate; ``out`` is written whole or not at all. ``card`` is what
    :func:`unfitted_card` says of the two.

    Returns:
        The new card, and the pictures that could not be read.

    Raises:
        UsageError: the backend is missing, or the dimension is none that this embedding can have.
        ReidError: the model fails, the people are too few, or a file strays.
    """
    from serving.runtime import load

    people = groups.training
    check_wanted(wanted, card.dim, people.identities, people.cameras)  # embedding them can take an hour
    embedder = load(model_dir, backend, threads)
    if embedder.chosen:
        say(embedder.chosen)
    unreadable: list[str] = []

    def embedded(people: People, what: str) -> tuple[Labelled, People]:
        from serving.embedding import embed_files

        with progress_bar(f"embedding {what}") as progress:
            found = embed_files(embedder, people.paths, threads=threads, on_progress=progress)
        unreadable.extend(f"{one.path}: {one.reason}" for one in found.unreadable)
        if not len(found.paths):
            raise ReidError(f"none of the {len(people.paths)} pictures of {what} can be read")
        read = people.where(np.isin(np.arange(len(people.paths)), found.index))
        return Labelled(found.embeddings, read.identities, read.cameras, read.order), read

    training, read = embedded(groups.training, "people to fit to")
    held_out, others = embedded(groups.held_out, "held-out people")
    with working(f"fitting {wanted.method}"):
        metric, record = fit_and_judge(
            training,
            held_out,
            wanted,
            seed=seed,
            fitted_to=card.fingerprint,
            data_hash=_hash((read, others)),
            say=say,
        )
    few = _whole_people(held_out.identities, _HELD_PICTURES)
    held = Held(
        [others.paths[row] for row in few.tolist()],
        metric.apply(held_out.embeddings[few]),
        held_out.identities[few],
        held_out.cameras[few],
    )
    with atomic_directory(out) as folder:
        write_folded(card, model_dir, folder, metric, record, held, embedder, threads)
        calibrate_model(folder, others, calibration, seed=seed, backend=embedder.backend, threads=threads)
        return load_card(folder), tuple(unreadable)


def _whole_people(identities: npt.NDArray[np.str_], most: int) -> npt.NDArray[np.int64]:
    """Rows of the first people whose pictures together are not many more than ``most``."""
    names, first, counts = np.unique(identities, return_index=True, return_counts=True)
    order = np.argsort(first)
    before = np.cumsum(counts[order]) - counts[order]
    return np.flatnonzero(np.isin(identities, names[order][before < most]))


def _hash(groups: Sequence[People]) -> str:
    """Of the content and the labels of all pictures: the same data elsewhere has the same hash."""
    rows = [
        (sha256_of(path), str(identity), str(camera))
        for people in groups
        for path, identity, camera in zip(people.paths, people.identities, people.cameras, strict=True)
    ]
    return hash_of(rows)
