"""Evaluation of a model directory on any folder or catalog. Torch-free."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.stage.console import progress_bar, say, working
from reid.card import ModelCard
from reid.data.catalog import DISTRACTOR, read_catalog
from reid.data.labelled import pictures_below
from reid.errors import ReidError, UsageError
from reid.evaluation import k_reciprocal
from reid.evaluation.report import (
    EmbeddedSet,
    ExtraMetrics,
    RetrievalResult,
    judge,
    judge_extra,
    nothing_to_find,
    one_camera_apart,
)
from reid.evaluation.within_camera import WITHIN_CAMERA

if TYPE_CHECKING:
    from serving.runtime import Embedder

__all__ = [
    "Evaluation",
    "Images",
    "NothingToFindError",
    "choose_images",
    "run_evaluation",
]


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
    query: EmbeddedSet
    gallery: EmbeddedSet
    judged: RetrievalResult
    extra: ExtraMetrics
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
        paths, identities, cameras = pictures_below(root, pattern, say)
        sides = identities != DISTRACTOR, np.ones(len(paths), np.bool_)
    else:
        assert catalog is not None
        table = read_catalog(catalog)
        root = table.folder
        paths = table.paths
        identities = table.identities
        cameras = table.cameras
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
        extra = judge_extra(query, gallery, judged, seed=seed)
    return Evaluation(embedder.card, images.root, query, gallery, judged, extra, unreadable)


def _embed(
    embedder: "Embedder", images: Images, threads: int | None
) -> tuple[EmbeddedSet, EmbeddedSet, list[tuple[Path, str]]]:
    """Query, gallery, and the files that are no images with the reasons."""
    from serving.embedding import embed_files

    needed = np.flatnonzero(images.query | images.gallery)
    with progress_bar("embedding") as progress:
        paths = [images.paths[row] for row in needed.tolist()]
        found = embed_files(embedder, paths, threads=threads, on_progress=progress)
    rows = needed[found.index]

    def side(member: npt.NDArray[np.bool_], name: str) -> EmbeddedSet:
        kept = member[rows]
        if not kept.any():
            raise ReidError(f"none of the {int(member.sum())} {name} images can be read: check the files")
        own = rows[kept]
        files = [images.paths[row] for row in own.tolist()]
        return EmbeddedSet(found.embeddings[kept], images.identities[own], images.cameras[own], files)

    unreadable = [(one.path, one.reason) for one in found.unreadable]
    return side(images.query, "query"), side(images.gallery, "gallery"), unreadable


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


def _hash(side: EmbeddedSet, root: Path) -> str:
    """Of file names within the root and labels: the same data elsewhere has the same hash."""
    digest = hashlib.sha256()
    for path, identity, camera in zip(side.paths, side.identities, side.cameras, strict=True):
        name = path.relative_to(root) if path.is_relative_to(root) else path
        digest.update(os.fsencode(f"{name.as_posix()}\0{identity}\0{camera}\n"))
    return digest.hexdigest()
