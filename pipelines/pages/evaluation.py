"""The page of the stage ``evaluate``: the chosen model on the test people, with curves and pictures."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.stage.console import progress_bar, working
from reid.config import UNTRAINED, Params
from reid.data.catalog import Catalog
from reid.data.store import load_rows, stored_blocks
from reid.evaluation import Fall
from reid.evaluation.page import PAGE_NAME, Section, Table
from reid.evaluation.plots import plot_activation_maps, plot_class_tree
from reid.evaluation.report import (
    EmbeddedSet,
    ExtraMetrics,
    Rescored,
    RetrievalResult,
    draw_curves,
    draw_images,
    judge_corrupted,
    rescored_section,
    shift_section,
    write_evaluation,
)
from reid.evaluation.within_camera import WITHIN_CAMERA
from reid.files import atomic_path
from reid.metric.class_tree import ClassTree
from reid.model_files import TREE

if TYPE_CHECKING:
    from reid.models.embedder import EmbeddingModel

__all__ = ["PLOTS", "Chosen", "write_page"]

Picture = tuple[Path, str]  # a file, and what it shows in words
_SHOWN_MAPS = 6
PLOTS = "plots"  # the pictures, in a folder beside the page


@dataclass(frozen=True, eq=False)
class Chosen:
    """The chosen model on the test people."""

    name: str
    model: "EmbeddingModel"
    query: EmbeddedSet
    gallery: EmbeddedSet
    queries: Catalog  # the rows of ``query``
    judged: RetrievalResult
    extra: ExtraMetrics


def write_page(
    params: Params,
    metrics: dict[str, Any],
    chosen: Chosen,
    rescored: Mapping[str, Rescored],
    models: Path,
    out: Path,
) -> None:
    """Write ``evaluation.html`` and its pictures, as plots of the stage, into ``out``; what is measured on
    the way is added to ``metrics``. ``models`` has a folder for each objective.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with working("drawing curves and pictures"):
            pictures = draw_curves(chosen.name, chosen.judged, chosen.extra, folder)
            pictures |= draw_images(
                chosen.query,
                chosen.gallery,
                chosen.judged,
                folder,
                queries=params.evaluate.ranked_queries,
                seed=params.seed,
            )
            pictures["activation"] = _draw_activation(params, chosen, folder)
        about = "Queries, and where its last maps are strongest."
        sections = [Section("Where the network looks", about, [pictures["activation"]])]
        sections += _shift_sections(params, metrics, chosen)
        if (owner := _first_shown(chosen.name, rescored)) is not None:
            metrics["learned_metric"] = rescored[owner].summary()
            sections.append(rescored_section(owner, rescored[owner]))
        sections.append(objectives_section(metrics))
        trees = [name for name in params.objectives if (models / name / TREE).exists()]
        if (owner := _first_shown(chosen.name, trees)) is not None:
            pictures["tree"] = _draw_tree(models / owner / TREE, folder)
            about = f"Training people by likeness in {owner}; dotted lines are the levels."
            sections.append(Section("Class tree", about, [pictures["tree"]]))
        write_evaluation(
            out / PAGE_NAME,
            f"Evaluation of {chosen.name}",
            _summary(params, chosen),
            chosen.judged,
            chosen.extra,
            pictures,
            sections,
        )
        for plot, (path, _) in pictures.items():
            with atomic_path(out / PLOTS / f"{plot}.png", mode=0o600) as temporary:
                temporary.write_bytes(path.read_bytes())


def _summary(params: Params, chosen: Chosen) -> str:
    query, gallery = chosen.query, chosen.gallery
    people = len(set(query.identities.tolist()))
    text = (
        f"Model: {chosen.name}, {params.model.backbone}. {len(query):,} queries of {people:,} "
        "people, none of them trained on, "
        f"in a gallery of {len(gallery):,} images; {chosen.judged.report.skipped_queries:,} "
        "queries without a match were skipped."
    )
    if query.within_camera:
        text += f" {WITHIN_CAMERA[0].upper()}{WITHIN_CAMERA[1:]}. What needs two cameras is left out."
    return text


def _first_shown(chosen: str, names: Iterable[str]) -> str | None:
    """Of the objectives that have something, the one to show: the chosen one, else the first."""
    return min(names, key=lambda name: name != chosen, default=None)


def objectives_section(metrics: dict[str, Any]) -> Section:
    """Every objective next to the untrained network, and the chosen one with the fitted metric."""
    row = metrics.get("fitted_metric")
    fitted = {} if row is None else {f"{metrics['chosen']} with {row['method']}": row}
    rows = [
        (name, *(f"{100 * row[key]:.1f} %" for key in ("rank1", "rank5", "mean_ap", "mean_inp")))
        for name, row in {UNTRAINED: metrics[UNTRAINED], **metrics["objectives"], **fitted}.items()
    ]
    text = (
        f"The same people, judged with each model; {metrics['chosen']} was chosen on validation "
        "people, not on these."
    )
    return Section("Objectives", text, table=Table(("objective", "rank-1", "rank-5", "mAP", "mINP"), rows))


def _shift_sections(params: Params, metrics: dict[str, Any], chosen: Chosen) -> list[Section]:
    """How far the figures fall on worse pictures, if ``params.yaml`` asks for it."""
    if not params.evaluate.shift_severity:
        return []
    falls = _judge_shift(params, chosen)
    metrics["under_worse_pictures"] = {
        kind: {figure: {"value": one.shifted, "fall": one.fall} for figure, one in row.items()}
        for kind, row in falls.items()
    }
    return [shift_section(falls, params.evaluate.shift_severity)]


def _judge_shift(params: Params, chosen: Chosen) -> dict[str, dict[str, Fall]]:
    """How far the figures fall on corrupted queries."""
    from reid.models.inference import embed_images

    with progress_bar("spoiling queries") as progress:
        return judge_corrupted(
            chosen.query,
            chosen.gallery,
            chosen.judged.report,
            stored_blocks([chosen.queries], params.model.height, params.model.width, progress),
            lambda images: embed_images(chosen.model, images),
            severity=params.evaluate.shift_severity,
            seed=params.seed,
        )


def _draw_activation(params: Params, chosen: Chosen, folder: Path) -> Picture:
    """Where the network looks on some queries: file and words."""
    from reid.models.inference import activation_maps

    shown = np.linspace(0, len(chosen.query) - 1, min(_SHOWN_MAPS, len(chosen.query))).astype(int)
    images = load_rows(chosen.queries, shown.tolist(), params.model.height, params.model.width)
    path = folder / "activation.png"
    return path, plot_activation_maps(list(images), list(activation_maps(chosen.model, images)), path)


def _draw_tree(file: Path, folder: Path) -> Picture:
    tree = ClassTree.load(file)
    path = folder / "tree.png"
    return path, plot_class_tree(tree.linkage, path, thresholds=tree.thresholds)
