"""What the stage ``metric`` left for the stages behind it. Torch-free."""

from pydantic import ValidationError

from pipelines.stage.places import FITTED
from reid.card import MetricRecord
from reid.errors import ReidError
from reid.linear_metric import FITTED_METRIC_NAME, FittedMetric, load_fitted_metric
from reid.text_files import read_object

__all__ = ["RECORD", "read_fitted"]

RECORD = FITTED / "metric.json"


def read_fitted() -> tuple[FittedMetric, MetricRecord] | None:
    """The metric and where it comes from; None where params.yaml names no method.

    Raises:
        ReidError: a file is damaged.
    """
    if not (FITTED / FITTED_METRIC_NAME).exists():
        return None
    record = read_object(RECORD, "fitted metric", record=dict)["record"]
    try:
        return load_fitted_metric(FITTED / FITTED_METRIC_NAME), MetricRecord.model_validate(record)
    except ValidationError as error:
        raise ReidError(f"{RECORD} is not what the stage metric wrote: run `dvc repro -f metric`") from error
