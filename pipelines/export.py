"""Stage ``export``: the selected model as a model directory, ``exported``, checked against torch."""

from pathlib import Path

import numpy as np

from pipelines.console import progress_bar, run_stage, say
from reid.card import Threshold
from reid.config import load_params
from reid.data.catalog import read_catalog
from reid.data.store import load_images
from reid.files import read_json, write_json

FACTS = ("objective", "data_hash", "git_commit", "mlflow_run_id")


def main() -> None:
    """Export, prove parity on crops the model never saw, and build the engines that params.yaml asks for."""
    from reid.export import export_model
    from reid.models.embedder import load_model

    params = load_params()
    checkpoint = Path("selected/model.safetensors")
    _, spec = load_model(checkpoint)
    catalog = read_catalog("data/catalog.parquet")

    def sample(split: str) -> np.ndarray:
        paths = catalog.split(split).paths
        chosen = np.linspace(0, len(paths) - 1, min(params.export.parity_images, len(paths))).astype(int)
        with progress_bar(f"decoding {split} images") as progress:
            return load_images([paths[index] for index in chosen], spec.height, spec.width, progress=progress)

    facts = read_json("selected/training.json", "training record")
    thresholds = [Threshold(**value) for value in read_json("reports/calibration.json", "calibration")["thresholds"]]
    report = export_model(
        checkpoint,
        Path("exported"),
        crops=sample("gallery"),
        calibration=sample("train") if "int8" in params.export.precisions else None,
        precisions=params.export.precisions,
        engines=params.export.engines,
        limits={str(precision): limit for precision, limit in params.export.parity.items()},
        thresholds=thresholds,
        provenance={"name": f"{spec.backbone}-{facts['objective']}"} | {key: facts[key] for key in FACTS},
    )
    write_json("reports/export.json", report)
    say(f"exported: {', '.join(sorted(path.name for path in Path('exported').iterdir()))}")


if __name__ == "__main__":
    run_stage(main)
