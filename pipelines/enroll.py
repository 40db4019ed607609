"""Stage ``enroll``: the known people -> ``galleries/gallery.db``."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipelines.console import progress_bar, run_stage, say
from reid.config import Params, load_params
from reid.data.catalog import Catalog, read_catalog
from reid.files import read_json, write_json
from serving.embedding import embed_files
from serving.gallery import Gallery
from serving.gallery_key import key_from_environment
from serving.runtime import load


def known_people(params: Params, catalog: Catalog, town: Path) -> list[str]:
    """Whom the gallery knows: a share of the people in the rendered footage, or of all test people where there is none."""
    if town.exists():
        people = [f"{number:04d}" for number in read_json(town, "town")["footage_identities"]]
    else:
        people = sorted(set(catalog.identities.tolist()))
    count = max(1, round(params.enroll.known_share * len(people)))
    return sorted(np.random.default_rng([params.seed, 3]).permutation(sorted(people))[:count].tolist())


def main() -> None:
    """Enrol every test image of each known person in a new gallery."""
    params = load_params()
    catalog = read_catalog("data/catalog.parquet").split("query", "gallery")
    known = known_people(params, catalog, Path("data/town.json") if params.data.source == "synthetic" else Path("none"))
    embedder = load("exported")
    say(embedder.chosen)
    folder = Path("galleries")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    identities, paths, cameras = catalog.identities, catalog.paths, catalog.cameras
    chosen = np.flatnonzero(np.isin(identities, known))
    with progress_bar("embedding references") as progress:
        embedded = embed_files(embedder, [paths[index] for index in chosen], on_progress=progress)
    kept = chosen[embedded.index]
    with Gallery.open(folder / "gallery.db", embedder.fingerprint, dim=embedder.dim, create=True, key=key_from_environment()) as gallery:
        for identity in known:
            mine = identities[kept] == identity
            gallery.enroll(
                identity,
                embedded.embeddings[mine],
                source=[paths[index].name for index in kept[mine]],
                camera=cameras[kept[mine]].tolist(),
                time=datetime.now(UTC),
            )
        gallery.set_retention(params.enroll.retain_days)
        counts = {"people": len(known), "references": len(kept), "known": known}
    write_json("reports/gallery.json", counts)
    say(f"gallery: {counts['people']} people, {counts['references']} references")


if __name__ == "__main__":
    run_stage(main)
