"""``data_report.html``: what the data are, what was found in them, and what was done about it."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reid.data.catalog import SPLITS, Catalog
from reid.data.findings import KINDS, Problem
from reid.data.store import load_images
from reid.evaluation.canvas import COLOURS, new_figure, save, style
from reid.evaluation.page import Figure, Section, Table, write_page

__all__ = ["used_notes", "write_data_page"]

_LISTED = 25
_DONE = {"leave_out": "left out", "keep": "kept"}


def write_data_page(
    path: Path, catalog: Catalog, problems: Sequence[Problem], images_in: int, notes: Sequence[str]
) -> None:
    """Write the page.

    Args:
        path: of the page.
        catalog: what is kept.
        problems: all findings.
        images_in: how many images the reader found.
        notes: what else should be known, a sentence each.
    """
    out = sum(problem.images_out for problem in problems)
    figures = {
        "images found": Figure(images_in, ""),
        "images kept": Figure(len(catalog), ""),
        "images left out": Figure(out, ""),
        "people": Figure(len(set(catalog.identities)), ""),
        "cameras": Figure(len(set(catalog.cameras)), ""),
        "findings": Figure(len(problems), ""),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        people = folder / "people.png"
        sections = [
            Section("Splits", "\n".join(notes), table=_splits(catalog)),
            Section("Findings", _say_findings(problems), table=_findings(problems)),
            *(_listing(kind, [problem for problem in problems if problem.kind == kind]) for kind in KINDS),
            Section("Cameras", "Images of each camera in each split.", table=_cameras(catalog)),
            Section("Images", "", [(folder / "images.png", _plot_images(catalog, folder / "images.png"))]),
            Section("A look at some people", "", [(people, _show_people(catalog, people))]),
            Section(
                "Content",
                f"Hash of every image's bytes with its identity, camera and split:\n{catalog.data_hash}",
            ),
        ]
        write_page(path, "Data report", figures, [section for section in sections if section is not None])


def _splits(catalog: Catalog) -> Table:
    rows = []
    for name in SPLITS:
        part = catalog.split(name)
        counts = (len(part), len(set(part.identities)), len(set(part.cameras)))
        rows.append((name, *(f"{count:,}" for count in counts)))
    return Table(("split", "images", "people", "cameras"), rows)


def _say_findings(problems: Sequence[Problem]) -> str:
    if not problems:
        return "Every image was opened, and nothing was found to be wrong."
    return (
        "Every image was opened. data/problems.json lists all findings; the policies are in "
        "params.yaml under data.policies."
    )


def _findings(problems: Sequence[Problem]) -> Table | None:
    counts = Counter(problem.kind for problem in problems)
    images = Counter[str]()
    for problem in problems:
        images[problem.kind] += problem.images_out
    policies = {problem.kind: problem.policy for problem in problems}
    rows = [
        (kind.title, f"{counts[key]:,}", _DONE[policies[key]], f"{images[key]:,}")
        for key, kind in KINDS.items()
        if counts[key]
    ]
    return Table(("finding", "times", "what was done", "images left out"), rows) if rows else None


def _listing(kind: str, found: Sequence[Problem]) -> Section | None:
    if not found:
        return None
    more = f" The first {_LISTED} of {len(found):,}:" if len(found) > _LISTED else ""
    meaning = KINDS[kind].meaning
    text = f"{meaning[0].upper()}{meaning[1:]}.{more}"
    rows = [(problem.what, problem.detail) for problem in found[:_LISTED]]
    return Section(f"{KINDS[kind].title} ({len(found):,})", text, table=Table(("what", "detail"), rows))


def _cameras(catalog: Catalog) -> Table:
    counts = Counter(zip(catalog.cameras.tolist(), catalog.column("split").tolist(), strict=True))
    cameras = sorted({camera for camera, _ in counts})
    rows = [
        (f"camera {camera}", *(f"{counts[camera, split]:,}" for split in SPLITS)) for camera in cameras[:40]
    ]
    if len(cameras) > len(rows):
        rows.append((f"{len(cameras) - len(rows)} more", *("" for _ in SPLITS)))
    return Table(("camera", *SPLITS), rows)


def _plot_images(catalog: Catalog, path: Path) -> str:
    per_person = np.array(list(Counter(catalog.identities.tolist()).values()))
    heights = np.array(catalog.table["height"].to_pylist())
    figure = new_figure(7.0, 3.0)
    for place, (values, title, counted) in enumerate(
        ((per_person, "Images a person", "people"), (heights, "Image height", "images")), 1
    ):
        axes = figure.add_subplot(1, 2, place)
        axes.hist(values, bins=min(30, max(3, len(set(values.tolist())))), color=COLOURS[0])
        style(axes, title, "pixels" if place == 2 else "images", counted)
    save(figure, path)
    return (
        f"Two histograms. Images a person: {per_person.min()} to {per_person.max()}, half of the "
        f"people have {int(np.median(per_person))} "
        f"or more. Image heights: {heights.min()} to {heights.max()} pixels, median "
        f"{int(np.median(heights))}."
    )


def _show_people(catalog: Catalog, path: Path, people: int = 6, cameras: int = 4) -> str:
    """A row a person, up to two images from each of the first cameras."""
    import cv2

    images: dict[tuple[str, str], list[Path]] = {}
    for identity, camera, image in zip(
        catalog.identities.tolist(), catalog.cameras.tolist(), catalog.paths, strict=True
    ):
        images.setdefault((identity, camera), []).append(image)
    shown_cameras = sorted(set(catalog.cameras.tolist()))[:cameras]
    most_seen = Counter(identity for identity, camera in images if camera in shown_cameras)
    shown = sorted(most_seen, key=lambda identity: (-most_seen[identity], identity))[:people]
    empty = np.full((128, 64, 3), 235, np.uint8)
    rows = []
    for identity in shown:
        tiles = []
        for camera in shown_cameras:
            files = images.get((identity, camera), [])[:2]
            tiles += [*load_images(files, 128, 64), *[empty] * (2 - len(files))]
        rows.append(
            np.hstack([np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255) for tile in tiles])
        )
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])
    where = f"two images from each of the cameras {', '.join(shown_cameras)}, grey where there is none"
    return f"A row each for the people {', '.join(shown)}; {where}."


def used_notes(said: Sequence[str], blurred: bool, left_out: Mapping[str, int]) -> list[str]:
    """Sentences for the page from what a reader and the preparation have to say."""
    notes = [f"{line[0].upper()}{line[1:]}." for line in said]
    if blurred:
        notes.append("Heads are blurred: the catalog points to copies in data/crops.")
    notes += [
        f"{count:,} boxes of the footage's truth were not cut: {reason}."
        for reason, count in left_out.items()
    ]
    return notes
