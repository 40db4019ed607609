"""The curves of the stage ``evaluate`` as tables for ``dvc plots``."""

import csv
from collections.abc import Iterable
from pathlib import Path

from reid.evaluation.report import ExtraMetrics, RetrievalResult
from reid.files import atomic_path

__all__ = ["write_curves", "write_identification"]


def write_curves(judged: RetrievalResult | None, out: Path) -> None:
    """CMC and at most 500 points of the ROC, as ``dvc plots diff`` reads them; without rows where there is no
    figure.
    """
    cmc: list[tuple[float, float]] = []
    points: list[tuple[float, float]] = []
    if judged is not None:
        cmc = [(at, float(rate)) for at, rate in enumerate(judged.report.cmc, 1)]
        roc = judged.verification.roc
        step = max(1, len(roc.far) // 500)
        points = [(float(far), float(tar)) for far, tar in zip(roc.far[::step], roc.tar[::step], strict=True)]
    _write(out / "cmc.csv", ("rank", "match_rate"), cmc)
    _write(out / "roc.csv", ("false_accept_rate", "true_accept_rate"), points)


def write_identification(extra: ExtraMetrics | None, out: Path) -> None:
    """Identification against false accepts, at most 200 points of each curve, as one table."""
    rows: list[tuple[str, float, float]] = []
    for name, curve in extra.identification.items() if extra else ():
        step = max(1, len(curve.thresholds) // 200)
        points = zip(curve.false_accept_rate[::step], curve.identification_rate[::step], strict=True)
        rows += [(name, float(far), float(rate)) for far, rate in points]
    _write(out / "open_set.csv", ("probe_and_policy", "false_accept_rate", "identification_rate"), rows)


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[float | str, ...]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
