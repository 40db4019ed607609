"""What the export stage holds its files against."""

from pathlib import Path

import numpy as np

from pipelines.export import parity_lines, people_of_two_cameras, spread
from reid.config import load_params
from reid.data.catalog import read_catalog, write_catalog


def test_paths_are_spread_evenly_and_never_repeated() -> None:
    paths = [Path(str(number)) for number in range(100)]
    assert [path.name for path in spread(paths, 4)] == ["0", "33", "66", "99"]
    assert spread(paths[:3], 8) == paths[:3]
    assert spread([], 8) == []


def test_people_seen_by_one_camera_are_not_ranked(tmp_path: Path) -> None:
    rows = [
        {
            "path": f"{row}.png",
            "identity": who,
            "camera": camera,
            "split": "val",
            "width": 8,
            "height": 16,
            "sha256": f"{row:064}",
        }
        for row, (who, camera) in enumerate(
            [("a", "1"), ("b", "1"), ("b", "2"), ("c", "1"), ("c", "1"), ("d", "2"), ("d", "1"), ("b", "1")]
        )
    ]
    write_catalog(rows, tmp_path / "catalog.parquet")
    catalog = read_catalog(tmp_path / "catalog.parquet")
    assert set(catalog.identities[people_of_two_cameras(catalog, 40)].tolist()) == {"b", "d"}
    assert set(catalog.identities[people_of_two_cameras(catalog, 1)].tolist()) == {"b"}
    assert len(people_of_two_cameras(catalog, 40)) == 5
    assert people_of_two_cameras(catalog.split("train"), 40).dtype == np.int64
    assert len(people_of_two_cameras(catalog.split("train"), 40)) == 0


def test_every_file_and_runtime_has_its_line() -> None:
    runtime = {"lowest": 0.99912, "mean": 0.9999, "rank1": 0.5, "mean_ap": 0.25}
    file = {
        "path": "model.int8.onnx",
        "held_against": "mean",
        "float32_layers": ["a", "b"],
        "runtimes": {"openvino": runtime},
    }
    params = load_params(Path(__file__).parents[2] / "params.yaml").export
    report = {
        "files": {"int8": file | {"float32_share": 0.071}},
        "left_out": {"fp16": "model.fp16.onnx in openvino strays"},
    }
    line, left_out = parity_lines(params, report)
    assert left_out == "fp16 is left out: model.fp16.onnx in openvino strays"
    assert line == (
        "model.int8.onnx in openvino: cosine lowest 0.99912, mean 0.99990 (mean must reach 0.99), "
        "rank-1 0.500, mAP 0.250, "
        "2 layers in float32 (7.1 % of the multiply-adds)"
    )
