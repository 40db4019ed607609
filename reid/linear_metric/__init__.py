"""Mahalanobis metrics on embeddings that stay as they are: KISSME, XQDA and LMNN, linear or on a kernel's
feature map. NumPy and SciPy, no torch.
"""

from reid.linear_metric.fitted import FITTED_METRIC_NAME, FittedMetric, load_fitted_metric
from reid.linear_metric.fitting import METHODS, Fit, check_fit, fit_metric

__all__ = [
    "FITTED_METRIC_NAME",
    "METHODS",
    "Fit",
    "FittedMetric",
    "check_fit",
    "fit_metric",
    "load_fitted_metric",
]
