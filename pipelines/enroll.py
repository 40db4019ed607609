"""Stage ``enroll``: the known people -> ``galleries/gallery.db``. What anybody else put there is never
removed.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipelines.stage.console import progress_bar, run_stage, say
from pipelines.stage.places import CATALOG, EXPORTED, GALLERY, GALLERY_REPORT, TOWN
from reid.config import Params, load_params
from reid.data.catalog import DISTRACTOR, JUNK, Catalog, read_catalog
from reid.errors import ReidError
from reid.files import read_json, write_json
from serving.gallery import Gallery, key_from_environment, user_name
from serving.gallery.enrollment import Sample, enroll_samples
from serving.runtime import Embedder, load

MADE_BY = "stage enroll"
"""How the audit log names this stage: a gallery in which nobody else has changed anything may be made
anew.
"""


def known_people(params: Params, catalog: Catalog, town: Path) -> list[str]:
    """Whom the gallery knows: a share of the people in the rendered footage, or of all test people where
    there is none.
    """
    if town.exists():
        people = [f"{number:04d}" for number in read_json(town, "town")["footage_identities"]]
    else:
        people = sorted(set(catalog.identities.tolist()) - {JUNK, DISTRACTOR})
    count = max(1, round(params.enroll.known_share * len(people)))
    return sorted(np.random.default_rng([params.seed, 3]).permutation(sorted(people))[:count].tolist())


def samples_of(people: Catalog) -> list[Sample]:
    """The images of a catalog; their paths are relative, so that the project can be moved."""
    rows = zip(people.paths, people.identities.tolist(), people.cameras.tolist(), strict=True)
    return [Sample(Path(os.path.relpath(path)), identity, camera) for path, identity, camera in rows]


def others_who_changed(path: Path, fingerprint: str, key: bytes | None) -> list[str]:
    """Who besides this stage has changed a gallery; nobody where there is none.

    Raises:
        ReidError: somebody has, and the gallery is of another model, so that this stage cannot add to it.
    """
    if not path.exists():
        return []
    with Gallery.open(path, None, create=False, key=key) as gallery:
        others = sorted(
            {
                entry.who
                for entry in gallery.audit()
                if not entry.who.startswith(MADE_BY) and entry.action != "export"
            }
        )
        made_by = gallery.fingerprint
    if others and made_by != fingerprint:
        raise ReidError(
            f"gallery {path} was changed by {', '.join(others)} and is of another model than this one "
            f"({made_by}, now {fingerprint}): "
            f"run `reid gallery reembed {path} --model exported --switch`, or move the file away; then "
            "run this stage again"
        )
    return others


def enroll(
    path: Path,
    embedder: Embedder,
    samples: Sequence[Sample],
    key: bytes | None,
    retain_days: int | None,
) -> int:
    """Add the images that are not there yet; a new gallery keeps its references so many days.

    Returns how many of the images the gallery holds.
    """
    is_new = not path.exists()
    who = f"{MADE_BY} of {user_name()}"
    with (
        Gallery.open(path, embedder.fingerprint, dim=embedder.dim, create=True, key=key, who=who) as gallery,
        progress_bar("embedding references") as progress,
    ):
        report = enroll_samples(gallery, embedder, samples, on_progress=progress)
        if is_new:
            gallery.set_retention(retain_days)
    return sum(report.enrolled.values()) + report.already


def replace(path: Path, new: Path) -> None:
    """Put a closed gallery in the place of another, whose log must not be taken for the new one's."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    os.replace(new, path)


def main() -> None:
    """Enrol every test image of each known person: in a new gallery, or beside what others have put into the
    one that is there.
    """
    params, key = load_params(), key_from_environment()
    catalog = read_catalog(CATALOG).split("query", "gallery")
    known = known_people(params, catalog, TOWN if params.data.source == "synthetic" else Path("none"))
    embedder = load(EXPORTED)
    say(embedder.chosen)
    others = others_who_changed(GALLERY, embedder.fingerprint, key)
    samples = samples_of(catalog.where(np.isin(catalog.identities, known)))
    GALLERY.parent.mkdir(exist_ok=True)
    if others:
        references = enroll(GALLERY, embedder, samples, key, params.enroll.retain_days)
        say(
            f"{GALLERY} holds what {', '.join(others)} put there: it stays, {references} references of "
            "this stage beside it"
        )
    else:
        with TemporaryDirectory(prefix=".gallery-", dir=GALLERY.parent) as folder:
            new = Path(folder) / GALLERY.name
            references = enroll(new, embedder, samples, key, params.enroll.retain_days)
            replace(GALLERY, new)
    write_json(GALLERY_REPORT, {"people": len(known), "references": references, "known": known})
    say(f"gallery: {len(known)} people, {references} references")


if __name__ == "__main__":
    run_stage(main)
