"""Stage ``calibrate``: the distances beyond which a person is 'unknown', from held-out people ->
``reports/calibration.json``.
"""

from pipelines.stage.console import run_stage, say, working
from pipelines.stage.decoded import embed
from pipelines.stage.fitted_metric import read_fitted
from pipelines.stage.places import CALIBRATION, CATALOG, SELECTED
from reid.card import Threshold
from reid.config import load_params
from reid.data.catalog import read_catalog
from reid.errors import ReidError
from reid.evaluation.calibration import certainty, thresholds
from reid.evaluation.within_camera import WITHIN_CAMERA, views
from reid.files import write_json
from reid.model_files import WEIGHTS

WAY_OUT = "raise data.validation_share, or set calibrate.false_accept_rate to {rate} or more"


def main() -> None:
    """Calibrate the selected model on the validation people."""
    from reid.models.embedder import load_model

    params = load_params()
    catalog = read_catalog(CATALOG).split("val")
    if not len(catalog):
        raise ReidError("no validation people to calibrate on: set data.validation_share above 0")
    model, spec = load_model(SELECTED / WEIGHTS)
    (embeddings,) = embed([model], [catalog], spec.height, spec.width)
    if (fitted := read_fitted()) is not None:
        embeddings = fitted[0].apply(embeddings)
    with working("calibrating"):
        ranked = views(catalog.identities, catalog.cameras, catalog.order)
        if ranked.within:
            say(WITHIN_CAMERA)
        try:
            rows = embeddings[ranked.rows], catalog.identities[ranked.rows], ranked.cameras
            found = thresholds(params.calibrate, params.seed, *rows, WAY_OUT, say)
        except ReidError as error:
            raise ReidError(f"{error}; raise data.validation_share") from error
    sure = certainty(*rows)
    value = {"thresholds": [threshold.model_dump() for threshold in found]}
    write_json(CALIBRATION, value | {"certainty": None if sure is None else sure.model_dump()})
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
