"""Stage ``pretrain@NAME``: images without people's names -> ``models/NAME``, from which an objective can
start.
"""

import sys
from pathlib import Path

from pipelines.stage.console import progress_bar, run_stage, say
from pipelines.stage.places import DATA, MODELS, TRAIN_REPORTS
from pipelines.train import train_objective
from reid.config import Params, load_params
from reid.data.catalog import Catalog, read_catalog, write_catalog
from reid.data.unlabelled import unlabelled_rows
from reid.errors import ReidError, UsageError

__all__ = ["list_images"]


def list_images(params: Params, name: str, out: Path) -> Catalog:
    """Write the catalog ``out`` of the images of a pre-training, each an identity of its own, and read it."""
    own = params.pretrain[name]
    with progress_bar("checking images") as progress:
        rows, problems = unlabelled_rows(
            Path(own.images), out.parent.resolve(), params.data.policies.model_dump(), progress
        )
    left_out = [problem for problem in problems if problem.images_out]
    write_catalog(rows, out)
    catalog = read_catalog(out)
    lost = sum(problem.images_out for problem in left_out)
    without = f", {lost} left out, the first: {left_out[0].what} ({left_out[0].kind})" if left_out else ""
    say(f"{name}: {len(catalog.split('train'))} images of {own.images}{without}")
    return catalog


def check_trials(params: Params, name: str, catalog: Catalog) -> None:
    """See whether trials can be compared. Raises ReidError where they cannot."""
    if (params.tune.trials > 1 or params.tune.space) and not len(catalog.split("val")):
        raise ReidError(
            f"pretrain.{name}: trials cannot be compared without validation people: name a catalog as "
            "images, or set tune.trials to 1 and tune.space to {}"
        )


def main() -> None:
    """``python -m pipelines.pretrain NAME``."""
    params = load_params()
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in params.pretrain:
        known = ", ".join(params.pretrain) or "recipes/pretrain.yaml has some to copy"
        raise UsageError(f"pre-training is {name!r}: add it to pretrain of params.yaml, or take {known}")
    from reid.training.checks import check_catalog, check_objective, check_space

    check_objective(params, name)
    check_space(params, name)
    # Beside the catalog, with which it shares the decoded images.
    out = DATA / f"unlabelled-{name}.parquet"
    catalog = list_images(params, name, out)
    check_catalog(params, name, catalog)
    check_trials(params, name, catalog)
    train_objective(params, name, out, None, MODELS / name, TRAIN_REPORTS)


if __name__ == "__main__":
    run_stage(main)
