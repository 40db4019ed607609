"""The output folder: names in one place only, a record that reads back as it was written, versions that are
refused.
"""

import ast
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reid.errors import ReidError, UsageError
from serving.job import layout
from serving.job.layout import (
    JobFolder,
    SegmentFolder,
    WorkFolder,
    is_stranger,
    open_job,
    stranger_name,
    stranger_number,
    xywh_columns,
    xyxy_of,
)
from serving.job.record import SCHEMA, DecidedRecord, JobRecord

ROOT = Path(__file__).parents[3]
RECORD = {
    "schema": SCHEMA,
    "job": {
        "cameras": [{"id": "east", "step": 2}],
        "detector": {"name": "motion"},
        "tracker": {"name": "botsort"},
        "top_k": 3,
    },
    "job_key": "k",
    "seen_key": "s",
    "inputs": None,
    "written": ["job.json"],
    "finished": "2026-11-28T12:00:00+00:00",
    "model": {"name": "m", "fingerprint": "f", "backend": "onnxruntime"},
    "gallery": {"version": 7, "identities": ["anna"]},
    "decision": {
        "policy": "min",
        "top_k": 3,
        "ratio_test": 1.0,
        "rescore": False,
        "threshold": 0.5,
        "from": "job",
    },
    "problems": [],
    "notes": ["a \udce9"],
    "counts": {
        "frames": 9,
        "crops_embedded": 2,
        "sightings": 1,
        "named": 1,
        "unknown": 0,
        "detections": 4,
        "cameras": {
            "east": {
                "frames": 9,
                "crops_embedded": 2,
                "sightings": 1,
                "named": 1,
                "unknown": 0,
                "video_start_s": None,
                "fps": 10.0,
            }
        },
    },
    "seconds": {"wall": 12.0, "tables": 0.5},
}


def test_a_record_reads_back_as_it_was_written() -> None:
    assert JobRecord.model_validate(RECORD).as_dict() == RECORD


def test_a_record_without_a_version_is_of_the_first(tmp_path: Path) -> None:
    JobFolder(tmp_path).record.write_text(json.dumps({"decision": {"threshold": 0.25}}))
    assert open_job(tmp_path, DecidedRecord).record.decision.threshold == 0.25


def test_a_record_of_a_later_version_is_refused(tmp_path: Path) -> None:
    JobFolder(tmp_path).record.write_text(json.dumps({"schema": SCHEMA + 1, "decision": {"threshold": 0.25}}))
    with pytest.raises(ReidError, match="of a later version"):
        open_job(tmp_path, DecidedRecord)


def test_a_folder_without_a_record(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"job record .*job\.json does not exist"):
        open_job(tmp_path, DecidedRecord)


def test_boxes_keep_their_places_in_a_table() -> None:
    boxes = np.asarray([[1, 2, 4, 8], [0.5, 0, 10, 3]], np.float32)
    table = pa.table(xywh_columns(boxes))
    assert table["w"].to_pylist() == [3, 9.5]
    np.testing.assert_array_equal(xyxy_of(table, np.float64), boxes)


def properties(cls: type) -> set[str]:
    return {name for name, value in vars(cls).items() if isinstance(value, property)}


def test_no_other_module_spells_a_name_of_the_output_folder() -> None:
    folders = (JobFolder(Path()), SegmentFolder(Path()), WorkFolder(Path()))
    found = [getattr(folder, name) for folder in folders for name in properties(type(folder))]
    names = {(one.path if isinstance(one, WorkFolder) else one).name for one in found} - {"crops"}
    assert {"job.json", "sightings.parquet", "tracklets.parquet", "ledger.json", "kept-segments"} <= names
    own = ROOT / "serving" / "job" / "layout.py"
    for path in (
        path for package in ("serving", "pipelines") for path in (ROOT / package).rglob("*.py") if path != own
    ):
        tree = ast.parse(path.read_text())
        documented = [
            node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        ]
        spoken = {ast.get_docstring(node, clean=False) for node in documented}
        texts = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        # The page's template has the page's name, and lies elsewhere.
        literals = {
            text
            for text in texts - spoken
            if text.rpartition("/")[2] in names and not text.startswith("templates/")
        }
        assert not literals, path


def test_an_output_in_a_store_is_said_to_be_one() -> None:
    for address in ("s3://bucket/found", "sftp://host/found"):
        with pytest.raises(UsageError, match=rf"output {address} is in a store: copy it into a folder here"):
            open_job(Path(address), JobRecord)


def test_names_of_strangers_are_made_and_known_alike_here_and_in_the_page() -> None:
    assert is_stranger(stranger_name(12)) and stranger_number(stranger_name(12)) == 12
    assert not [name for name in ("unknown", "unknown-0", "unknown-1b", "Unknown-1") if is_stranger(name)]
    script = (ROOT / "serving" / "job" / "templates" / "corrections.js").read_text()
    assert f"/^{layout._STRANGER.pattern}$/" in script and "`unknown-${" in script
