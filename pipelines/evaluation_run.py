"""Evaluation of a model directory on any folder or catalog, and the comparison of two. Torch-free."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.console import progress_bar, say, working
from pipelines.pictures import pictures_below
from reid.card import ModelCard
from reid.data.catalog import DISTRACTOR, read_catalog, readable
from reid.errors import ReidError, UsageError
from reid.evaluation import Fall, PairedDifference, RankingReport, k_reciprocal, paired_bootstrap
from reid.evaluation.report import (
    Judgement,
    More,
    Side,
    draw_curves,
    draw_images,
    judge,
    judge_more,
    nothing_to_find,
    one_camera_apart,
    write_evaluation,
)
from reid.evaluation.within_camera import WITHIN_CAMERA
from reid.files import atomic_directory, read_json, write_json
from reid.parquet import read_parquet

if TYPE_CHECKING:
    from serving.runtime import Embedder

__all__ = [
    "Evaluation",
    "Images",
    "NothingToFindError",
    "choose_images",
    "compare_results",
    "fall_of_results",
    "run_evaluation",
    "write_results",
]

COMPARED = ("mean_ap", "rank1", "rank5", "mean_inp")


class NothingToFindError(ReidError):
    """No person has a second image: there is no figure, and nothing is wrong either."""


@dataclass(frozen=True, eq=False)
class Images:
    """Image files with their labels (N,), and which rows are query and gallery; a row may be both."""

    root: Path
    paths: Sequence[Path]
    identities: npt.NDArray[np.str_]
    cameras: npt.NDArray[np.str_]
    query: npt.NDArray[np.bool_]
    gallery: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A judged model."""

    card: ModelCard
    root: Path
    query: Side
    gallery: Side
    judged: Judgement
    extra: More
    unreadable: Sequence[tuple[Path, str]]

    def metrics(self) -> dict[str, Any]:
        """Everything measured, as plain values."""
        judged = self.judged
        return {
            "model": {"name": self.card.name, "fingerprint": self.card.fingerprint},
            "ranking": judged.report.summary(),
            **({} if judged.across is None else {"other_cameras_only": judged.across.summary()}),
            "verification": judged.verification.summary(),
            "within_camera": self.query.within_camera,
            **self.extra.summary(),
            "intervals": {figure: asdict(interval) for figure, interval in judged.intervals.items()},
            "cameras": {
                f"{ours}->{theirs}": one.summary() for (ours, theirs), one in judged.by_cameras.items()
            },
            "counts": {
                "queries": len(self.query),
                "query_people": len(set(self.query.identities.tolist())),
                "gallery": len(self.gallery),
                "gallery_people": len(set(self.gallery.identities.tolist())),
                "unreadable": len(self.unreadable),
            },
            "data": {"query": _hash(self.query, self.root), "gallery": _hash(self.gallery, self.root)},
        }


def choose_images(
    root: Path | None,
    pattern: str | None,
    catalog: Path | None,
    query_cameras: Sequence[str] | None,
    gallery_cameras: Sequence[str] | None,
) -> Images:
    """Read a folder or a catalog and say which images are query and gallery.

    Raises:
        UsageError: neither or both are named, a folder comes without pattern or cameras, or a camera is not
            there.
        ReidError: nothing is there to read, or all of it is from one camera.
        NothingToFindError: every person is in one image alone.
    """
    if (root is None) == (catalog is None):
        raise UsageError("name the images by either --root DIR --pattern RE or --catalog FILE")
    if root is not None:
        if pattern is None or query_cameras is None or gallery_cameras is None:
            raise UsageError(
                "--root needs --pattern, --query-cameras and --gallery-cameras: a folder does not say "
                "what is query and gallery"
            )
        paths, identities, cameras = pictures_below(root, pattern)
        sides = identities != DISTRACTOR, np.ones(len(paths), np.bool_)
    else:
        assert catalog is not None
        table = read_catalog(catalog)
        root, paths, identities, cameras = table.folder, table.paths, table.identities, table.cameras
        split = table.column("split")
        sides = split == "query", split == "gallery"
    query = sides[0] & _among(cameras, query_cameras, "--query-cameras")
    gallery = sides[1] & _among(cameras, gallery_cameras, "--gallery-cameras")
    if (line := nothing_to_find(identities[query | gallery])) is not None:
        raise NothingToFindError(line)
    for name, rows in (("query", query), ("gallery", gallery)):
        if not rows.any():
            raise ReidError(
                f"no {name} image is among the {len(paths)} images: check the splits and the cameras "
                "asked for"
            )
    seen = np.unique(cameras[query | gallery])
    if len(seen) == 1 and (query & gallery).any():  # known before the long work begins
        raise ReidError(
            f"no query can have a match because every image is from camera {seen[0]}: ask for another camera"
        )
    return Images(root, paths, identities, cameras, query, gallery)


