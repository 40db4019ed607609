"""Who somebody is: identification with a calibrated threshold, pairs, and re-ranking by the learned
metric.
"""

from serving.matching.identification import (
    Match,
    PairMatch,
    calibrated_threshold,
    decide,
    drop_near_ties,
    identify,
    verify_pair,
)
from serving.matching.rescoring import PAIR_METRIC, identify_rescored, open_pair_scorer

__all__ = [
    "PAIR_METRIC",
    "Match",
    "PairMatch",
    "calibrated_threshold",
    "decide",
    "drop_near_ties",
    "identify",
    "identify_rescored",
    "open_pair_scorer",
    "verify_pair",
]
