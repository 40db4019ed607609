"""Every figure of a model on one query and gallery, and the page that shows them. Torch-free."""

from reid.evaluation.report.extra import ExtraMetrics, Rescored, judge_corrupted, judge_extra, rescored_by
from reid.evaluation.report.judgement import (
    EmbeddedSet,
    RetrievalResult,
    judge,
    labels_of,
    nothing_to_find,
    one_camera_apart,
    rank,
    rank_across,
)
from reid.evaluation.report.page import (
    draw_curves,
    draw_images,
    rescored_section,
    shift_section,
    write_evaluation,
)

__all__ = [
    "EmbeddedSet",
    "ExtraMetrics",
    "Rescored",
    "RetrievalResult",
    "draw_curves",
    "draw_images",
    "judge",
    "judge_corrupted",
    "judge_extra",
    "labels_of",
    "nothing_to_find",
    "one_camera_apart",
    "rank",
    "rank_across",
    "rescored_by",
    "rescored_section",
    "shift_section",
    "write_evaluation",
]
