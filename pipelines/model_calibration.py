"""``reid calibrate``: thresholds for any model directory, from pictures of known people. Torch-free."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.calibrate import Strings, certainty, thresholds
from pipelines.console import progress_bar, say, working
from pipelines.pictures import pictures_below
from reid.card import Certainty, ModelCard, Threshold, load_card, save_card
from reid.config import CalibrateParams
from reid.data.catalog import DISTRACTOR, JUNK, natural_order, read_catalog
from reid.errors import ReidError, UsageError
from reid.evaluation import OpenSetCurve, detection_identification_rate, open_set_scores
from reid.evaluation.within_camera import WITHIN_CAMERA, views
from reid.shipped import refuse_shipped

__all__ = [
    "Calibration",
    "People",
    "calibrate_model",
    "choose_people",
    "labelled_people",
    "with_thresholds",
]

_WAY_OUT = "give pictures of more people, or --false-accept-rate {rate} or more"


@dataclass(frozen=True, eq=False)
class People:
    """Pictures of known people: paths, and (N,) who, by which camera, and numbers that rise with time within
    a camera; of a catalog their split too.
    """

    paths: Sequence[Path]
    identities: Strings
    cameras: Strings
    order: npt.NDArray[np.int64]
    split: Strings

    def where(self, mask: npt.NDArray[np.bool_]) -> "People":
        """The pictures where ``mask`` (N,) holds."""
        paths = [path for path, kept in zip(self.paths, mask.tolist(), strict=True) if kept]
        return People(paths, self.identities[mask], self.cameras[mask], self.order[mask], self.split[mask])


@dataclass(frozen=True)
class Calibration:
    """What was measured; ``images`` and ``people`` that it stands on, ``curve`` of single images and the
    policy ``min``.
    """

    thresholds: tuple[Threshold, ...]
    curve: OpenSetCurve
    images: int
    people: int
    unreadable: tuple[str, ...]
    counted: str = "people"  # what ``people`` counts: tracklets, of footage without truth


def choose_people(
    root: Path | None,
    pattern: str | None,
    catalog: Path | None,
    called: Callable[[str], str] = lambda identity: identity,
) -> People:
    """The pictures to calibrate on; junk and distractors, who are nobody in particular, are left out.

    Of a catalog the validation people, where it has any: on people whom a model was trained on distances are
    too small.

    Args:
        root: folder of pictures, or None.
        pattern: of their paths, with the groups identity and camera.
        catalog: instead of a folder.
        called: an identity in a path to the person; several may be one.

    Raises:
        UsageError: neither or both are named, or a folder comes without a pattern.
        ReidError: nobody, or one person alone, is there.
    """
    people = labelled_people(root, pattern, catalog, called=called)
    if (held_out := people.split == "val").any():
        people = people.where(held_out)
        say("calibrating on the catalog's validation people")
    count = len(np.unique(people.identities))
    if count < 2:
        raise ReidError(
            f"the pictures show {count} person: a threshold needs people to tell apart, 20 or more for "
            "a rate of 0.05"
        )
    return people


def labelled_people(
    root: Path | None,
    pattern: str | None,
    catalog: Path | None,
    *splits: str,
    called: Callable[[str], str] = lambda identity: identity,
) -> People:
    """The pictures of a folder or a catalog without junk and distractors; of a catalog those of the named
    splits, or all. ``called``: as of :func:`choose_people`.

    Raises:
        UsageError: neither or both are named, or a folder comes without a pattern.
        ReidError: the catalog has nobody in these splits.
    """
    if (root is None) == (catalog is None) or (root is not None and pattern is None):
        raise UsageError("name the pictures by either --root DIR --pattern RE or --catalog FILE")
    if root is not None and pattern is not None:
        paths, found, cameras = pictures_below(root, pattern)
        identities = np.asarray([called(one) for one in found.tolist()], np.str_)
        people = People(paths, identities, cameras, natural_order(paths), np.full(len(paths), ""))
    else:
        assert catalog is not None
        table = read_catalog(catalog)
        table = table.split(*splits) if splits else table
        if not len(table):
            raise ReidError(
                f"{catalog} has nobody in the splits {' and '.join(splits)}: prepare data with some"
            )
        people = People(table.paths, table.identities, table.cameras, table.order, table.column("split"))
    return people.where(~np.isin(people.identities, (JUNK, DISTRACTOR)))


def calibrate_model(
    model_dir: Path,
    people: People,
    wanted: CalibrateParams,
    *,
    seed: int = 0,
    backend: str = "auto",
    threads: int | None = None,
) -> Calibration:
    """Measure the thresholds of a model and write them into its card, in place of earlier ones for the same
    policy and unit.

    Raises:
        UsageError: the model directory or the backend is missing.
        ReidError: the model fails, or there are too few people to show any rate; the card is as it was then.
    """
    from serving.embedding import embed_files
    from serving.runtime import load

    refuse_shipped(model_dir)
    card = load_card(model_dir)
    with progress_bar("embedding") as progress:
        found = embed_files(
            load(model_dir, backend, threads), people.paths, threads=threads, on_progress=progress
        )
    if not len(found.paths):
        raise ReidError(f"none of the {len(people.paths)} pictures can be read: {found.unreadable[0].reason}")
    with working("calibrating"):
        identities, cameras = people.identities[found.index], people.cameras[found.index]
        ranked = views(identities, cameras, people.order[found.index])
        if ranked.within:
            say(WITHIN_CAMERA)
        rows, who = found.embeddings[ranked.rows], identities[ranked.rows]
        made = thresholds(wanted, seed, rows, who, ranked.cameras, _WAY_OUT)
        scores = open_set_scores(
            rows, who, rows, who, probe_cams=ranked.cameras, reference_cams=ranked.cameras
        )
        curve = detection_identification_rate(scores)
    save_card(with_thresholds(card, made, certainty(rows, who, ranked.cameras)), model_dir)
    reasons = tuple(f"{one.path}: {one.reason}" for one in found.unreadable)
    return Calibration(tuple(made), curve, len(rows), len(np.unique(who)), reasons)


def with_thresholds(card: ModelCard, made: Sequence[Threshold], sure: Certainty | None = None) -> ModelCard:
    """The card with thresholds in place of earlier ones for the same policy and unit, and with a certainty
    where there is a new one.
    """
    new = {(one.policy, one.unit) for one in made}
    kept = tuple(one for one in card.thresholds if (one.policy, one.unit) not in new)
    return card.model_copy(update={"thresholds": (*kept, *made), "certainty": sure or card.certainty})
