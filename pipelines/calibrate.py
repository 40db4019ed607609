"""Stage ``calibrate``: the distances beyond which a person is 'unknown', from held-out people -> ``reports/calibration.json``."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.console import progress_bar, run_stage, say, working
from reid.card import Threshold
from reid.config import Params, load_params
from reid.data.catalog import read_catalog
from reid.data.store import image_blocks
from reid.errors import ReidError
from reid.evaluation import calibrate_threshold, pool_tracklets
from reid.files import write_json


def thresholds(
    params: Params, embeddings: npt.NDArray[np.float32], identities: npt.NDArray[np.str_], cameras: npt.NDArray[np.str_]
) -> list[Threshold]:
    """One threshold for each policy and unit; references are single images, as a gallery holds them."""
    wanted = params.calibrate
    # The images of one person in one camera pooled, as serving pools a tracklet.
    pooled, first = pool_tracklets(embeddings, np.char.add(np.char.add(identities, "/"), cameras))
    found = []
    units = {"image": (embeddings, identities, cameras), "tracklet": (pooled, identities[first], cameras[first])}
    for unit, (probes, probe_ids, probe_cams) in units.items():
        found += [
            calibrate_threshold(
                probes,
                probe_ids,
                embeddings,
                identities,
                probe_cams=probe_cams,
                reference_cams=cameras,
                false_accept_rate=wanted.false_accept_rate,
                placement=wanted.placement,
                policy=policy,
                unit=unit,
                bootstrap=wanted.bootstrap,
                seed=params.seed,
            )
            for policy in wanted.policies
        ]
    return found


def main() -> None:
    """Calibrate the selected model on the validation people."""
    from reid.models.embedder import load_model
    from reid.models.inference import embed_blocks

    params = load_params()
    catalog = read_catalog("data/catalog.parquet").split("val")
    if not len(catalog):
        raise ReidError("no validation people to calibrate on: set data.validation_share above 0")
    model, spec = load_model(Path("selected/model.safetensors"))
    with progress_bar("embedding") as progress:
        (embeddings,) = embed_blocks([model], image_blocks(catalog.paths, spec.height, spec.width, progress), len(catalog))
    with working("calibrating"):
        found = thresholds(params, embeddings, catalog.identities, catalog.cameras)
    write_json("reports/calibration.json", {"thresholds": [threshold.model_dump() for threshold in found]})
    for threshold in found:
        interval = f" ({threshold.low:.3f} to {threshold.high:.3f})" if threshold.low is not None and threshold.high is not None else ""
        say(f"{threshold.unit}, {threshold.policy}: accept up to {threshold.distance:.3f}{interval}")


if __name__ == "__main__":
    run_stage(main)
