"""The stage ``metric``, and what calibrate, export and the lineage make of what it leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipelines import calibrate, evaluate, export, fit_metric
from pipelines.pages.evaluation import objectives_section
from pipelines.stage.decoded import decode
from pipelines.stage.fitted_metric import read_fitted
from reid.card import fitted_fingerprint, load_card
from reid.config import load_params
from reid.data import store
from reid.data.catalog import read_catalog, write_catalog
from reid.data.store import load_images
from reid.errors import ReidError, UsageError
from reid.files import write_json
from reid.models.embedder import ModelSpec, build_model, load_model, save_model
from reid.models.inference import embed_images
from serving.runtime import check_files, load
from tests.reid.export.conftest import settled, smooth_crops
from tests.reid.training.conftest import PARAMS


@pytest.fixture
def project(folder: Path, tiny_catalog: Path) -> Path:
    """A folder as ``select`` leaves it: nine people, the last of them in the gallery, and a small network."""
    shutil.copytree(tiny_catalog.parent, folder / "data")
    rows = read_catalog(folder / "data/catalog.parquet").table.to_pylist()
    for row in rows:
        row["split"] = "gallery" if row["identity"] == "p8" else row["split"]
    write_catalog(rows, folder / "data/catalog.parquet")
    spec = ModelSpec(backbone="resnet18", weights="none", height=32, width=16, embedding_dim=32)
    model = settled(build_model(spec), smooth_crops(16, 32, 16, seed=2))
    save_model(model, spec, folder / "selected/model.safetensors")
    (folder / "selected/pair_metric.safetensors").write_bytes(b"g")
    facts = {"objective": "batch_hard", "data_hash": "", "git_commit": "", "mlflow_run_id": "run"}
    write_json(folder / "selected/training.json", facts)
    return folder


def say_what(folder: Path, **metric: Any) -> None:
    value = yaml.safe_load(PARAMS.read_text())
    value["model"] |= {"height": 32, "width": 16}
    value["metric"] |= metric
    value["calibrate"] |= {"bootstrap": 10, "false_accept_rate": 0.5}
    value["export"] |= {"precisions": ["fp32"], "engines": None}
    value["tracking"] |= {"uri": f"sqlite:///{folder}/mlflow.db", "records": str(folder / "records")}
    (folder / "params.yaml").write_text(yaml.safe_dump(value))


def test_without_a_method_nothing_is_fitted(project: Path) -> None:
    say_what(project)
    fit_metric.main()
    assert json.loads((project / "fitted/metric.json").read_text()) == {"record": None}
    assert read_fitted() is None


def test_calibrate_and_export_take_the_metric_along(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say_what(project, method="xqda", shrinkage=0.5, dim=4)
    fit_metric.main()
    found = read_fitted()
    assert found is not None
    metric, record = found
    assert (metric.dim, record.people, record.images, record.held_out_people) == (4, 6, 24, 2)
    calibrate.main()
    monkeypatch.setattr(export, "log_outputs", lambda *_: None)
    export.main()
    assert "the learned pair metric is left out" in capsys.readouterr().err.replace("\n", " ")
    assert not (project / "exported/pair_metric.safetensors").exists()
    model, _ = load_model(project / "selected/model.safetensors")
    people = read_catalog(project / "data/catalog.parquet")
    images = load_images(people.paths, 32, 16)
    wanted = metric.apply(embed_images(model, images))
    card = load_card(project / "exported")
    assert (card.dim, card.fitted_metric) == (4, record)
    assert card.fingerprint == fitted_fingerprint(record.fitted_to, metric.to_bytes())
    np.testing.assert_allclose(load(project / "exported", "onnxruntime")(images), wanted, atol=1e-4)
    assert {row["verdict"] for row in check_files(card, project / "exported")} <= {
        "holds",
        "not run: this machine lacks it",
    }
    # The thresholds are of the new distances: those without the metric are others.
    distances = [one.distance for one in card.thresholds]
    shutil.rmtree(project / "fitted")
    calibrate.main()
    plain = json.loads((project / "reports/calibration.json").read_text())["thresholds"]
    assert [one["distance"] for one in plain] != distances


def test_no_stage_decodes_what_another_has_decoded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say_what(project, method="xqda", shrinkage=0.5, dim=4)
    everybody = read_catalog(project / "data/catalog.parquet")
    parts = [everybody.split(name) for name in ("train", "val", "gallery")]
    model, spec = load_model(project / "selected/model.safetensors")
    plain = [embed_images(model, load_images(part.paths, spec.height, spec.width)) for part in parts]
    decode(parts, spec.height, spec.width)  # as trainings and an evaluation before have done

    def again(path: Path) -> None:
        raise AssertionError(f"{path} is decoded a second time")

    monkeypatch.setattr(store, "read_image", again)
    monkeypatch.setattr(export, "log_outputs", lambda *_: None)
    fit_metric.main()
    calibrate.main()
    export.main()
    params = load_params()
    (query, gallery) = evaluate.embed_sides(params, (parts[1], parts[2]), {"mine": model})["mine"]
    assert np.array_equal(query.embeddings, plain[1])
    assert np.array_equal(gallery.embeddings, plain[2])


def test_what_cannot_be_fitted_is_refused_before_anybody_is_embedded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embedded(*_: object) -> None:
        raise AssertionError("pictures are embedded for a metric that cannot be")

    monkeypatch.setattr(fit_metric, "embed", embedded)
    say_what(project, method="xqda", dim=33)
    with pytest.raises(UsageError, match="dim is 33: want 1 to 32, the numbers of the embedding"):
        fit_metric.main()
    say_what(project, method="xqda", dim=30, kernel="nystroem", landmarks=29)
    with pytest.raises(UsageError, match="dim is 30: want 1 to 24, the features of the kernel"):
        fit_metric.main()


def test_a_damaged_record_names_the_stage(project: Path) -> None:
    say_what(project, method="kissme", shrinkage=0.5)
    fit_metric.main()
    write_json(project / "fitted/metric.json", {"record": {"method": "kissme"}})
    with pytest.raises(ReidError, match="run `dvc repro -f metric`"):
        read_fitted()


def test_the_page_shows_the_chosen_objective_with_its_metric() -> None:
    figures = {"rank1": 0.5, "rank5": 0.5, "mean_ap": 0.25, "mean_inp": 0.1}
    metrics = {"untrained": figures, "objectives": {"mine": figures}, "chosen": "mine"}
    fitted = {"fitted_metric": {"method": "xqda", **figures, "mean_ap": 0.75}}
    table = objectives_section(metrics | fitted).table
    assert table is not None
    assert [row[0] for row in table.rows] == ["untrained", "mine", "mine with xqda"]
    assert table.rows[-1][3] == "75.0 %"
    plain = objectives_section(metrics).table
    assert plain is not None and len(plain.rows) == 2
