"""Images of which nobody knows whom they show, as a catalog: each is an identity of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path

from reid.data.catalog import Record, read_catalog
from reid.data.checks import inspect
from reid.data.datasets.files import find_images
from reid.data.findings import Policy, Problem
from reid.errors import ReidError, UsageError

__all__ = ["unlabelled_rows"]

# What is said of people and cameras says nothing here. The same bytes twice would be two images that are
# pushed from each other.
_OWN_POLICIES: Mapping[str, Policy] = {
    **dict.fromkeys(("single_image", "single_camera", "one_camera", "no_match", "near_duplicate"), "keep"),
    **dict.fromkeys(("duplicate", "identity_conflict"), "leave_out"),
}

Rows = list[dict[str, object]]


def unlabelled_rows(
    images: Path,
    folder: Path,
    policies: Mapping[str, Policy],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Rows, list[Problem]]:
    """Catalog rows of the images of a folder or of another catalog, and what was found wrong with them.

    Args:
        images: a folder, searched to its depths; or a catalog, whose training images are taken without their
            identities, and whose validation people stay as they are.
        folder: where the new catalog will lie, absolute.
        policies: as for :func:`reid.data.checks.inspect`, but for those about people and cameras. A catalog's
            images have been inspected.
        progress: called with (done, total).

    Raises:
        UsageError: there is neither folder nor catalog of this name.
        ReidError: there is no image, or something is found whose policy is ``stop``.
    """
    if images.is_dir():
        return _of_folder(images, folder, policies, progress)
    if not images.exists():
        raise UsageError(
            f"pretrain images: {str(images)!r} does not exist: name a folder of images, or a catalog"
        )
    return _of_catalog(images, folder), []


def _of_folder(
    images: Path,
    folder: Path,
    policies: Mapping[str, Policy],
    progress: Callable[[int, int], None] | None,
) -> tuple[Rows, list[Problem]]:
    content = find_images(images)
    if not content.images:
        others = ", ".join(f"{count} {suffix}" for suffix, count in content.others.most_common(5))
        raise ReidError(
            f"no image below {images}"
            f"{f' ({others})' if others else ''}: name a folder of crops, such as crops of a camera job"
        )
    records = [Record(path, f"{number:08d}", "1", "train") for number, path in enumerate(content.images, 1)]
    done = inspect(records, folder, {**policies, **_OWN_POLICIES}, progress, content.strays)
    if not done.rows:
        first = done.problems[0]
        raise ReidError(
            f"none of the {done.images_in} images below {images} can be used, the first: {first.what} "
            f"({first.kind}): correct them, or name another folder"
        )
    return done.rows, done.problems


def _of_catalog(images: Path, folder: Path) -> Rows:
    catalog = read_catalog(images)
    rows = catalog.table.select(["identity", "camera", "split", "width", "height", "sha256"]).to_pylist()
    found: Rows = []
    for number, (row, path) in enumerate(zip(rows, catalog.paths, strict=True), 1):
        if row["split"] not in ("train", "val"):
            continue
        own = {"identity": f"{number:08d}"} if row["split"] == "train" else {}
        place = path.relative_to(folder) if path.is_relative_to(folder) else path
        found.append({**row, **own, "path": place.as_posix()})
    if not any(row["split"] == "train" for row in found):
        raise ReidError(f"catalog {images} has no training images: name another, or a folder of images")
    return found
