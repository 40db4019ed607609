"""Stage ``prepare``: images -> ``data/catalog.parquet``, and ``data/data_report.html`` on what is wrong with
them.
"""

import shutil
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pipelines.stage.console import progress_bar, run_stage, say
from pipelines.stage.places import CATALOG, CROPS, DATA, DATA_REPORT, DATA_SUMMARY, FOOTAGE, PROBLEMS, TOWN
from pipelines.stage.shortages import shortages
from reid.config import Params, load_params
from reid.data.catalog import SPLITS, Record, read_catalog, write_catalog
from reid.data.checks import Inspection, inspect
from reid.data.datasets import DATASETS, cut_footage, read_dataset, read_folder, read_table
from reid.data.datasets.files import Stray, find_images
from reid.data.datasets.folder import scan_folder
from reid.data.splits import choose_test_people, hold_out_validation, split_people
from reid.data.synthetic import TownSpec, crop_poses, generate_town, sample_person
from reid.data.synthetic.wardrobe import LATER, PATTERN, WardrobeSpec, write_people
from reid.errors import UsageError
from reid.files import write_json
from reid.processors import processors

SYNTHETIC_PATTERN = r"(?P<identity>\d{4})_c(?P<camera>\d+)_"


@dataclass
class Source:
    """What a reader gives: records, files left out, sentences on the set, and footage boxes that were not
    cut, counted by reason.
    """

    records: list[Record]
    strays: list[Stray] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def render(params: Params, data: Path) -> list[Record]:
    """Render the town into ``data/crops`` and ``data/footage``; label vectors are the people's attributes,
    and beside them stands the pose in each crop.
    """
    town = params.synthetic
    spec = TownSpec(**town.model_dump(exclude={"cameras_per_person", *LATER}), seed=params.seed)
    identities = [f"{number:04d}" for number in range(1, town.people + 1)]
    test = choose_test_people(identities, params.data.test_share, params.seed)
    crops = spec.people * spec.cameras * spec.images_per_camera
    with progress_bar("rendering people and footage") as progress:
        generate_town(spec, data, sorted(int(identity) for identity in test), progress, _processes(crops))
    vectors = {
        identity: tuple(map(float, sample_person(spec.seed, int(identity)).as_vector()))
        for identity in identities
    }
    records = split_people(
        read_folder(data / CROPS.name, SYNTHETIC_PATTERN), test, params.data.query_per_camera
    )
    poses = crop_poses(spec)
    return [
        replace(record, label_vector=vectors[record.identity], pose=poses[record.path.name])
        for record in records
    ]


def render_wardrobe(params: Params, data: Path) -> list[Record]:
    """Render the people made to carry over into ``data/crops``."""
    town = params.synthetic
    spec = WardrobeSpec(
        people=town.people,
        cameras=town.cameras,
        cameras_per_person=town.cameras_per_person or town.cameras,
        images_per_camera=town.images_per_camera,
        seed=params.seed,
        **town.model_dump(include=set(LATER)),
    )
    with progress_bar("rendering people") as progress:
        write_people(spec, data / CROPS.name, progress, _processes(spec.people * spec.images_per_person))
    return read_folder(data / CROPS.name, PATTERN)


def _processes(crops: int) -> int:
    """How many render: starting others takes about as long as some hundred pictures."""
    return 1 if crops < 500 else processors()


def read_source(params: Params, data: Path) -> Source:
    """What params.yaml names, with splits.

    Raises:
        UsageError: a key that this source needs is not set.
    """
    source = params.data
    rendered = source.source in ("synthetic", "wardrobe")
    if not rendered and source.root is None:
        raise UsageError(
            f"data.root is not set: data.source {source.source} needs "
            f"{_WANTED.get(source.source, 'the unpacked data set')}"
        )
    root = Path(source.root or ".")
    for name in (CROPS.name, FOOTAGE.name):
        if not rendered and root.resolve().is_relative_to((data / name).resolve()):
            raise UsageError(
                f"data.root is {root}: this stage replaces that folder; move the images elsewhere"
            )
        shutil.rmtree(data / name, ignore_errors=True)
    if source.source == "synthetic":
        return Source(render(params, data))
    if source.source == "wardrobe":
        return Source(_split(render_wardrobe(params, data), params))
    if source.source == "table":
        records = read_table(root)
        return Source(records if _has_splits(records) else _split(records, params))
    if source.source == "folder":
        if source.pattern is None:
            raise UsageError(
                "data.pattern is not set: data.source folder needs a regular expression with the "
                "groups identity and camera"
            )
        scan = scan_folder(root, source.pattern)
        line = scan.unmatched()
        return Source(
            _split(scan.records, params), scan.strays, [*([line] if line else []), *_others(scan.others)]
        )
    if source.source == "footage":
        with progress_bar("cutting footage") as progress:
            cut = cut_footage(root, data / CROPS.name, **source.footage.model_dump(), progress=progress)
        copies = [
            f"{name}: {count} more copies of the same frames and truth were left out"
            for name, count in cut.copies.items()
        ]
        return Source(_split(cut.records, params), notes=copies, left_out=cut.left_out)
    note = DATASETS[source.source].note
    records = read_dataset(source.source, root, source.partition)
    return Source(records, find_images(root).strays, [f"{source.source}: {note}"] if note else [])


