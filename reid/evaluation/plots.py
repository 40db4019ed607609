"""Charts of the figures, as PNG or SVG by the path's suffix. Matplotlib, scikit-learn and SciPy are loaded on
use.

Every function writes one file, whole or not at all, and returns an alternative text that says in words what
the picture shows. Curves differ by dash and marker as well as by colour.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reid.card import Threshold
from reid.errors import ReidError, UsageError
from reid.evaluation.canvas import COLOURS, DASHES, GREY, INK, MARKERS, new_figure, save, style
from reid.evaluation.checks import Labels, as_embeddings, as_labels
from reid.evaluation.image_plots import plot_activation_maps, plot_hardest_pairs, plot_ranked_lists
from reid.evaluation.open_set import OpenSetCurve
from reid.evaluation.verification import VerificationReport

__all__ = [
    "plot_activation_maps",
    "plot_class_tree",
    "plot_cmc",
    "plot_det",
    "plot_distance_histogram",
    "plot_embeddings",
    "plot_hardest_pairs",
    "plot_identification",
    "plot_ranked_lists",
    "plot_roc",
]

_DET_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4)


def plot_cmc(curves: Mapping[str, npt.NDArray[np.float64]], path: Path | str, *, max_rank: int = 20) -> str:
    """CMC curves (R,) by name, as in ``RankingReport.cmc``.

    Raises:
        ReidError: there is no curve.
    """
    _some(curves, "CMC curve")
    figure = new_figure()
    axes = figure.subplots()
    for number, (name, cmc) in enumerate(curves.items()):
        ranks = np.arange(1, min(max_rank, len(cmc)) + 1)
        axes.plot(
            ranks,
            100 * cmc[: len(ranks)],
            label=f"{name}  ({100 * cmc[0]:.1f} % at rank 1)",
            **_line(number),
            **_marks(number, ranks),
        )
    longest = max(min(max_rank, len(cmc)) for cmc in curves.values())
    axes.set_xticks([k for k in (1, 5, 10, 15, 20, 30, 40, 50) if k <= longest] or [1])
    axes.set_ylim(min(50.0, 90 * min(float(cmc[0]) for cmc in curves.values())), 101)
    style(axes, "Queries with a match among the nearest", "Rank", "Queries, %")
    axes.legend(loc="lower right")
    save(figure, path)
    return "CMC. Rank-1: " + "; ".join(f"{name} {100 * cmc[0]:.1f} %" for name, cmc in curves.items()) + "."


def plot_roc(reports: Mapping[str, VerificationReport], path: Path | str) -> str:
    """ROC by name on a logarithmic FAR axis; where fewer than ten impostors would be accepted, the chart says
    so.

    Raises:
        ReidError: there is no report.
    """
    _some(reports, "verification report")
    figure = new_figure()
    axes = figure.subplots()
    lowest = min(1 / report.impostor_pairs for report in reports.values())
    for number, (name, report) in enumerate(reports.items()):
        label = f"{name}  (EER {100 * report.eer:.1f} %)"
        axes.plot(
            np.maximum(report.roc.far, lowest / 2),
            100 * report.roc.tar,
            label=label,
            drawstyle="steps-post",
            **_line(number),
        )
    thin = 10 / max(report.impostor_pairs for report in reports.values())
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_ylim(0, 101)
    if thin > lowest:
        axes.axvspan(lowest, min(thin, 1), color=GREY, alpha=0.15, linewidth=0)
        axes.text(lowest * 1.15, 3, "fewer than 10\nfalse accepts", fontsize=9, color=INK, va="bottom")
    pairs = _common(
        {f" ({r.genuine_pairs:,} genuine and {r.impostor_pairs:,} impostor pairs)" for r in reports.values()}
    )
    style(
        axes, "Verification: true against false accepts", f"False accept rate{pairs}", "True accept rate, %"
    )
    axes.legend(loc="lower right")
    save(figure, path)
    return "ROC. " + "; ".join(_verification_words(name, report) for name, report in reports.items()) + "."


def plot_det(reports: Mapping[str, VerificationReport], path: Path | str) -> str:
    """DET curves by name: both error rates on normal-deviate axes (Martin 1997), with the EER marked.

    Raises:
        ReidError: there is no report.
    """
    from scipy.special import ndtri

    _some(reports, "verification report")
    figure = new_figure(5.6, 5.4)
    axes = figure.subplots()
    low, high = ndtri(0.0005), ndtri(0.6)
    for number, (name, report) in enumerate(reports.items()):
        far, frr = (np.clip(rates, 1e-6, 1 - 1e-6) for rates in (report.roc.far, 1 - report.roc.tar))
        axes.plot(ndtri(far), ndtri(frr), label=f"{name}  (EER {100 * report.eer:.1f} %)", **_line(number))
        if low < ndtri(max(report.eer, 1e-6)) < high:
            axes.plot(
                [ndtri(report.eer)],
                [ndtri(report.eer)],
                MARKERS[number % len(MARKERS)],
                color=_line(number)["color"],
                ms=8,
            )
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([ndtri(tick) for tick in _DET_TICKS], [f"{100 * tick:g}" for tick in _DET_TICKS])
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    style(axes, "Verification: the two errors against each other", "False accepts, %", "False rejects, %")
    axes.legend(loc="upper right")
    save(figure, path)
    return "DET. " + "; ".join(_verification_words(name, report) for name, report in reports.items()) + "."


def plot_distance_histogram(
    distances: npt.ArrayLike,
    same: npt.ArrayLike,
    path: Path | str,
    *,
    threshold: Threshold | float | None = None,
    bins: int = 80,
) -> str:
    """Histograms of genuine and impostor distances (N,), each scaled to its own count.

    The threshold is drawn with its interval where it is a calibrated one.

    Raises:
        ReidError: there are no genuine or no impostor pairs.
    """
    values, genuine = np.asarray(distances, dtype=np.float64), np.asarray(same, dtype=np.bool_)
    if genuine.all() or not genuine.any():
        raise ReidError(
            f"{len(genuine)} pairs of one kind only: a distance histogram needs genuine and impostor pairs"
        )
    figure = new_figure()
    axes = figure.subplots()
    edges = np.linspace(values.min(), values.max(), bins + 1)
    for kind, name, colour, hatch in (
        (genuine, "same person", COLOURS[0], ""),
        (~genuine, "different people", COLOURS[1], "////"),
    ):
        weights = np.full(int(kind.sum()), 100 / kind.sum())
        axes.hist(
            values[kind], edges, weights=weights, histtype="stepfilled",
            facecolor=(*_rgb(colour), 0.35), edgecolor=colour, linewidth=1.6,
            hatch=hatch, label=f"{name} ({kind.sum():,} pairs)",
        )  # fmt: skip
    words = (
        f"Median distance {np.median(values[genuine]):.2f} for the same person, "
        f"{np.median(values[~genuine]):.2f} for different people."
    )
    if threshold is not None:
        limit = threshold.distance if isinstance(threshold, Threshold) else threshold
        inside = f"accepts {100 * np.mean(values[genuine] <= limit):.0f} % of the same-person pairs"
        if isinstance(threshold, Threshold) and threshold.low is not None and threshold.high is not None:
            axes.axvspan(threshold.low, threshold.high, color=INK, alpha=0.12, linewidth=0)
        axes.axvline(
            limit, color=INK, linewidth=1.6, linestyle="--", label=f"threshold {limit:.2f}: {inside}"
        )
        words += f" The threshold {limit:.3f} {inside}."
    style(axes, "Distances between pairs of images", "Distance", "Pairs of the kind, %")
    axes.set_ylim(0, 1.28 * axes.get_ylim()[1])
    axes.legend(loc="upper left")
    save(figure, path)
    return "Histogram of distances. " + words


def plot_identification(curves: Mapping[str, OpenSetCurve], path: Path | str) -> str:
    """Detection-and-identification rate against false accept rate, by name.

    Raises:
        ReidError: there is no curve.
    """
    _some(curves, "open-set curve")
    figure = new_figure()
    axes = figure.subplots()
    lowest = min(1 / curve.unknown_probes for curve in curves.values())
    for number, (name, curve) in enumerate(curves.items()):
        label = f"{name}  ({100 * curve.at(0.01):.1f} % at 1 % false accepts)"
        far = np.maximum(curve.false_accept_rate, lowest / 2)
        axes.plot(far, 100 * curve.identification_rate, label=label, drawstyle="steps-post", **_line(number))
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_ylim(0, 101)
    counts = _common(
        {
            f" ({c.unknown_probes:,} unknown and {c.known_probes:,} known probes, {c.people:,} people)"
            for c in curves.values()
        }
    )
    style(
        axes,
        "Open set: known people named right",
        f"False accept rate{counts}",
        "Known probes accepted and named right, %",
    )
    axes.legend(loc="best")
    save(figure, path)
    return (
        "Open-set curve. "
        + "; ".join(
            f"{name} names {100 * c.at(0.01):.1f} % right at 1 % false accepts" for name, c in curves.items()
        )
        + "."
    )


def plot_embeddings(
    embeddings: npt.ArrayLike,
    identities: Labels,
    path: Path | str,
    *,
    people: int = 12,
    perplexity: float = 30.0,
    seed: int = 0,
) -> str:
    """A t-SNE map (van der Maaten 2008) of the ``people`` with most images; only who is near whom means
    something.

    Args:
        embeddings: (N, D).
        identities: (N,).
        path: of the picture.
        people: how many to show; among equally many images the first in sorted order.
        perplexity: neighbours that count, lowered where there are few images.
        seed: of t-SNE.

    Raises:
        ReidError: bad embeddings or labels, or fewer than four images to show.
        UsageError: fewer than one person is asked for.
    """
    from sklearn.manifold import TSNE

    if people < 1:
        raise UsageError(f"a map of {people} people: want at least 1")
    rows = as_embeddings(embeddings, "image")
    labels = as_labels(identities, "identities", len(rows))
    names, counts = np.unique(labels, return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")[:people]]
    chosen = np.isin(labels, shown)
    if chosen.sum() < 4:
        raise ReidError(f"{chosen.sum()} images are too few for a map: want at least 4")
    mapped = TSNE(
        perplexity=min(perplexity, (chosen.sum() - 1) / 3), init="pca", random_state=seed
    ).fit_transform(rows[chosen])
    figure = new_figure(6.4, 5.6)
    axes = figure.subplots()
    for number, name in enumerate(shown):
        own = mapped[labels[chosen] == name]
        colour, marker = (
            COLOURS[number % len(COLOURS)],
            MARKERS[(number // len(COLOURS) + number) % len(MARKERS)],
        )
        axes.scatter(
            *own.T, s=22, c=colour, marker=marker, label=str(name), linewidths=0.4, edgecolors="white"
        )
    style(axes, f"Embeddings of {len(shown)} people (t-SNE)", "", "")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    save(figure, path)
    return f"t-SNE map of {chosen.sum()} images of {len(shown)} people."


def plot_class_tree(
    linkage: npt.NDArray[np.float64], path: Path | str, *, thresholds: npt.ArrayLike = (), most: int = 60
) -> str:
    """The class tree as a dendrogram, cut to its ``most`` topmost branches, with the level thresholds as
    lines.

    Args:
        linkage: (C - 1, 4) as SciPy writes it.
        path: of the picture.
        thresholds: (L + 1,) distances of the levels.
        most: branches to show.

    Raises:
        ReidError: the linkage has another shape.
    """
    from scipy.cluster import hierarchy

    if linkage.ndim != 2 or linkage.shape[1] != 4 or not len(linkage):
        raise ReidError(f"class tree linkage has shape {linkage.shape}: want (classes - 1, 4)")
    figure = new_figure(8.0, 4.6)
    axes = figure.subplots()
    hierarchy.dendrogram(
        linkage,
        p=most,
        truncate_mode="lastp",
        ax=axes,
        no_labels=True,
        color_threshold=0,
        above_threshold_color=COLOURS[0],
    )
    levels = np.asarray(thresholds, dtype=np.float64)
    for level in levels:
        axes.axhline(level, color=GREY, linewidth=0.6, linestyle=":", zorder=0)
    classes = len(linkage) + 1
    style(
        axes,
        f"Class tree of {classes:,} people",
        f"{min(most, classes)} topmost branches",
        "Distance at which branches merge",
    )
    axes.grid(visible=False)
    save(figure, path)
    return f"Dendrogram of {classes} classes; the last two branches merge at distance {linkage[-1, 2]:.2f}."


def _some(items: Mapping[str, Any], what: str) -> None:
    if not items:
        raise ReidError(f"there is no {what} to draw: give at least one")


def _common(notes: set[str]) -> str:
    """The note that holds for all curves, or none."""
    return notes.pop() if len(notes) == 1 else ""


def _line(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "linewidth": 2,
    }


def _marks(number: int, ranks: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {
        "marker": MARKERS[number % len(MARKERS)],
        "markevery": [i for i in (0, 4, 9, 14, 19) if i < len(ranks)],
        "markersize": 6,
    }


def _rgb(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def _verification_words(name: str, report: VerificationReport) -> str:
    rates = ", ".join(
        f"{100 * tar:.1f} % true accepts at FAR {far:g}"
        for far, tar in report.tar_at_far.items()
        if report.is_supported(far)
    )
    return f"{name}: EER {100 * report.eer:.1f} %" + (f", {rates}" if rates else "")
