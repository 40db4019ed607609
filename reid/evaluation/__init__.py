"""Evaluation in NumPy alone: ranking, verification, open set, clustering. Torch-free; serving reads it
too.
"""

from reid.evaluation.blocks import Distances, distances_between
from reid.evaluation.bootstrap import Interval, PairedDifference, bootstrap_interval, paired_bootstrap
from reid.evaluation.breakdown import camera_breakdown
from reid.evaluation.clustering import ClusteringReport, cluster_by_threshold, score_clusters
from reid.evaluation.continuous import ContinuousReport, score_continuous
from reid.evaluation.examples import HardPairs, RankedList, hardest_pairs, ranked_lists
from reid.evaluation.open_set import (
    OpenSetCurve,
    OpenSetScores,
    calibrate_threshold,
    detection_identification_rate,
    open_set_scores,
    pool_tracklets,
    threshold_of,
)
from reid.evaluation.pairs import draw_pairs, pair_distances
from reid.evaluation.policies import POLICIES, person_distances
from reid.evaluation.ranking import RankingReport, rank_distances, rank_gallery
from reid.evaluation.rerank import expand_queries, k_reciprocal, rescore_short_list
from reid.evaluation.shift import CORRUPTIONS, Fall, corrupt, falls
from reid.evaluation.verification import (
    FoldReport,
    RocCurve,
    VerificationReport,
    roc_curve,
    verify,
    verify_folds,
)

__all__ = [
    "CORRUPTIONS",
    "POLICIES",
    "ClusteringReport",
    "ContinuousReport",
    "Distances",
    "Fall",
    "FoldReport",
    "HardPairs",
    "Interval",
    "OpenSetCurve",
    "OpenSetScores",
    "PairedDifference",
    "RankedList",
    "RankingReport",
    "RocCurve",
    "VerificationReport",
    "bootstrap_interval",
    "calibrate_threshold",
    "camera_breakdown",
    "cluster_by_threshold",
    "corrupt",
    "detection_identification_rate",
    "distances_between",
    "draw_pairs",
    "expand_queries",
    "falls",
    "hardest_pairs",
    "k_reciprocal",
    "open_set_scores",
    "pair_distances",
    "paired_bootstrap",
    "person_distances",
    "pool_tracklets",
    "rank_distances",
    "rank_gallery",
    "ranked_lists",
    "rescore_short_list",
    "roc_curve",
    "score_clusters",
    "score_continuous",
    "threshold_of",
    "verify",
    "verify_folds",
]
