"""Evaluation in NumPy alone: ranking, verification, open set, clustering. Torch-free; serving reads it too."""

from reid.evaluation.blocks import Distances, distances_between
from reid.evaluation.bootstrap import Interval, PairedDifference, bootstrap_interval, paired_bootstrap
from reid.evaluation.breakdown import camera_breakdown
from reid.evaluation.open_set import (
    OpenSetCurve,
    OpenSetScores,
    calibrate_threshold,
    detection_identification_rate,
    open_set_scores,
    pool_tracklets,
)
from reid.evaluation.policies import POLICIES, person_distances
from reid.evaluation.ranking import RankingReport, rank_distances, rank_gallery
from reid.evaluation.verification import FoldReport, RocCurve, VerificationReport, roc_curve, verify, verify_folds

__all__ = [
    "POLICIES",
    "Distances",
    "FoldReport",
    "Interval",
    "OpenSetCurve",
    "OpenSetScores",
    "PairedDifference",
    "RankingReport",
    "RocCurve",
    "VerificationReport",
    "bootstrap_interval",
    "calibrate_threshold",
    "camera_breakdown",
    "detection_identification_rate",
    "distances_between",
    "open_set_scores",
    "paired_bootstrap",
    "person_distances",
    "pool_tracklets",
    "rank_distances",
    "rank_gallery",
    "roc_curve",
    "verify",
    "verify_folds",
]