def run_evaluation(
    model_dir: Path,
    images: Images,
    *,
    rerank: bool,
    bootstrap: int,
    seed: int,
    backend: str = "auto",
    threads: int | None = None,
) -> Evaluation:
    """Embed the images and judge the model; files that are no images are left out and listed.

    Raises:
        UsageError: the model directory or backend is missing.
        ReidError: the model fails, or there is nobody to find.
    """
    from serving.runtime import load

    embedder = load(model_dir, backend, threads)
    if embedder.chosen:
        say(embedder.chosen)
    query, gallery, unreadable = _embed(embedder, images, threads)
    query, gallery = one_camera_apart(query, gallery)
    if query.within_camera:
        say(WITHIN_CAMERA)
    with working("judging"):
        reranked = k_reciprocal(query.embeddings, gallery.embeddings) if rerank else None
        judged = judge(query, gallery, bootstrap=bootstrap, seed=seed, reranked=reranked)
        extra = judge_more(query, gallery, judged, seed=seed)
    return Evaluation(embedder.card, images.root, query, gallery, judged, extra, unreadable)


def _embed(
    embedder: "Embedder", images: Images, threads: int | None
) -> tuple[Side, Side, list[tuple[Path, str]]]:
    """Query, gallery, and the files that are no images with the reasons."""
    from serving.embedding import embed_files

    needed = np.flatnonzero(images.query | images.gallery)
    with progress_bar("embedding") as progress:
        paths = [images.paths[row] for row in needed.tolist()]
        found = embed_files(embedder, paths, threads=threads, on_progress=progress)
    rows = needed[found.index]

    def side(member: npt.NDArray[np.bool_], name: str) -> Side:
        kept = member[rows]
        if not kept.any():
            raise ReidError(f"none of the {int(member.sum())} {name} images can be read: check the files")
        own = rows[kept]
        files = [images.paths[row] for row in own.tolist()]
        return Side(found.embeddings[kept], images.identities[own], images.cameras[own], files)

    unreadable = [(one.path, one.reason) for one in found.unreadable]
    return side(images.query, "query"), side(images.gallery, "gallery"), unreadable


def write_results(result: Evaluation, out: Path, *, seed: int, queries: int = 8) -> None:
    """Write ``metrics.json``, ``queries.parquet`` (a row for each query) and ``evaluation.html`` into
    ``out``, whole or not at all.

    Raises:
        UsageError: ``out`` holds something else than an earlier evaluation.
    """
    if out.exists() and not (
        out.is_dir()
        and {path.name for path in out.iterdir()} <= {"metrics.json", "queries.parquet", "evaluation.html"}
    ):
        raise UsageError(f"--out {out} holds other things than an evaluation: name a new or empty folder")
    summary = (
        f"Model {result.card.name} ({result.card.fingerprint}). {len(result.query):,} queries in a "
        f"gallery of {len(result.gallery):,} "
        f"images, ranked by {result.judged.report.metric}; {result.judged.report.skipped_queries:,} "
        "queries without a match were skipped."
    )
    if result.query.within_camera:
        summary += f" {WITHIN_CAMERA[0].upper()}{WITHIN_CAMERA[1:]}."
    with atomic_directory(out, private=True) as folder, tempfile.TemporaryDirectory() as drawings:
        place = Path(drawings)
        pictures = draw_curves(result.card.name, result.judged, result.extra, place)
        pictures |= draw_images(
            result.query, result.gallery, result.judged, place, queries=queries, seed=seed
        )
        write_json(folder / "metrics.json", result.metrics())
        pq.write_table(_query_table(result), folder / "queries.parquet")
        write_evaluation(
            folder / "evaluation.html",
            f"Evaluation of {result.card.name}",
            summary,
            result.judged,
            result.extra,
            pictures,
        )


def compare_results(first: Path, second: Path, *, samples: int, seed: int) -> dict[str, PairedDifference]:
    """Paired bootstrap of each figure between two folders of ``write_results``.

    Raises:
        UsageError: a folder is not there.
        ReidError: they are not evaluations, or not of the same query and gallery.
    """
    data = [_read_metrics(folder)["data"] for folder in (first, second)]
    for side in ("query", "gallery"):
        if data[0].get(side) != data[1].get(side):
            raise ReidError(
                f"{first} and {second} judge different {side} images: evaluate both on the same ones, "
                "or ask for --shift"
            )
    (ours, people), (theirs, _) = (_read_queries(folder / "queries.parquet") for folder in (first, second))
    return {
        figure: paired_bootstrap(ours, theirs, people, figure=figure, samples=samples, seed=seed)
        for figure in COMPARED
    }


