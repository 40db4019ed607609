"""Person re-identification: data, objectives, training, evaluation, export. ``import reid`` alone loads no
torch, Ray or MLflow.
"""

import os
import sys
from pathlib import Path

__version__ = "0.1.0"

# Nothing about a program that records people is sent or queued, and of MLflow only warnings and errors are
# shown. The libraries read these when they are imported: later is too late.
for _switch, _value in (
    ("ORT_DISABLE_TELEMETRY", "1"),
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("MLFLOW_LOGGING_LEVEL", "WARNING"),
    ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
    ("RAY_USAGE_STATS_ENABLED", "0"),
):
    os.environ.setdefault(_switch, _value)

# GNU OpenMP, which torch and scikit-learn share out a processor's work with, lets a thread that is done spin
# 300,000 times before it sleeps. Where another process wants the core, the thread that all wait for does not
# get it meanwhile: a training step took twice as long beside three busy processes, eight times beside three
# trainings. 5,000 times bridge the gaps between two operations just as well (benchmarks/beside_others.py).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

# This distribution is named reid-pipeline. Of two that share an import name, the one installed last
# overwrites files of the other, and half of each would fail later and elsewhere.
_found = next(
    (
        one
        for folder in sys.path
        for kind in ("dist", "egg")
        for one in Path(folder).glob(f"reid-*.{kind}-info")
    ),
    None,
)
if _found is not None:
    raise ImportError(
        f"another package named reid is installed ({_found}) and shares this one's import name: give "
        "each an environment of its own, "
        "or run `pip uninstall reid` and install reid-pipeline again"
    )
