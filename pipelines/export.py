"""Stage ``export``: the selected model as a model directory, ``exported``, checked against torch."""

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pipelines.stage.console import progress_bar, run_stage, say
from pipelines.stage.fitted_metric import read_fitted
from pipelines.stage.places import CALIBRATION, CATALOG, EXPORT_REPORT, EXPORTED, SELECTED
from pipelines.stage.run_log import log_outputs
from reid.card import Certainty, Threshold
from reid.config import ExportParams, load_params
from reid.data.catalog import Catalog, read_catalog
from reid.data.store import load_rows
from reid.files import write_json
from reid.model_files import PAIR_METRIC, RECORD, WEIGHTS
from reid.parity import People
from reid.text_files import read_object

if TYPE_CHECKING:
    from reid.models.embedder import ModelSpec

FACTS = ("objective", "data_hash", "git_commit", "mlflow_run_id")
METRIC = SELECTED / PAIR_METRIC
_One = TypeVar("_One")


def main() -> None:
    """Export, prove parity on crops the model never saw, and build the engines that params.yaml asks for."""
    from reid.export import Limits, export_model
    from reid.models.embedder import load_model

    params = load_params()
    checkpoint = SELECTED / WEIGHTS
    _, spec = load_model(checkpoint)
    catalog = read_catalog(CATALOG)
    held_out, training = catalog.split("gallery"), catalog.split("train")
    compared, seen = (spread(range(len(part)), params.export.parity_images) for part in (held_out, training))
    people = _people_to_rank(catalog.split("val"), params.export.parity_people, spec)
    facts = read_object(SELECTED / RECORD, "training record", objective=str, mlflow_run_id=str)
    calibration = read_object(CALIBRATION, "calibration", thresholds=list)
    sure = calibration.get("certainty")
    fitted = read_fitted()
    names = held_out.paths
    crops = _decoded(held_out, compared, spec, "held-out crops")
    lower = set(params.export.precisions) - {"fp32"}
    shown = _decoded(training, seen, spec, "training crops") if lower else None
    with progress_bar("exporting and checking files") as progress:
        report = export_model(
            checkpoint,
            EXPORTED,
            crops=crops,
            crop_names=[names[row].name for row in compared],
            people=people,
            calibration=shown,
            precisions=params.export.precisions,
            required=params.export.required,
            engines=params.export.engines,
            limits=Limits(
                {str(precision): limit for precision, limit in params.export.parity.items()},
                params.export.parity_int8_lowest,
                params.export.parity_map_fall,
            ),
            thresholds=[Threshold(**value) for value in calibration["thresholds"]],
            certainty=None if sure is None else Certainty(**sure),
            fitted=fitted,
            provenance={"name": f"{spec.backbone}-{facts['objective']}"} | {key: facts[key] for key in FACTS},
            progress=progress,
        )
    _add_pair_metric(fitted is not None)
    write_json(EXPORT_REPORT, report)
    log_outputs(params.tracking, facts["mlflow_run_id"], "exported", (EXPORTED, EXPORT_REPORT), "the files")
    for line in parity_lines(params.export, report):
        say(line)
    say(f"exported: {', '.join(sorted(path.name for path in EXPORTED.iterdir()))}")


def _decoded(part: Catalog, rows: Sequence[int], spec: "ModelSpec", what: str) -> np.ndarray:
    with progress_bar(f"decoding {what}") as progress:
        return load_rows(part, rows, spec.height, spec.width, progress)


def _people_to_rank(validation: Catalog, count: int, spec: "ModelSpec") -> People | None:
    """Of ``count`` people all images, where two cameras have seen any."""
    rows = people_of_two_cameras(validation, count)
    if not len(rows):
        say(
            "no validation person is seen by two cameras: files are held against the trained model by "
            "cosine alone"
        )
        return None
    images = _decoded(validation, rows.tolist(), spec, "validation people")
    return People(images, validation.identities[rows], validation.cameras[rows])


def _add_pair_metric(fitted: bool) -> None:
    if METRIC.exists() and fitted:
        say("the learned pair metric is left out: it was trained on embeddings without the fitted metric")
    elif METRIC.exists():  # serving decides with it among the nearest people
        shutil.copy2(METRIC, EXPORTED / METRIC.name)


def spread(items: Sequence[_One], count: int) -> list[_One]:
    """``count`` of the items, evenly over all; all of them where there are fewer."""
    return [items[index] for index in np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]


def people_of_two_cameras(catalog: Catalog, count: int) -> np.ndarray:
    """Rows (N,) of the first ``count`` people whom more than one camera has seen; empty where there is
    none.
    """
    identities, cameras = catalog.identities, catalog.cameras
    seen = [one for one in np.unique(identities) if len(np.unique(cameras[identities == one])) > 1]
    return np.flatnonzero(np.isin(identities, seen[:count]))


def parity_lines(params: ExportParams, report: dict[str, object]) -> list[str]:
    """A line for each file and runtime."""
    lines = []
    for precision, file in report["files"].items():  # type: ignore[attr-defined]
        kept = f", {len(file['float32_layers'])} layers in float32" if file["float32_layers"] else ""
        if kept and file["float32_share"] is not None:
            kept += f" ({100 * file['float32_share']:.1f} % of the multiply-adds)"
        for runtime, row in file["runtimes"].items():
            ranked = f", rank-1 {row['rank1']:.3f}, mAP {row['mean_ap']:.3f}" if "mean_ap" in row else ""
            limit = f"({file['held_against']} must reach {params.parity[precision]})"
            lines.append(
                f"{file['path']} in {runtime}: cosine lowest {row['lowest']:.5f}, mean "
                f"{row['mean']:.5f} {limit}{ranked}{kept}"
            )
    return lines + [f"{precision} is left out: {reason}" for precision, reason in report["left_out"].items()]  # type: ignore[attr-defined]


if __name__ == "__main__":
    run_stage(main)
