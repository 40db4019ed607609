"""Stage ``calibrate``: the distances beyond which a person is 'unknown', from held-out people ->
``reports/calibration.json``.
"""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.console import run_stage, say, working
from pipelines.decoded import embed
from pipelines.fitted import read_fitted
from reid.card import Certainty, Threshold
from reid.config import CalibrateParams, load_params
from reid.data.catalog import read_catalog
from reid.errors import ReidError
from reid.evaluation import OpenSetScores, calibrate_threshold, open_set_scores, pool_tracklets
from reid.evaluation.certainty import tracklet_certainty
from reid.evaluation.within_camera import WITHIN_CAMERA, views
from reid.files import write_json

Strings = npt.NDArray[np.str_]
WAY_OUT = "raise data.validation_share, or set calibrate.false_accept_rate to {rate} or more"


def thresholds(
    wanted: CalibrateParams,
    seed: int,
    embeddings: npt.NDArray[np.float32],
    identities: Strings,
    cameras: Strings,
    way_out: str,
) -> list[Threshold]:
    """One threshold for each policy and unit; references are single images, as a gallery holds them.

    Where the people are too few for the wanted rate of false accepts, for the lowest rate that they can show;
    that is said with the way out, in which ``{rate}`` is that rate.
    """
    # The images of one person in one camera pooled, as serving pools a tracklet.
    pooled, first = pool_tracklets(embeddings, np.char.add(np.char.add(identities, "/"), cameras))
    found = []
    units = {
        "image": (embeddings, identities, cameras),
        "tracklet": (pooled, identities[first], cameras[first]),
    }
    for unit, (probes, probe_ids, probe_cams) in units.items():
        sides = probes, probe_ids, embeddings, identities
        scores = open_set_scores(*sides, probe_cams=probe_cams, reference_cams=cameras)
        rate, people = supported(scores, wanted.false_accept_rate, unit, way_out)
        found += [
            calibrate_threshold(
                *sides,
                probe_cams=probe_cams,
                reference_cams=cameras,
                false_accept_rate=rate,
                placement=wanted.placement,
                policy=policy,
                unit=unit,
                bootstrap=wanted.bootstrap if people > 1 else 0,
                seed=seed,
            )
            for policy in wanted.policies
        ]
    return found


def certainty(embeddings: npt.NDArray[np.float32], identities: Strings, cameras: Strings) -> Certainty | None:
    """How sure a distance between two tracklets is; None where nobody is in two cameras."""
    pooled, first = pool_tracklets(embeddings, np.char.add(np.char.add(identities, "/"), cameras))
    return tracklet_certainty(pooled, identities[first], cameras[first])


def supported(scores: OpenSetScores, wanted: float, unit: str, way_out: str) -> tuple[float, int]:
    """The wanted rate of false accepts, or the lowest that so many probes can show; and how many people the
    probes show.

    Raises:
        ReidError: there is one probe.
    """
    probes = len(scores.impostor)
    people = len(np.unique(scores.impostor_people))
    if probes * wanted >= 1:
        return wanted, people
    more = math.ceil((1 / wanted - probes) * people / probes)  # with as many probes each as these have
    if probes < 2:
        raise ReidError(
            f"one {unit} of a person that meets others is too few for a threshold: some {more} people "
            "more are wanted"
        )
    lowest = math.ceil(1000 / probes) / 1000  # upwards, so that the rate said is one that can be set
    say(
        f"{unit}: {probes} probes of {people} people are too few for a false accept rate of "
        f"{wanted:g}: calibrated for {lowest:g}; "
        f"some {more} people more are wanted: {way_out.format(rate=f'{lowest:g}')}"
    )
    return lowest, people


def main() -> None:
    """Calibrate the selected model on the validation people."""
    from reid.models.embedder import load_model

    params = load_params()
    catalog = read_catalog("data/catalog.parquet").split("val")
    if not len(catalog):
        raise ReidError("no validation people to calibrate on: set data.validation_share above 0")
    model, spec = load_model(Path("selected/model.safetensors"))
    (embeddings,) = embed([model], [catalog], spec.height, spec.width)
    if (fitted := read_fitted()) is not None:
        embeddings = fitted[0].apply(embeddings)
    with working("calibrating"):
        ranked = views(catalog.identities, catalog.cameras, catalog.order)
        if ranked.within:
            say(WITHIN_CAMERA)
        try:
            rows = embeddings[ranked.rows], catalog.identities[ranked.rows], ranked.cameras
            found = thresholds(params.calibrate, params.seed, *rows, WAY_OUT)
        except ReidError as error:
            raise ReidError(f"{error}; raise data.validation_share") from error
    sure = certainty(*rows)
    value = {"thresholds": [threshold.model_dump() for threshold in found]}
    write_json("reports/calibration.json", value | {"certainty": None if sure is None else sure.model_dump()})
    for threshold in found:
        say(in_words(threshold))


def in_words(threshold: Threshold) -> str:
    """A threshold as a line."""
    interval = (
        f" ({threshold.low:.3f} to {threshold.high:.3f})"
        if threshold.low is not None and threshold.high is not None
        else ""
    )
    return f"{threshold.unit}, {threshold.policy}: accept up to {threshold.distance:.3f}{interval}"


if __name__ == "__main__":
    run_stage(main)
