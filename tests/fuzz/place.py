"""A folder with one of everything that commands and stages read, small, all of it valid."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import yaml

from pipelines.model.evaluation import choose_images, run_evaluation
from pipelines.model.evaluation_files import write_results
from reid.card import Threshold
from reid.data.catalog import write_catalog
from reid.files import sha256_of, write_json
from serving.gallery import Gallery, write_key
from serving.job.corrections.document import sightings_digest
from serving.job.layout import JobFolder
from serving.job.run import run_job
from serving.runtime import load
from serving.spec import load_job
from tests.serving.tiny_footage import Walk, person, write_truth, write_walks
from tests.serving.tiny_models import HEIGHT, WIDTH, tiny_model, with_self_test

__all__ = ["PATTERN", "make_place"]

ROOT = Path(__file__).parents[2]
PATTERN = r"^(?P<identity>p\d+)_c(?P<camera>\d)_"
FRAMES, WALKS = 30, [Walk("anna", (40, 120), (5, 0), 1, 30), Walk("bert", (280, 200), (-5, 0), 3, 28)]
UNITS = [(policy, unit) for policy in ("min", "mean", "top_k") for unit in ("image", "tracklet")]


def make_place(folder: Path) -> Path:
    """Fill an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    limits = tuple(
        Threshold(policy=policy, unit=unit, false_accept_rate=0.1, distance=0.4) for policy, unit in UNITS
    )  # type: ignore[arg-type]
    with_self_test(folder / "model", thresholds=limits)
    tiny_model(folder / "model2", card={"fingerprint": "tiny-2"}, thresholds=limits)
    _pictures(folder / "images", rng)
    _catalog(folder)
    embedder = load(folder / "model", "onnxruntime", 1)
    with Gallery.open(folder / "gallery.db", embedder.fingerprint, create=True, who="fuzz") as gallery:
        for name in ("anna", "carl"):
            pictures = [
                np.ascontiguousarray(person(name)[:, :, ::-1]),
                np.ascontiguousarray(person(name)[::-1, :, ::-1]),
            ]
            gallery.enroll(
                name, embedder(pictures), source=[f"images/{name}-{number}.png" for number in range(2)]
            )
        gallery.set_retention(30)
        gallery.export(folder / "export.parquet")
    write_key(folder / "gallery.key")
    write_walks(folder / "walk.avi", WALKS, FRAMES)
    write_truth(folder / "gt.txt", WALKS, FRAMES, {"anna": 1, "bert": 2})
    (folder / "people.txt").write_text("1,anna\n2,bert\n")
    camera = {
        "id": "hall",
        "source": "walk.avi",
        "detections": "gt.txt",
        "start_time": "2026-05-04T10:00:00+00:00",
        "frames": [1, FRAMES],
    }
    job = {
        "cameras": [camera],
        "model": "model",
        "gallery": "gallery.db",
        "backend": "onnxruntime",
        "threads": 1,
        "threshold": 0.4,
    }
    job |= {
        "detector": {"name": "mot"},
        "tracker": {"min_frames": 2},
        "outputs": {"video": False},
        "link": {"max_gap_s": 2.0},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    (folder / "job2.yaml").write_text(yaml.safe_dump(job | {"threshold": 0.3}, sort_keys=False))
    run_job(load_job(folder / "job.yaml"), folder / "found")
    corrections = [
        {"action": "name", "person": "anna", "name": "anne"},
        {"action": "not_a_person", "sightings": ["hall:2"]},
    ]
    rows = JobFolder(folder / "found").read_sightings().to_pylist()
    write_json(
        folder / "corrections.json",
        {"schema": 1, "job": sightings_digest(rows), "corrections": corrections},
    )
    for out in ("judged", "judged2"):
        images = choose_images(folder / "images", PATTERN, None, ["1"], ["2"])
        judged = run_evaluation(
            folder / "model", images, rerank=False, bootstrap=10, seed=0, backend="onnxruntime"
        )
        write_results(judged, folder / out, seed=0)
    _project(folder)
    return folder


def _pictures(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    for person_number in range(4):
        look = rng.integers(40, 200, (HEIGHT, 1, 3))
        for camera in (1, 2):
            image = np.clip(look + rng.normal(0, 12, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(
                str(folder / f"p{person_number}_c{camera}_0.{'png' if camera == 1 else 'jpg'}"), image
            )
    Path(folder / "p4_c1_0.tiff").write_bytes(cv2.imencode(".tiff", image)[1].tobytes())
    Path(folder / "p4_c2_0.webp").write_bytes(cv2.imencode(".webp", image)[1].tobytes())


def _catalog(folder: Path) -> None:
    rows: list[dict[str, object]] = []
    for path in sorted((folder / "images").iterdir()):
        identity, camera, _ = path.stem.split("_")
        row: dict[str, object] = {
            "path": f"images/{path.name}",
            "identity": identity,
            "camera": camera,
            "width": WIDTH,
            "height": HEIGHT,
        }
        rows.append(row | {"split": "query" if camera == "c1" else "gallery", "sha256": sha256_of(path)})
    write_catalog(rows, folder / "catalog.parquet")


def _project(folder: Path) -> None:
    """What the stages read: the catalog in ``data``, the model as ``exported``, parameters for them."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"] |= {
        "source": "folder",
        "root": "images",
        "pattern": PATTERN,
        "validation_share": 0.0,
        "test_share": 0.5,
    }
    params["data"]["policies"] |= dict.fromkeys(("one_camera", "no_match"), "keep")
    params["enroll"] |= {"known_share": 1.0}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "data").mkdir()
    shutil.copytree(folder / "images", folder / "data" / "images")
    shutil.copy(folder / "catalog.parquet", folder / "data" / "catalog.parquet")
    write_json(folder / "data" / "town.json", {})
    shutil.copytree(folder / "model", folder / "exported")
    (folder / "galleries").mkdir()
    for name in ("models/batch_hard", "selected"):
        write_json(
            folder / name / "training.json",
            {"objective": "batch_hard", "mlflow_run_id": "a" * 32, "figures": {"val_mean_ap": 0.5}},
        )
    write_json(folder / "reports" / "selection.json", {"chosen": "batch_hard"})
    _mlflow(folder)


def _mlflow(folder: Path) -> None:
    """A database with one run, made beside: its first use takes long, unless an empty one is there."""
    from mlflow.tracking import MlflowClient

    if empty := os.environ.get("EMPTY_MLFLOW_DB"):
        shutil.copy(empty, folder / "mlflow.db")

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("reid", artifact_location=(folder / "mlruns").as_uri())
    client.set_terminated(client.create_run(experiment, run_name="batch_hard").info.run_id)
