"""``reid metric``. Heavy imports are inside the command, so that ``--help`` is fast."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands.evaluate import KnownPeople, Pattern, Seed
from reid.errors import UsageError
from reid.shipped import model_folder
from serving.cli import AsJson, Backend, Threads

__all__ = ["metric_app"]

metric_app = typer.Typer(
    help="Metrics fitted to a model's embeddings, which stay as they are.", no_args_is_help=True
)


@metric_app.callback()
def _root() -> None:
    """With a callback, one command keeps its name."""


@metric_app.command()
def fit(
    model: Annotated[
        Path,
        typer.Argument(
            help="Model directory, with model.json inside.", metavar="MODEL", callback=model_folder
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The model directory to write.")],
    method: Annotated[
        Literal["kissme", "xqda", "lmnn"],
        typer.Option(help="xqda and kissme take seconds, lmnn minutes; xqda needs two cameras."),
    ] = "xqda",
    root: KnownPeople = None,
    pattern: Pattern = None,
    catalog: Annotated[
        Path | None,
        typer.Option(
            help="Catalog (.parquet), instead of --root: fitted to its training people, judged on those for "
            "validation."
        ),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(min=1, help="Length of the new embeddings; all that tells people apart if not given."),
    ] = None,
    shrinkage: Annotated[
        float, typer.Option(min=0, max=1, help="How little is believed of what the people show.")
    ] = 0.1,
    kernel: Annotated[
        Literal["nystroem"] | None,
        typer.Option(help="Fit on features of a Gaussian kernel instead of the embeddings."),
    ] = None,
    landmarks: Annotated[int, typer.Option(min=2, help="Of --kernel: how many features.")] = 512,
    held_out: Annotated[
        float, typer.Option(help="Share of people held out, where no catalog says which.")
    ] = 0.25,
    false_accept_rate: Annotated[
        float, typer.Option(help="Of the new thresholds: share of strangers taken for somebody known.")
    ] = 0.05,
    seed: Seed = 0,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Fit a Mahalanobis metric to a model's embeddings of known people, and write the model with it folded
    in, checked and calibrated anew.
    """
    from pipelines.model.metric import choose_groups, fit_to_model, unfitted_card
    from reid.config import CalibrateParams, MetricParams

    for option, share in (("--held-out", held_out), ("--false-accept-rate", false_accept_rate)):
        if not 0 < share < 1:
            raise UsageError(f"{option} is {share:g}: want a share above 0 and below 1")
    old = unfitted_card(model, out)  # before a large folder is gone through
    groups = choose_groups(root, pattern, catalog, held_out, seed)
    card, unreadable = fit_to_model(
        old,
        model,
        out,
        groups,
        MetricParams(method=method, dim=dim, shrinkage=shrinkage, kernel=kernel, landmarks=landmarks),
        CalibrateParams(
            false_accept_rate=false_accept_rate, policies=("min", "mean", "top_k"), bootstrap=200
        ),
        seed=seed,
        backend=backend,
        threads=threads,
    )
    record = card.fitted_metric
    assert record is not None
    for line in unreadable:
        typer.echo(f"left out: {line}", err=True)
    if as_json:
        said = record.model_dump(mode="json") | {"dim": card.dim, "fingerprint": card.fingerprint}
        typer.echo(json.dumps({**said, "left_out": card.left_out}, ensure_ascii=False))
        return
    kind = "" if record.landmarks is None else f" on {record.landmarks} features of a Gaussian kernel"
    typer.echo(
        f"{record.method}{kind}, fitted to {record.images:,} pictures of {record.people:,} people: "
        f"embeddings of {card.dim} numbers"
    )
    if record.mean_ap is not None:
        before, after = record.mean_ap
        typer.echo(f"mAP of {record.held_out_people:,} held-out people: {before:.3f} before, {after:.3f} now")
    typer.echo(f"{len(card.thresholds)} thresholds; galleries of the old model need `reid gallery reembed`")
    typer.echo(f"model: {out}")
