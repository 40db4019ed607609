"""Stage ``metric``: where params.yaml names a method, a metric fitted to the selected model's embeddings ->
``fitted``.
"""

from pipelines.stage.console import run_stage, say, working
from pipelines.stage.decoded import embed
from pipelines.stage.fitted_metric import RECORD
from pipelines.stage.places import CATALOG, FITTED, SELECTED
from reid.card import InputSpec, fingerprint_for
from reid.config import load_params
from reid.data.catalog import read_catalog
from reid.files import atomic_directory, sha256_of, write_json
from reid.model_files import WEIGHTS

CHECKPOINT = SELECTED / WEIGHTS


def main() -> None:
    """Fit on the training people, judge on the validation people; where there is no method, write only that
    there is none.
    """
    params = load_params()
    if params.metric.method is None:
        with atomic_directory(FITTED) as folder:
            write_json(folder / RECORD.name, {"record": None})
        say("no metric is fitted to the embeddings: metric.method is null")
        return
    from reid.linear_metric import FITTED_METRIC_NAME
    from reid.linear_metric.judgement import Labelled, check_wanted, fit_and_judge
    from reid.models.embedder import load_model

    catalog = read_catalog(CATALOG).split("train", "val")
    model, spec = load_model(CHECKPOINT)
    parts = [catalog.split("train"), catalog.split("val")]  # the order of the catalog
    check_wanted(params.metric, model.dim, parts[0].identities, parts[0].cameras)
    (rows,) = embed([model], parts, spec.height, spec.width)
    split, order = catalog.column("split"), catalog.order

    def part(name: str) -> Labelled:
        kept = split == name
        return Labelled(rows[kept], catalog.identities[kept], catalog.cameras[kept], order[kept])

    fingerprint = fingerprint_for(sha256_of(CHECKPOINT), InputSpec(height=spec.height, width=spec.width))
    with working(f"fitting {params.metric.method}"):
        metric, record = fit_and_judge(
            part("train"),
            part("val"),
            params.metric,
            seed=params.seed,
            fitted_to=fingerprint,
            data_hash=catalog.data_hash,
            say=say,
        )
    with atomic_directory(FITTED) as folder:
        metric.save(folder / FITTED_METRIC_NAME)
        write_json(folder / RECORD.name, {"record": record.model_dump(mode="json")})
    say(f"{record.method}: {metric.input_dim} numbers to {metric.dim}, fitted to {record.people:,} people")


if __name__ == "__main__":
    run_stage(main)
