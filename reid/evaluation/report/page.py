"""A judgement as pictures and as one page. Torch-free."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reid.evaluation import Fall, RankingReport, distances_between
from reid.evaluation.checks import is_junk
from reid.evaluation.examples import hardest_pairs, ranked_lists
from reid.evaluation.image_plots import plot_hardest_pairs, plot_ranked_lists
from reid.evaluation.page import Figure, Section, Table, write_page
from reid.evaluation.plots import (
    plot_cmc,
    plot_det,
    plot_distance_histogram,
    plot_embeddings,
    plot_identification,
    plot_roc,
)
from reid.evaluation.report.extra import ExtraMetrics, Rescored
from reid.evaluation.report.judgement import EmbeddedSet, RetrievalResult, labels_of

__all__ = ["draw_curves", "draw_images", "rescored_section", "shift_section", "write_evaluation"]

Pictures = dict[str, tuple[Path, str]]
"""Image file and alternative text by name."""

_MAPPED_PEOPLE, _MAPPED_IMAGES = 12, 600


def draw_curves(name: str, judged: RetrievalResult, extra: ExtraMetrics, folder: Path) -> Pictures:
    """CMC, ROC, DET, the distances with the threshold of the best accuracy, and the open-set curves, into
    ``folder``.
    """
    at = {key: folder / f"{key}.png" for key in ("cmc", "roc", "det", "distances")}
    verification = judged.verification
    words = {
        "cmc": plot_cmc({name: judged.report.cmc}, at["cmc"]),
        "roc": plot_roc({name: verification}, at["roc"]),
        "det": plot_det({name: verification}, at["det"]),
        "distances": plot_distance_histogram(
            judged.distances, judged.same, at["distances"], threshold=verification.threshold
        ),
    }
    if extra.identification:
        at["open_set"] = folder / "open_set.png"
        words["open_set"] = plot_identification(extra.identification, at["open_set"])
    return {key: (path, words[key]) for key, path in at.items()}


def draw_images(
    query: EmbeddedSet,
    gallery: EmbeddedSet,
    judged: RetrievalResult,
    folder: Path,
    *,
    queries: int,
    seed: int,
) -> Pictures:
    """Ranked lists of ``queries`` queries spread over all, the hardest pairs, and a map of some people, into
    ``folder``.
    """
    found = judged.report.query_index
    rows = found[np.linspace(0, len(found) - 1, min(queries, len(found))).astype(int)]
    lists = ranked_lists(
        distances_between(query.embeddings, gallery.embeddings), rows, *labels_of(query, gallery), k=8
    )
    hard = hardest_pairs(judged.pairs, judged.distances, judged.same, count=4)
    paths = folder / "ranked_lists.png", folder / "hardest_pairs.png", folder / "map.png"
    pictures = {
        "ranked_lists": (
            paths[0],
            plot_ranked_lists([one.shown(query.paths, gallery.paths) for one in lists], paths[0]),
        ),
        "hardest_pairs": (paths[1], plot_hardest_pairs(hard, query.paths, gallery.paths, paths[1])),
    }
    # Distractors and junk would be the largest 'people' of a gallery and say nothing about who is near whom.
    shown = np.flatnonzero(np.isin(gallery.identities, query.identities) & ~is_junk(gallery.identities))[
        :_MAPPED_IMAGES
    ]
    if len(shown) >= 4:
        words = plot_embeddings(
            gallery.embeddings[shown], gallery.identities[shown], paths[2], people=_MAPPED_PEOPLE, seed=seed
        )
        pictures["map"] = (paths[2], words)
    return pictures


def write_evaluation(
    path: Path,
    title: str,
    summary: str,
    judged: RetrievalResult,
    extra: ExtraMetrics,
    pictures: Mapping[str, tuple[Path, str]],
    more: Sequence[Section] = (),
) -> None:
    """Write the page of a judgement.

    Args:
        path: of the page.
        title: of the page.
        summary: what was judged on what, in a sentence or two.
        judged: the figures.
        extra: the figures beyond the headline.
        pictures: as drawn here.
        more: sections after the others.

    Raises:
        ReidError: a picture or figure cannot be shown.
    """

    def of(*names: str) -> list[tuple[Path, str]]:
        return [pictures[name] for name in names if name in pictures]

    sections = [
        Section("What was measured", summary),
        Section("Ranking", _RANKING, of("cmc")),
        Section("Other ways to rank", _WAYS, table=_ways_table(judged, extra)),
        Section(
            "From camera to camera", _CAMERAS, table=_camera_table(judged) if judged.by_cameras else None
        ),
        Section(
            "Ranked lists",
            "For each query its nearest images: a tick marks the same person, a cross another.",
            of("ranked_lists"),
        ),
        Section("Verification", _verification_text(extra), of("roc", "det", "distances"), _tar_table(judged)),
        Section("Known or unknown", _OPEN_SET, of("open_set")),
        Section("Clusters", _CLUSTERS, table=_cluster_table(extra)),
        Section(
            "Hardest pairs",
            "What fools the model most. Wrong labels often show here first.",
            of("hardest_pairs"),
        ),
        Section("Map of people", "Near means alike; sizes of gaps and of clouds mean nothing.", of("map")),
    ]
    kept = [
        section
        for section in sections
        if section.text and (section.pictures or section.table or section.heading == sections[0].heading)
    ]
    write_page(path, title, _figures(judged), [*kept, *more])


_RANKING = (
    "The share of queries with a match among the nearest so many images (CMC). Gallery images of the "
    "query's person from the query's own "
    "camera are left out, junk (identity -1) too. Among equal distances the image that comes first in "
    "the gallery counts as nearer."
)
_CAMERAS = "The queries of one camera ranked in the images of one other camera alone."
_WAYS = (
    "The same queries and gallery by k-reciprocal re-ranking (Zhong 2017) and by query expansion: each "
    "query replaced by the mean of "
    "itself and its five nearest images. Both look at the whole gallery, so they suit a finished set "
    "more than a running camera."
)
_OPEN_SET = (
    "Every query is played twice: once with its person in the gallery, once with that person taken "
    "out, when 'unknown' is the right "
    "answer. A tracklet is the images of one person in one camera, pooled. The policies say how the "
    "references of a person count."
)
_CLUSTERS = (
    "Gallery images without labels, put together while their mean distance is below the threshold of "
    "the best accuracy; 1 is perfect for "
    "every figure."
)
_VERIFICATION = (
    "Are two images of different cameras one person? Genuine pairs show one person, impostor pairs "
    "two. The threshold drawn is the one "
    "with the best accuracy on these very pairs; the thresholds to work with are calibrated on other "
    "people and lie in the model's card."
)


def _figures(judged: RetrievalResult) -> dict[str, Figure]:
    report, verification = judged.report, judged.verification

    def share(value: float, figure: str = "") -> Figure:
        interval = judged.intervals.get(figure)
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        return Figure(value, low=low, high=high, count=report.valid_queries, of="queries")

    pairs = verification.genuine_pairs + verification.impostor_pairs
    across = {}
    if judged.across is not None:
        counted = judged.across.valid_queries
        across["rank-1, other cameras only"] = Figure(judged.across.rank(1), count=counted, of="queries")
    return {
        "rank-1": share(report.rank(1), "rank1"),
        **across,
        "rank-5": share(report.rank(5)),
        "mAP": share(report.mean_ap, "mean_ap"),
        "mINP": share(report.mean_inp),
        "equal error rate": Figure(verification.eer, count=pairs, of="pairs"),
        "area under the ROC": Figure(verification.auc, count=pairs, of="pairs"),
    }


def _camera_table(judged: RetrievalResult) -> Table:
    rows = [
        (
            f"{ours} to {theirs}",
            _percent(one.rank(1)),
            _percent(one.mean_ap),
            f"{one.valid_queries:,}",
            f"{one.gallery_images:,}",
        )
        for (ours, theirs), one in judged.by_cameras.items()
    ]
    return Table(("cameras", "rank-1", "mAP", "queries", "images"), rows)


def _tar_table(judged: RetrievalResult) -> Table:
    """TAR at FAR, with a word where too few impostors stand behind it."""
    verification = judged.verification
    rows = []
    for far, tar in verification.tar_at_far.items():
        accepted = far * verification.impostor_pairs
        rows.append(
            (
                f"{100 * far:g} %",
                _percent(tar),
                f"{accepted:,.0f}" if verification.is_supported(far) else f"{accepted:.1f}: too few",
            )
        )
    return Table(("false accept rate", "true accept rate", "impostor pairs accepted"), rows)


def _verification_text(extra: ExtraMetrics) -> str:
    folds = extra.folds
    if folds is None:
        return _VERIFICATION
    return (
        f"{_VERIFICATION} With the threshold taken from the other folds, as for LFW, the accuracy over "
        f"{folds.folds} folds is "
        f"{_percent(folds.accuracy)} (standard deviation {_percent(folds.accuracy_std)})."
    )


def _ways_table(judged: RetrievalResult, extra: ExtraMetrics) -> Table:
    return _ranking_table("way", {judged.report.metric: judged.report, **extra.rankings})


def _ranking_table(what: str, reports: Mapping[str, RankingReport]) -> Table:
    rows = [
        (name, *(_percent(value) for value in (one.rank(1), one.rank(5), one.mean_ap, one.mean_inp)))
        for name, one in reports.items()
    ]
    return Table((what, "rank-1", "rank-5", "mAP", "mINP"), rows)


def _cluster_table(extra: ExtraMetrics) -> Table | None:
    found = extra.clusters
    if found is None:
        return None
    counts = f"{found.images:,} images", f"{found.identities:,} people", f"{found.clusters:,} clusters"
    shares = [f"{value:.3f}" for value in (found.nmi, found.pairwise_f1, found.bcubed_f1)]
    return Table(("on", "people", "clusters", "NMI", "pairwise F1", "BCubed F1"), [(*counts, *shares)])


def shift_section(falls: Mapping[str, Mapping[str, Fall]], severity: int) -> Section:
    """How far each figure falls when the queries are corrupted, a row for each kind of corruption."""
    text = (
        f"The queries spoilt at severity {severity} of 5, the gallery as it is; in brackets the points lost."
    )
    columns = {"rank1": "rank-1", "mean_ap": "mAP"}
    rows = [
        (
            name.replace("_", " "),
            *(f"{_percent(one[figure].shifted)} ({-100 * one[figure].fall:+.1f})" for figure in columns),
        )
        for name, one in falls.items()
    ]
    return Section("Under worse pictures", text, table=Table(("queries", *columns.values()), rows))


def rescored_section(name: str, found: Rescored) -> Section:
    """The learned metric of the objective ``name`` in its two uses."""
    text = (
        f"The metric g of {name} orders the hundred nearest images anew and verifies pairs. It "
        "cannot be searched, so the distance "
        f"finds them first. Equal error rate: {_percent(found.by_distance.eer)} by distance, "
        f"{_percent(found.by_metric.eer)} by g."
    )
    return Section(
        "Learned metric",
        text,
        table=_ranking_table("ranked by", {"distance": found.plain, "g": found.rescored}),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
