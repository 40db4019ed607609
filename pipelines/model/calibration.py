"""``reid calibrate``: thresholds for any model directory, from pictures of known people. Torch-free."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.stage.console import progress_bar, say, working
from reid.card import Threshold, load_card, save_card
from reid.config import CalibrateParams
from reid.data.labelled import People
from reid.errors import ReidError
from reid.evaluation import OpenSetCurve, detection_identification_rate, open_set_scores
from reid.evaluation.calibration import certainty, thresholds, with_thresholds
from reid.evaluation.within_camera import WITHIN_CAMERA, views

__all__ = ["Calibration", "calibrate_model"]

_WAY_OUT = "give pictures of more people, or --false-accept-rate {rate} or more"


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
        made = thresholds(wanted, seed, rows, who, ranked.cameras, _WAY_OUT, say)
        scores = open_set_scores(
            rows, who, rows, who, probe_cams=ranked.cameras, reference_cams=ranked.cameras
        )
        curve = detection_identification_rate(scores)
    save_card(with_thresholds(card, made, certainty(rows, who, ranked.cameras)), model_dir)
    reasons = tuple(f"{one.path}: {one.reason}" for one in found.unreadable)
    return Calibration(tuple(made), curve, len(rows), len(np.unique(who)), reasons)
