"""Pictures of known people, in a folder or a catalog, for the commands that take ``--root`` and ``--pattern``
or ``--catalog``. Torch-free.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid.data.catalog import DISTRACTOR, JUNK, natural_order, read_catalog
from reid.data.datasets.folder import scan_folder
from reid.errors import ReidError, UsageError

__all__ = ["People", "choose_people", "labelled_people", "pictures_below"]

Strings = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class People:
    """Pictures of known people: paths, and (N,) who, by which camera, and numbers that rise with time within
    a camera; of a catalog their split too.
    """

    paths: Sequence[Path]
    identities: Strings
    cameras: Strings
    order: npt.NDArray[np.int64]
    split: Strings

    def where(self, mask: npt.NDArray[np.bool_]) -> "People":
        """The pictures where ``mask`` (N,) holds."""
        paths = [path for path, kept in zip(self.paths, mask.tolist(), strict=True) if kept]
        return People(paths, self.identities[mask], self.cameras[mask], self.order[mask], self.split[mask])


def choose_people(
    root: Path | None,
    pattern: str | None,
    catalog: Path | None,
    say: Callable[[str], None],
    called: Callable[[str], str] = lambda identity: identity,
) -> People:
    """The pictures to calibrate on; junk and distractors, who are nobody in particular, are left out.

    Of a catalog the validation people, where it has any: on people whom a model was trained on distances are
    too small.

    Args:
        root: folder of pictures, or None.
        pattern: of their paths, with the groups identity and camera.
        catalog: instead of a folder.
        say: called with a line on what is left out.
        called: an identity in a path to the person; several may be one.

    Raises:
        UsageError: neither or both are named, or a folder comes without a pattern.
        ReidError: nobody, or one person alone, is there.
    """
    people = labelled_people(root, pattern, catalog, say=say, called=called)
    if (held_out := people.split == "val").any():
        people = people.where(held_out)
        say("calibrating on the catalog's validation people")
    count = len(np.unique(people.identities))
    if count < 2:
        raise ReidError(
            f"the pictures show {count} person: a threshold needs people to tell apart, 20 or more for "
            "a rate of 0.05"
        )
    return people


def labelled_people(
    root: Path | None,
    pattern: str | None,
    catalog: Path | None,
    *splits: str,
    say: Callable[[str], None],
    called: Callable[[str], str] = lambda identity: identity,
) -> People:
    """The pictures of a folder or a catalog without junk and distractors; of a catalog those of the named
    splits, or all. ``say`` and ``called``: as of :func:`choose_people`.

    Raises:
        UsageError: neither or both are named, or a folder comes without a pattern.
        ReidError: the catalog has nobody in these splits.
    """
    if (root is None) == (catalog is None) or (root is not None and pattern is None):
        raise UsageError("name the pictures by either --root DIR --pattern RE or --catalog FILE")
    if root is not None and pattern is not None:
        paths, found, cameras = pictures_below(root, pattern, say)
        identities = np.asarray([called(one) for one in found.tolist()], np.str_)
        people = People(paths, identities, cameras, natural_order(paths), np.full(len(paths), ""))
    else:
        assert catalog is not None
        table = read_catalog(catalog)
        table = table.split(*splits) if splits else table
        if not len(table):
            raise ReidError(
                f"{catalog} has nobody in the splits {' and '.join(splits)}: prepare data with some"
            )
        people = People(table.paths, table.identities, table.cameras, table.order, table.column("split"))
    return people.where(~np.isin(people.identities, (JUNK, DISTRACTOR)))


def pictures_below(
    root: Path, pattern: str, say: Callable[[str], None]
) -> tuple[list[Path], Strings, Strings]:
    """Paths, identities and cameras (N,) of the images that match; what does not match is said. Raises as
    ``scan_folder``.
    """
    scan = scan_folder(root, pattern)
    if (line := scan.unmatched()) is not None:
        say(line)
    identities, cameras = (
        np.asarray([getattr(record, key) for record in scan.records]) for key in ("identity", "camera")
    )
    return [record.path for record in scan.records], identities, cameras
