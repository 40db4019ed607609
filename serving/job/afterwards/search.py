"""Where else was this person? Sightings of finished jobs, ranked by their distance to a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.card import Certainty, load_card
from reid.embeddings import pool
from reid.errors import ReidError, UsageError
from reid.evaluation.certainty import prior_of
from serving.job.layout import JobFolder, is_called, key_of, name_of, open_job
from serving.job.record import FoundRecord
from serving.job.sightings.embeddings import read_embeddings
from serving.job.sightings.presence import HANDOVER_S

__all__ = [
    "Found",
    "Seen",
    "certainty_of",
    "find",
    "of_name",
    "of_sighting",
    "open_seen",
    "same_model",
    "together",
]

_AHEAD = 4  # sightings after each that are asked whether they are there at the same time
_LEAST_APART, _MOST_APART = 10, 3000  # pairs, over all jobs


@dataclass(frozen=True, eq=False)
class Seen:
    """What a finished job saw: rows of ``sightings.parquet`` and an embedding (N, D) for each.

    ``threshold``: the distance up to which the job gave names; ``model``: the directory it named;
    ``detector``: the file of its detector, where it has one and it is there; ``cameras`` (N,), a number for
    each row's camera, and ``spans`` (N, 2), when it starts and ends in seconds.
    """

    folder: Path
    rows: tuple[dict[str, Any], ...]
    embeddings: npt.NDArray[np.float32]
    fingerprint: str
    threshold: float
    model: Path
    detector: Path | None
    cameras: npt.NDArray[np.int64]
    spans: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """A sighting and how far it lies from the person looked for: 0 to 2, Euclidean."""

    folder: Path
    row: dict[str, Any]
    distance: float
    within: bool  # the threshold
    certainty: float | None  # that it is the person, 0 to 1; None where the model was not calibrated for it

    @property
    def name(self) -> str:
        """How the job named the person: known, or its provisional name."""
        return name_of(self.row)


def open_seen(folder: Path) -> Seen:
    """Read a finished job's sightings with their embeddings.

    Raises:
        UsageError: it is no job's output, or has no embeddings.
        ReidError: a file is damaged, or others may read it.
    """
    job = open_job(folder, FoundRecord)
    files = JobFolder(folder)
    sightings, embeddings, fingerprint = read_embeddings(files.embeddings)
    table = files.read_sightings()
    every = table.to_pylist()
    of = {key_of(row): index for index, row in enumerate(every)}
    if not of.keys() >= set(sightings):  # there may be fewer: some are erased when their time is over
        raise ReidError(f"{files.embeddings} is not of the sightings beside it: run the job again")
    places = np.array([of[key] for key in sightings], np.int64)
    cameras = np.unique(np.asarray(table["camera"].to_pylist(), str), return_inverse=True)[1]
    spans = np.stack([table[which].to_numpy() for which in ("start_s", "end_s")], axis=1)
    record = job.record
    file = record.job.detector.model
    return Seen(
        folder,
        tuple(every[place] for place in places),
        embeddings,
        fingerprint,
        record.decision.threshold,
        Path(record.job.model),
        Path(file) if file is not None and Path(file).is_file() else None,
        cameras[places],
        spans[places],
    )


def certainty_of(jobs: Sequence[Seen], model: Path | None = None) -> Certainty | None:
    """The calibration in the card of the jobs' model, or of ``model``; None where there is none any more.

    It is moved to the footage: sightings of one camera at one time are of two people, and as much as they lie
    nearer together or farther apart than two people of the calibration, so does everybody.
    """
    try:
        card = load_card(model or jobs[0].model)
    except ReidError:
        return None
    sure = card.certainty if card.fingerprint == jobs[0].fingerprint else None
    if sure is None or sure.apart is None:
        return sure
    apart = together(jobs)
    if len(apart) < _LEAST_APART:
        return sure
    middle = float(np.clip(sure.middle + apart.mean() - sure.apart, 0, 2))
    return sure.model_copy(update={"middle": middle})


def together(jobs: Sequence[Seen]) -> npt.NDArray[np.float32]:
    """Distances of sightings that are in one camera at one time, (N,): of those that follow each other
    closely, and of no more than a few thousand over all jobs, evenly chosen.
    """
    pairs = [_pairs_together(job) for job in jobs]
    ends = np.cumsum([len(one) for one in pairs])
    total = int(ends[-1])
    chosen = np.linspace(0, total - 1, min(total, _MOST_APART)).astype(int)
    distances = [np.zeros(0, np.float32)]
    for job, one, end in zip(jobs, pairs, ends.tolist(), strict=True):
        begin = end - len(one)
        mine = one[chosen[(chosen >= begin) & (chosen < end)] - begin]
        between = job.embeddings[mine[:, 0]] - job.embeddings[mine[:, 1]]
        distances.append(np.linalg.norm(between, axis=1).astype(np.float32))
    return np.concatenate(distances)


def _pairs_together(job: Seen) -> npt.NDArray[np.int64]:
    cameras, spans = job.cameras, job.spans
    order = np.lexsort((spans[:, 0], cameras))
    found: list[npt.NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    for ahead in range(1, _AHEAD + 1):
        one, other = order[:-ahead], order[ahead:]
        shared_s = np.minimum(spans[one, 1], spans[other, 1]) - spans[other, 0]
        there = (cameras[one] == cameras[other]) & (shared_s > HANDOVER_S)
        found.append(np.stack([one[there], other[there]], axis=1))
    return np.concatenate(found)


def same_model(jobs: Sequence[Seen]) -> None:
    """Refuse jobs whose embeddings are of different models, which nobody can compare.

    Raises:
        ReidError: they are.
    """
    for job in jobs:
        if job.fingerprint != jobs[0].fingerprint:
            raise ReidError(
                f"{jobs[0].folder} and {job.folder} were embedded by different models: look in them one by "
                "one, or run one job again with the other's model"
            )


def of_sighting(jobs: Sequence[Seen], name: str) -> tuple[npt.NDArray[np.float32], tuple[Path, int]]:
    """A sighting as the person looked for: its embedding (D,), and where it is, so that it is left out.

    Args:
        jobs: looked into.
        name: ``CAMERA-NUMBER``, as the sighting's crop is called, or ``DIR#CAMERA-NUMBER`` where there are
            several jobs.

    Raises:
        UsageError: there is no such sighting, several jobs have one, or its folder is none of the jobs'.
    """
    folder, _, crop = name.rpartition("#")
    if folder and all(job.folder.resolve() != Path(folder).resolve() for job in jobs):
        raise UsageError(f"--sighting {name}: {folder} is not among --in: add --in {folder}")
    places = [
        (job, index)
        for job in jobs
        if not folder or job.folder.resolve() == Path(folder).resolve()
        for index, row in enumerate(job.rows)
        if is_called(row, crop)
    ]
    if len(places) != 1:
        what = "no job has such a sighting" if not places else f"{len(places)} jobs have one"
        raise UsageError(f"--sighting {name}: {what}: name it as in found#{_example(jobs)}")
    ((job, index),) = places
    return job.embeddings[index], (job.folder, index)


def _example(jobs: Sequence[Seen]) -> str:
    return next((Path(row["crop"]).stem for job in jobs for row in job.rows), "entrance-00001")


def of_name(jobs: Sequence[Seen], name: str) -> npt.NDArray[np.float32]:
    """Somebody whom the jobs named: the mean of the sightings' embeddings, (D,).

    Raises:
        UsageError: no job names anybody so, or it is a provisional name that several jobs have given: each
            counts its unknown people for itself.
    """
    rows: list[npt.NDArray[np.float32]] = []
    provisional: list[Path] = []
    for job in jobs:
        named = [index for index, row in enumerate(job.rows) if name in (row["identity"], row["provisional"])]
        rows += list(job.embeddings[named])
        if any(job.rows[index]["provisional"] is not None for index in named):
            provisional.append(job.folder)
    if len(provisional) > 1:
        raise UsageError(
            f"{name} may be one person in {provisional[0]} and another in {provisional[1]}: name a sighting "
            "with --sighting DIR#CAMERA-N"
        )
    if not rows:
        known = sorted({name_of(row) for job in jobs for row in job.rows})
        raise UsageError(
            f"nobody is called {name!r} in {', '.join(str(job.folder) for job in jobs)}: "
            f"there are {', '.join(known[:8]) or 'no sightings'}{', ...' if len(known) > 8 else ''}"
        )
    return pool(np.stack(rows))


def find(
    person: npt.NDArray[np.float32],
    jobs: Sequence[Seen],
    top: int,
    threshold: float | None = None,
    without: tuple[Path, int] | None = None,
    certainty: Certainty | None = None,
) -> list[Found]:
    """The sightings nearest to a person, nearest first.

    Args:
        person: (D,) L2-normalised.
        jobs: looked into, all of the person's model.
        top: how many at most.
        threshold: within which a sighting counts as the person's; None: each job's own.
        without: folder and row of a sighting that is left out.
        certainty: the model's calibration. How many of all sightings are the person's is found from their
            distances, so that among many sightings the same distance is less sure.
    """
    found: list[tuple[float, int, int]] = []
    all_squared: list[npt.NDArray[np.float32]] = []
    for number, job in enumerate(jobs):
        squared = np.maximum(2 - 2 * (job.embeddings @ person), 0)
        if without is not None and without[0] == job.folder:
            squared[without[1]] = np.inf
        all_squared.append(squared)
        some = np.argpartition(squared, top - 1)[:top] if top < len(squared) else np.arange(len(squared))
        nearest = some[np.lexsort((some, squared[some]))]
        found += [
            (float(np.sqrt(squared[row])), number, int(row)) for row in nearest if np.isfinite(squared[row])
        ]
    nearest_first = sorted(found)[:top]
    sure: list[float | None] = [None] * len(nearest_first)
    if certainty is not None and nearest_first:
        every = np.concatenate(all_squared)
        prior = prior_of(certainty, np.sqrt(every[np.isfinite(every)]))
        sure = list(certainty.of([distance for distance, _, _ in nearest_first], prior).tolist())
    return [
        Found(
            jobs[number].folder,
            jobs[number].rows[row],
            distance,
            distance <= (jobs[number].threshold if threshold is None else threshold),
            chance,
        )
        for (distance, number, row), chance in zip(nearest_first, sure, strict=True)
    ]
