"""Stage ``prepare``: images -> ``data/catalog.parquet`` and what is wrong with them."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

from pipelines.console import progress_bar, run_stage, say
from reid.config import Params, load_params
from reid.data.catalog import SPLITS, Record, read_catalog, write_catalog
from reid.data.checks import inspect, set_problems
from reid.data.datasets import read_folder, read_market1501
from reid.data.splits import choose_test_people, hold_out_validation, split_people
from reid.data.synthetic import TownSpec, generate_town
from reid.errors import ReidError, UsageError
from reid.files import write_json

SYNTHETIC_PATTERN = r"(?P<identity>\d{4})_c(?P<camera>\d+)_"


def render(params: Params, data: Path) -> list[Record]:
    """Render the town into ``data/crops`` and ``data/footage`` and give its people their splits."""
    town = params.synthetic
    spec = TownSpec(**town.model_dump(), seed=params.seed)
    identities = [f"{number:04d}" for number in range(1, town.people + 1)]
    test = choose_test_people(identities, params.data.test_share, params.seed)
    for name in ("crops", "footage"):
        shutil.rmtree(data / name, ignore_errors=True)
    with progress_bar("rendering people and footage") as progress:
        generate_town(spec, data, sorted(int(identity) for identity in test), progress)
    return split_people(read_folder(data / "crops", SYNTHETIC_PATTERN), test, params.data.query_per_camera)


def read_records(params: Params, data: Path) -> list[Record]:
    """The records of the data set that params.yaml names, with splits."""
    source = params.data
    if source.source == "synthetic":
        records = render(params, data)
    elif source.root is None:
        raise UsageError(f"data.root is not set: data.source {source.source} needs the folder of the images")
    elif source.source == "market1501":
        records = read_market1501(Path(source.root))
    elif source.pattern is None:
        raise UsageError("data.pattern is not set: data.source folder needs a regular expression with the groups identity and camera")
    else:
        found = read_folder(Path(source.root), source.pattern)
        test = choose_test_people((record.identity for record in found), source.test_share, params.seed)
        records = split_people(found, test, source.query_per_camera)
    return hold_out_validation(records, source.validation_share, params.seed)


def main() -> None:
    """Write the catalog, the list of problems, and the counts."""
    params, data = load_params(), Path("data")
    data.mkdir(exist_ok=True)
    records = [replace(record, path=record.path.resolve()) for record in read_records(params, data)]
    with progress_bar("checking images") as progress:
        rows, problems = inspect(records, data.resolve(), progress)
    problems += set_problems(rows)
    fatal = [problem for problem in problems if problem.kind in ("identity in training and test", "one camera")]
    if fatal:
        raise ReidError(f"{fatal[0].kind}: {fatal[0].what}: {fatal[0].detail}; correct the data or data.pattern")
    write_catalog(rows, data / "catalog.parquet")
    catalog = read_catalog(data / "catalog.parquet")
    parts = {split: catalog.split(split) for split in SPLITS}
    counts = {split: {"images": len(part), "identities": len(set(part.identities))} for split, part in parts.items()}
    write_json(data / "problems.json", [asdict(problem) for problem in problems])
    summary = {"splits": counts, "images_found": len(records), "images_kept": len(rows), "problems": len(problems)}
    write_json(data / "summary.json", summary | {"data_hash": catalog.data_hash})
    if params.data.source != "synthetic":  # the stage's declared outputs, empty for data that are not rendered
        for name in ("crops", "footage"):
            shutil.rmtree(data / name, ignore_errors=True)
            (data / name).mkdir()
        write_json(data / "town.json", {})
    say(", ".join(f"{split}: {part['images']} images of {part['identities']} people" for split, part in counts.items()))
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        first = errors[0]
        say(f"{len(errors)} of {len(records)} images are left out, the first: {first.what} ({first.kind}); all in data/problems.json")


if __name__ == "__main__":
    run_stage(main)
