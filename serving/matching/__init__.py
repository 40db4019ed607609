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
from serving.matching.rescoring import identify_rescored, open_pair_scorer

__all__ = [
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
