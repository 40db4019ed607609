"""Stage ``enroll``: the known people -> ``galleries/gallery.db``. What anybody else put there is never
removed.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from pipelines.console import progress_bar, run_stage, say
from reid.config import Params, load_params
from reid.data.catalog import DISTRACTOR, JUNK, Catalog, read_catalog
from reid.errors import ReidError
from reid.files import read_json, write_json
from serving.embedding import embed_files
from serving.gallery import Gallery, key_from_environment, user_name
from serving.runtime import Embedder, load

GALLERY = Path("galleries/gallery.db")
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
    rows: npt.NDArray[np.float32],
    people: Catalog,
    key: bytes | None,
    retain_days: int | None,
) -> None:
    """Add the references, embeddings (N, D) of the people's images (N,), that are not there yet; a new
    gallery keeps them so many days.
    """
    sources = np.asarray([os.path.relpath(image) for image in people.paths])
    identities, cameras, is_new = people.identities, people.cameras, not path.exists()
    who = f"{MADE_BY} of {user_name()}"
    with Gallery.open(path, embedder.fingerprint, dim=embedder.dim, create=True, key=key, who=who) as gallery:
        known = {person.identity for person in gallery.people()}
        for identity in np.unique(identities).tolist():
            there = {reference.source for reference in gallery.show(identity)} if identity in known else set()
            mine = np.flatnonzero((identities == identity) & ~np.isin(sources, sorted(there)))
            if len(mine):
                gallery.enroll(
                    identity,
                    rows[mine],
                    source=sources[mine].tolist(),
                    camera=cameras[mine].tolist(),
                    time=datetime.now(UTC),
                )
        if is_new:
            gallery.set_retention(retain_days)


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
    catalog = read_catalog("data/catalog.parquet").split("query", "gallery")
    known = known_people(
        params, catalog, Path("data/town.json") if params.data.source == "synthetic" else Path("none")
    )
    embedder = load("exported")
    say(embedder.chosen)
    others = others_who_changed(GALLERY, embedder.fingerprint, key)
    people = catalog.where(np.isin(catalog.identities, known))
    with progress_bar("embedding references") as progress:
        embedded = embed_files(embedder, people.paths, on_progress=progress)
    people, rows = people.where(np.isin(np.arange(len(people)), embedded.index)), embedded.embeddings
    GALLERY.parent.mkdir(exist_ok=True)
    if others:
        enroll(GALLERY, embedder, rows, people, key, params.enroll.retain_days)
        say(
            f"{GALLERY} holds what {', '.join(others)} put there: it stays, {len(rows)} references of "
            "this stage beside it"
        )
    else:
        with TemporaryDirectory(prefix=".gallery-", dir=GALLERY.parent) as folder:
            enroll(Path(folder) / GALLERY.name, embedder, rows, people, key, params.enroll.retain_days)
            replace(GALLERY, Path(folder) / GALLERY.name)
    counts = {"people": len(known), "references": len(rows), "known": known}
    write_json("reports/gallery.json", counts)
    say(f"gallery: {counts['people']} people, {counts['references']} references")


if __name__ == "__main__":
    run_stage(main)
