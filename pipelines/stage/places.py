"""Where the stages of a project write, below its folder; ``dvc.yaml`` names the same places. No other module
spells one of them.
"""

from pathlib import Path

__all__ = [
    "CALIBRATION",
    "CATALOG",
    "CROPS",
    "DATA",
    "DATA_REPORT",
    "DATA_SUMMARY",
    "EVALUATION",
    "EXPORTED",
    "EXPORT_REPORT",
    "FITTED",
    "FOOTAGE",
    "GALLERY",
    "GALLERY_REPORT",
    "JOB_OUTPUT",
    "MATCH_REPORT",
    "METRICS_NAME",
    "MODELS",
    "PARAMS",
    "PROBLEMS",
    "RESULTS",
    "SELECTED",
    "SELECTION",
    "TOWN",
    "TRAIN_REPORTS",
]

PARAMS = Path("params.yaml")
DATA = Path("data")
CATALOG = DATA / "catalog.parquet"
DATA_REPORT = DATA / "data_report.html"
CROPS = DATA / "crops"
FOOTAGE = DATA / "footage"
PROBLEMS = DATA / "problems.json"
DATA_SUMMARY = DATA / "summary.json"
TOWN = DATA / "town.json"  # of rendered people; empty of others
MODELS = Path("models")  # a folder for each objective and pre-training, see reid.model_files
TRAIN_REPORTS = Path("reports/train")
SELECTED = Path("selected")
SELECTION = Path("reports/selection.json")
FITTED = Path("fitted")
EVALUATION = Path("reports/evaluation")
METRICS_NAME = "metrics.json"  # there, and where `reid evaluate` writes
CALIBRATION = Path("reports/calibration.json")
EXPORTED = Path("exported")
EXPORT_REPORT = Path("reports/export.json")
GALLERY = Path("galleries/gallery.db")
GALLERY_REPORT = Path("reports/gallery.json")
RESULTS = Path("results")
JOB_OUTPUT = RESULTS / "match"
MATCH_REPORT = Path("reports/match.json")