def fall_of_results(home: Path, away: Path) -> dict[str, Fall]:
    """How far each figure of one model falls from the data of ``home`` to those of ``away``; no pairing, as
    the queries differ.

    Raises:
        UsageError: a folder is not there.
        ReidError: they are not evaluations, or not of one model.
    """
    ours, theirs = _read_metrics(home), _read_metrics(away)
    models = [one["model"]["fingerprint"] for one in (ours, theirs)]
    if models[0] != models[1]:
        raise ReidError(
            f"{home} judges model {models[0]} and {away} model {models[1]}: a shift is of one model on "
            "two sets of images"
        )
    return {figure: Fall(ours["ranking"][figure], theirs["ranking"][figure]) for figure in COMPARED}


def _read_metrics(folder: Path) -> dict[str, Any]:
    metrics = read_json(folder / "metrics.json", "evaluation")
    value = metrics if isinstance(metrics, dict) else {}
    parts = [one if isinstance(one := value.get(key), dict) else {} for key in ("data", "model", "ranking")]
    if not (
        all(parts)
        and isinstance(parts[1].get("fingerprint"), str)
        and all(isinstance(parts[2].get(figure), int | float) for figure in COMPARED)
    ):
        raise ReidError(
            f"evaluation {folder / 'metrics.json'} does not say what it judged: write it with reid "
            "evaluate --out"
        )
    return metrics


def _among(cameras: npt.NDArray[np.str_], wanted: Sequence[str] | None, option: str) -> npt.NDArray[np.bool_]:
    if wanted is None:
        return np.ones(len(cameras), np.bool_)
    present = np.unique(cameras)
    missing = [name for name in wanted if name not in present]
    if missing or not wanted:
        raise UsageError(
            f"{option} {','.join(missing) or 'is empty'}: no image is from there; cameras are "
            f"{', '.join(present[:20])}"
        )
    return np.isin(cameras, wanted)


def _hash(side: Side, root: Path) -> str:
    """Of file names within the root and labels: the same data elsewhere has the same hash."""
    digest = hashlib.sha256()
    for path, identity, camera in zip(side.paths, side.identities, side.cameras, strict=True):
        name = path.relative_to(root) if path.is_relative_to(root) else path
        digest.update(os.fsencode(f"{name.as_posix()}\0{identity}\0{camera}\n"))
    return digest.hexdigest()


def _query_table(result: Evaluation) -> pa.Table:
    report, query = result.judged.report, result.query
    columns: dict[str, list[Any]] = {
        name: [None] * len(query) for name in ("average_precision", "inverse_negative_penalty", "first_rank")
    }
    values = zip(
        report.query_index.tolist(),
        report.per_query_ap.tolist(),
        report.per_query_inp.tolist(),
        report.first_rank.tolist(),
        strict=True,
    )
    for row, precision, penalty, first in values:
        columns["average_precision"][row] = precision
        columns["inverse_negative_penalty"][row] = penalty
        columns["first_rank"][row] = first
    schema = pa.schema(
        [(name, pa.string()) for name in ("path", "identity", "camera")]
        + [(name, pa.float64()) for name in ("average_precision", "inverse_negative_penalty")]
        + [("first_rank", pa.int64())]
    )
    names = {
        "path": [readable(path) for path in query.paths],
        "identity": query.identities.tolist(),
        "camera": query.cameras.tolist(),
    }
    return pa.table({**names, **columns}, schema=schema)


def _read_queries(path: Path) -> tuple[RankingReport, npt.NDArray[np.str_]]:
    """What the paired bootstrap wants: figures of the valid queries, and the identity of every query."""
    figures = {name: pa.float64() for name in ("average_precision", "inverse_negative_penalty")}
    schema = pa.schema({"identity": pa.string(), **figures, "first_rank": pa.int64()})
    way_out, broken = "write it with reid evaluate --out", "cannot be read"
    table = read_parquet(
        path,
        "table of queries",
        way_out,
        broken=broken,
        schema=schema,
        filled=("identity",),
        finite=tuple(figures),
    )
    columns = {name: table[name].to_pylist() for name in schema.names}
    valid = np.asarray(
        [row for row, first in enumerate(columns["first_rank"]) if first is not None], np.int64
    )
    if not len(valid):
        raise ReidError(f"table of queries {path} has no valid query: write it with reid evaluate --out")
    if any(columns[name][row] is None for name in figures for row in valid):
        raise ReidError(f"table of queries {path} has a query without its figures: {way_out}")
    precision, penalty = (np.asarray([columns[name][row] for row in valid], np.float64) for name in figures)
    first_rank = np.asarray([columns["first_rank"][row] for row in valid], np.int64)
    cmc = np.asarray([np.mean(first_rank <= rank) for rank in range(1, 51)])
    report = RankingReport(
        cmc=cmc,
        mean_ap=float(precision.mean()),
        mean_inp=float(penalty.mean()),
        valid_queries=len(valid),
        skipped_queries=table.num_rows - len(valid),
        query_index=valid,
        per_query_ap=precision,
        per_query_inp=penalty,
        first_rank=first_rank,
        gallery_images=0,
        junk_images=0,
        metric="",
        ap="rectangle",
    )
    return report, np.asarray(columns["identity"], dtype=np.str_)