def _others(others: Counter[str]) -> list[str]:
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in others.most_common(5))
    return [f"{others.total():,} files are no images by their names ({kinds})"] if others else []


_WANTED = {
    "folder": "the folder of the images",
    "table": "a .csv or .parquet file",
    "footage": "the folder of the footage",
}


def _has_splits(records: list[Record]) -> bool:
    return any(record.split != "train" for record in records)


def _split(records: list[Record], params: Params) -> list[Record]:
    test = choose_test_people((record.identity for record in records), params.data.test_share, params.seed)
    return split_people(records, test, params.data.query_per_camera)


def main() -> None:
    """Write the catalog, the report, the list of problems, and the counts."""
    params = load_params()
    DATA.mkdir(exist_ok=True)
    source = read_source(params, DATA)
    # A table may hold people out itself; where nobody is, they are chosen here.
    held = any(record.split == "val" for record in source.records)
    records = (
        source.records
        if held
        else hold_out_validation(source.records, params.data.validation_share, params.seed)
    )
    for note in source.notes:
        say(note)
    with progress_bar("checking images") as progress:
        done = inspect(records, DATA.resolve(), params.data.policies.model_dump(), progress, source.strays)
    rows = done.rows
    if params.data.blur_heads:
        from reid.data.blur import store_blurred

        with progress_bar("blurring heads") as progress:
            rows = store_blurred(rows, DATA.resolve(), CROPS.resolve(), progress)
    write_catalog(rows, CATALOG)
    catalog = read_catalog(CATALOG)
    parts = {split: catalog.split(split) for split in SPLITS}
    counts = {
        split: {"images": len(part), "identities": len(set(part.identities))} for split, part in parts.items()
    }
    write_json(PROBLEMS, [asdict(problem) for problem in done.problems])
    left_out = sum(problem.images_out for problem in done.problems)
    found = {
        "images_found": done.images_in,
        "images_kept": len(rows),
        "images_left_out": left_out,
        "problems": len(done.problems),
    }
    write_json(
        DATA_SUMMARY,
        {"splits": counts, **found, "boxes_not_cut": dict(source.left_out), "data_hash": catalog.data_hash},
    )
    for folder in (CROPS, FOOTAGE):  # the stage's declared outputs, empty where the source has none
        folder.mkdir(exist_ok=True)
    if params.data.source != "synthetic":
        write_json(TOWN, {})

    from pipelines.pages.data import used_notes, write_data_page

    expected = shortages(params, catalog)
    notes = used_notes([*source.notes, *expected], params.data.blur_heads, source.left_out)
    write_data_page(DATA_REPORT, catalog, done.problems, done.images_in, notes)
    sizes = (
        f"{split}: {part['images']} images of {part['identities']} people" for split, part in counts.items()
    )
    for line in (", ".join(sizes), *expected, *_problem_lines(done, left_out)):
        say(line)


def _problem_lines(done: Inspection, left_out: int) -> list[str]:
    """What a reader must know of the images that cannot be used."""
    lines = []
    unread = [problem for problem in done.problems if problem.kind == "needs_package"]
    if unread:
        lines.append(f"{len(unread)} images need a package; the first: {unread[0].what} {unread[0].detail}")
    if left_out:
        first = next(problem for problem in done.problems if problem.images_out)
        lines.append(
            f"{left_out} of {done.images_in} images are left out, the first: {first.what} "
            f"({first.kind}); all in {DATA_REPORT}"
        )
    return lines


if __name__ == "__main__":
    run_stage(main)
